"""Operations on every class activation map: normalization, resizing, temperature."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dlib.configure.literals import SeedTechnique


def normalize_cams(cams: Tensor) -> Tensor:
    """Min-max normalization per image: [B, h, w] -> float32 [B, h, w] in [0, 1].

    A constant map, and one that holds NaN or infinity, becomes 0 everywhere.
    """
    cams = cams.float()
    low = cams.amin(dim=(1, 2), keepdim=True)  # [B, 1, 1]
    high = cams.amax(dim=(1, 2), keepdim=True)
    return torch.nan_to_num((cams - low) / (high - low))  # never infinite: inf / inf is NaN


def upsample_cams(cams: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resizing (align_corners False): [B, h, w] -> [B, H, W] for ``size`` = (H, W)."""
    resized = functional.interpolate(cams.unsqueeze(1), size=size, mode="bilinear", align_corners=False)
    return resized.squeeze(1)


def temper_cams(cams: Tensor, t: float) -> Tensor:
    """exp(t (C + 1e-6)) over its maximum, per image: [B, H, W] -> [B, H, W] in (0, 1].

    t <= 0 changes nothing. A larger t makes the map sharper. Computed as exp(t (C - max C)), the same value
    without overflow.
    """
    if t <= 0:
        return cams
    return torch.exp(t * (cams - cams.amax(dim=(1, 2), keepdim=True)))


def temper_at(epoch: int, start: float, end: float, switch_epoch: int) -> float:
    """The temperature t of an epoch (the first is 1), as in the published program.

    It falls by (start - end) / switch_epoch every epoch, also in epoch 1, and is ``end`` from ``switch_epoch`` on;
    ``switch_epoch`` -1 or 0: always ``start``.
    """
    if switch_epoch <= 0:
        return start
    return start + (end - start) * min(epoch / switch_epoch, 1.0)


def seed_technique_at(epoch: int, technique: SeedTechnique, switch_epoch: int) -> SeedTechnique:
    """``technique`` before ``switch_epoch``, ``seed_uniform`` from there on (-1: never)."""
    return "seed_uniform" if switch_epoch != -1 and epoch >= switch_epoch else technique
