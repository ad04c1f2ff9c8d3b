"""A small synthetic video dataset in YouTube-Objects v1.0's layout: ``python -m dlib.datasets.synthetic``."""
