"""Studies: many runs of main.py from one YAML file, and one table of what they reached (``python -m dlib.study``)."""
