"""Bilateral filters on the permutohedral lattice and the dense-CRF losses made of them."""

from __future__ import annotations

from dlib.crf.filters import IMAGE_RANGE, Backend, OutOfRange, bilateral_filter, color_bilateral_filter
from dlib.crf.losses import ColorDenseCRFLoss, DenseCRFLoss, joint_color_crf

__all__ = [
    "IMAGE_RANGE",
    "Backend",
    "ColorDenseCRFLoss",
    "DenseCRFLoss",
    "OutOfRange",
    "bilateral_filter",
    "color_bilateral_filter",
    "joint_color_crf",
]
