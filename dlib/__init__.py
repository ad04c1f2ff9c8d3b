"""CoLo-CAM: weakly supervised object localization in videos with class activation maps.

``Localizer`` is looked up on first use, so that importing the package does not import torch.
"""

from typing import TYPE_CHECKING

from dlib.utils.lazy import first_use

if TYPE_CHECKING:
    from dlib.localizer import Localizer

__all__ = ["Localizer"]
__getattr__ = first_use(__name__, {"Localizer": "localizer"})
