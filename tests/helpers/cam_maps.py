"""Maps as CAM methods make them."""

from __future__ import annotations

import torch

from dlib.cams import normalize_cams, upsample_cams


def smooth_cams(count: int, size: int, seed: int, grid: int = 7) -> torch.Tensor:
    """Normalized maps [count, size, size] in 0..1, interpolated from random numbers on a grid."""
    generator = torch.Generator().manual_seed(seed)
    return normalize_cams(upsample_cams(torch.rand(count, grid, grid, generator=generator), (size, size)))
