"""Localization in new videos and images with a trained model: reading, predicting, drawing, writing.

Names are looked up on first use, so that the commands of this package start without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlib.localizer.model import SavedModel, find_weights, read_saved_model
    from dlib.localizer.predict import Localization, Localizer

_HOME = {
    "Localization": "predict",
    "Localizer": "predict",
    "SavedModel": "model",
    "find_weights": "model",
    "read_saved_model": "model",
}

__all__ = ["Localization", "Localizer", "SavedModel", "find_weights", "read_saved_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
