"""Studies: many runs of main.py from one YAML file, and one table of their results (``python -m dlib.study``)."""
