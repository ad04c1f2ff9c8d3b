"""CoLo-CAM: weakly supervised object localization in videos with class activation maps.

``Localizer`` is looked up on first use, so that importing the package does not import torch. A name that is missing may
be one of the face library, which PyPI has under the same name.
"""

from typing import TYPE_CHECKING

from dlib.utils.errors import OTHER_DLIB
from dlib.utils.lazy import first_use

if TYPE_CHECKING:
    from dlib.localizer import Localizer

__all__ = ["Localizer"]
__getattr__ = first_use(__name__, {"Localizer": "localizer"}, "; " + OTHER_DLIB)
