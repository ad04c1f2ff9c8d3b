"""CoLo-CAM (Belharbi et al. 2025): ``task.py`` first."""
