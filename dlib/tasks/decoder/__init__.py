"""What all tasks share that train a decoder on a classifier: ``task.py`` first."""
