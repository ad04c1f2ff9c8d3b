"""What an exported file says for another program that draws the boxes of ``--box_rule threshold``."""

from __future__ import annotations

from typing import Any

from dlib.configure.constants import IMAGENET_MEAN, IMAGENET_STD
from dlib.localizer.model import SavedModel


def facts(saved: SavedModel) -> dict[str, Any]:
    """Plain values, by name; doc/export.md describes them and has a program that uses them."""
    taus = saved.complete_taus()
    maps = saved.maps
    decodes = maps.model.decodes_maps
    return {
        "class_names": saved.classes,
        "crop_size": saved.crop_size,
        "box_rule": {
            "name": "largest_contour",
            "thresholds": dict(zip(saved.classes, taus, strict=True)) if taus else None,
        },
        "maps": "one map in 0..1" if decodes else "one map per class, before min-max normalization",
        "refine": {"sigma_rgb": maps.refine_sigma_rgb, "sigma_xy": maps.refine_sigma_xy},
        "cam_share": maps.cam_share,
        "normalization": {
            "inside": True,
            "input": "RGB 0..255",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
    }
