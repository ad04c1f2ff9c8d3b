"""Edges for coarse maps: each pixel of a CAM becomes an average over pixels that are near in place and colour."""

from __future__ import annotations

import torch
from torch import Tensor

from dlib.cams.maps import normalize_cams
from dlib.crf import IMAGE_RANGE, Backend, bilateral_filter


def refine_cams(
    cams: Tensor, images: Tensor, sigma_rgb: float, sigma_xy: float, backend: Backend = "auto"
) -> Tensor:
    """Each CAM C becomes F(C) / F(1), F the bilateral filter on its frame, min-max normalized (ours).

    A CAM has the low resolution of the network's last layer, and is strongest on a part of the object. The average
    over pixels near in place and colour gives it the frame's edges, and spreads it from the part to pixels of the
    same colours. A constant CAM becomes 0.

    Args:
        cams: float [B, H, W].
        images: [B, 3, H, W], 0..255, same device.
        sigma_rgb, sigma_xy: standard deviations in colour levels and pixels, > 0.
        backend: as in `bilateral_filter`.
    Returns: float32 [B, H, W] in 0..1.
    Raises ValueError for shapes that do not fit, sigmas that are not > 0 and finite, and maps that are not finite.
    """
    values = torch.stack((cams.float(), torch.ones_like(cams, dtype=torch.float32)), dim=1)  # [B, 2, H, W]
    filtered = bilateral_filter(images, values, sigma_rgb, sigma_xy, backend=backend, value_range=IMAGE_RANGE)
    sums, mass = filtered.unbind(dim=1)
    # The average of a constant map is constant except for rounding errors, which normalization would enlarge.
    alive = cams.amax(dim=(1, 2), keepdim=True) > cams.amin(dim=(1, 2), keepdim=True)  # [B, 1, 1]
    return normalize_cams(sums / mass) * alive


def edge_maps(maps: Tensor, images: Tensor, sigma_rgb: float, sigma_xy: float) -> Tensor:
    """``refine_cams`` for flags: with ``sigma_xy`` 0 the maps do not change, and NaN counts as 0."""
    return maps if sigma_xy == 0 else refine_cams(torch.nan_to_num(maps), images, sigma_rgb, sigma_xy)
