"""Localization in new videos and images with a trained model: reading, predicting, drawing, writing.

Names are looked up on first use, so that the commands of this package start without importing torch.
"""

from typing import TYPE_CHECKING

from dlib.utils.lazy import first_use

if TYPE_CHECKING:
    from dlib.localizer.model import SavedModel, find_weights, read_saved_model
    from dlib.localizer.predict import Localizer
    from dlib.localizer.result import Localization

__all__ = ["Localization", "Localizer", "SavedModel", "find_weights", "read_saved_model"]
__getattr__ = first_use(
    __name__,
    {"Localization": "result", "Localizer": "predict"}
    | dict.fromkeys(("SavedModel", "find_weights", "read_saved_model"), "model"),
)
