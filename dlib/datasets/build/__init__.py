"""What makes datasets: fetching, unpacking, boxes from files, import of users' videos, writing of folds."""
