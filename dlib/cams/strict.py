"""F-CAM's region of interest: pixels strictly above Otsu's threshold, eroded as long as something is left."""

from __future__ import annotations

import torch
from torch import Tensor

from dlib.cams.morphology import erode
from dlib.cams.roi import Roi, full_boxes, otsu_thresholds


def strict_region(cams: Tensor, erode_k: int = 11, erode_iter: int = 1) -> Roi:
    """The pixels whose level u = floor(255·C) is above Otsu's threshold (F-CAM, Belharbi et al. 2022, section 3).

    The threshold is the integer level that skimage and OpenCV find for u; 0 counts as 1, and 255 as 254. So a map of
    the levels 0 and 1 alone has no region. An erosion that would empty the region of an image is left out.

    Args:
        cams: float [B, H, W] in [0, 1], any device.
        erode_k, erode_iter: the region is eroded ``erode_iter`` times by a square of this side, which is odd.
    Returns: ``masks`` after and ``regions`` before the erosion; ``boxes`` are the full map.
    Raises ValueError for shapes other than [B, H, W].
    """
    if cams.dim() != 3:
        raise ValueError(f"CAMs [B, H, W] expected, got {list(cams.shape)}")
    levels = _levels(cams)
    # The threshold is the centre of a bin that is less than one level wide: rounding gives the level in it.
    thresholds = otsu_thresholds(levels).round().clamp(1, 254)  # [B]
    regions = levels > thresholds.view(-1, 1, 1)  # [B, H, W]
    masks = regions
    for _ in range(erode_iter):
        eroded = erode(masks, erode_k)
        masks = torch.where(eroded.any(dim=2).any(dim=1).view(-1, 1, 1), eroded, masks)
    return Roi(masks, regions, full_boxes(cams))


def without_one_level(cams: Tensor) -> Tensor:
    """CAMs [B, H, W], 0 everywhere in an image whose pixels all have the same level floor(255·C)."""
    levels = _levels(cams).flatten(1)  # [B, P]
    varies = levels.amax(dim=1) > levels.amin(dim=1)  # [B]
    return cams * varies.view(-1, 1, 1)


def _levels(cams: Tensor) -> Tensor:
    return (cams.float() * 255).clamp_(0, 255).to(torch.uint8)
