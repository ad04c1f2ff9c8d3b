"""Pooling of class maps to class scores. Maps [B, C, h, w] -> [B, C], any float type."""

from __future__ import annotations

import math

from torch import Tensor


def average_pool(maps: Tensor) -> Tensor:
    """Mean over the pixels (Lin et al. 2014)."""
    return maps.mean(dim=(2, 3))


def max_pool(maps: Tensor) -> Tensor:
    """Maximum over the pixels (Oquab et al. 2015)."""
    return maps.amax(dim=(2, 3))


def log_sum_exp_pool(maps: Tensor, r: float) -> Tensor:
    """(1/r) log mean exp(r·map), never overflowing (Pinheiro & Collobert 2015, eq. 1).

    Args:
        r: > 0; near 0 the result is the mean, for large r the maximum.
    """
    pixels = maps.shape[2] * maps.shape[3]
    peak = maps.detach().amax(
        dim=(2, 3), keepdim=True
    )  # subtracted first: r·map would have too few digits left
    scores = (r * (maps - peak)).flatten(2).logsumexp(dim=2)  # [B, C]
    return peak.flatten(1) + (scores - math.log(pixels)) / r


def wildcat_pool(maps: Tensor, kmax: float, kmin: float, alpha: float) -> Tensor:
    """(mean of the highest pixels + alpha · mean of the lowest) / 2 (Durand et al. 2017, eq. 3).

    Args:
        kmax, kmin: how many pixels: up to 1 a share of all, above 1 a number. A positive share is at least
            one pixel; kmin 0 leaves the second mean out.
    """
    scores = maps.flatten(2)  # [B, C, h·w]
    highest = scores.topk(_count(kmax, scores.shape[2]), dim=2).values.mean(dim=2)
    low = _count(kmin, scores.shape[2])
    if low == 0:
        return highest / 2
    return (highest + alpha * scores.topk(low, dim=2, largest=False).values.mean(dim=2)) / 2


def _count(k: float, pixels: int) -> int:
    if k <= 0:
        return 0
    return min(pixels, max(1, round(k * pixels) if k <= 1 else int(k)))
