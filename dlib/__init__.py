"""CoLo-CAM: weakly supervised object localization in videos with class activation maps.

``Localizer`` is looked up on first use, so that importing the package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlib.localizer import Localizer

__all__ = ["Localizer"]


def __getattr__(name: str) -> Any:
    if name != "Localizer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dlib.localizer import Localizer

    return Localizer
