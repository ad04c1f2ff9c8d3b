"""Networks: the classifier and the U-Net of the tasks that train maps. Nothing here knows about tasks or flags."""

from __future__ import annotations

from dlib.models.classifier import CamClassifier, ModelSettings, STDClassifier, learning_rate_groups
from dlib.models.readout import FINISH, MapMaker, Readout, foreground
from dlib.models.settings import (
    build_model,
    is_of_authors_program,
    load_saved_model,
    model_settings,
    read_model_settings,
    write_model_settings,
)
from dlib.models.unet import UnetCoLoCAM, UnetFCAM, UnetOutput, UnetTCAM
from dlib.models.weights import best_model_state, load_best_model, load_fitting_weights, load_imagenet_weights

__all__ = [
    "FINISH",
    "CamClassifier",
    "MapMaker",
    "ModelSettings",
    "Readout",
    "STDClassifier",
    "UnetCoLoCAM",
    "UnetFCAM",
    "UnetOutput",
    "UnetTCAM",
    "best_model_state",
    "build_model",
    "foreground",
    "is_of_authors_program",
    "learning_rate_groups",
    "load_best_model",
    "load_fitting_weights",
    "load_imagenet_weights",
    "load_saved_model",
    "model_settings",
    "read_model_settings",
    "write_model_settings",
]
