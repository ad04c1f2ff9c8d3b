"""Localization in new videos and images with a trained model: reading, predicting, drawing, writing."""

from dlib.localizer.model import SavedModel, find_weights, read_saved_model
from dlib.localizer.predict import Localization, Localizer

__all__ = ["Localization", "Localizer", "SavedModel", "find_weights", "read_saved_model"]
