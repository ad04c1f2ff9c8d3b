"""Classification heads: feature maps A [B, K, h, w] -> class logits [B, C]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dlib.configure.flags_head import HeadOptions


def log_sum_exp_pool(maps: Tensor, r: float) -> Tensor:
    """(1/r) log mean exp(r·map), never overflowing (Pinheiro & Collobert 2015, eq. 1).

    Args:
        r: > 0; near 0 the result is the mean, for large r the maximum.
    """
    pixels = maps.shape[2] * maps.shape[3]
    # The peak is subtracted first: r·map would have too few digits left.
    peak = maps.detach().amax(dim=(2, 3), keepdim=True)
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


class Head(nn.Module):
    """Base of all heads: on K = ``in_channels`` feature maps, with those of ``options`` that it knows."""

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        super().__init__()


class WGAP(Head):
    """Global average pool, then a linear layer (Zhou et al. 2016). It has no maps of its own."""

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        super().__init__(in_channels, num_classes, options)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(features.mean(dim=(2, 3)))


class MapHead(Head, ABC):
    """Base of the heads that make one map per class and pool it.

    With ``support_background`` there is one more map, the first, for pixels that belong to no class. It is never
    returned.
    """

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        super().__init__(in_channels, num_classes, options)
        self.background = int(options.support_background)
        self.num_maps = num_classes + self.background

    @abstractmethod
    def all_maps(self, features: Tensor) -> Tensor:
        """Maps [B, num_maps, h, w], the background's included."""

    @abstractmethod
    def pool(self, maps: Tensor) -> Tensor:
        """Scores [B, C] of maps [B, C, h, w]."""

    def class_maps(self, features: Tensor) -> Tensor:
        """Maps [B, C, h, w] of the classes alone."""
        return self.all_maps(features)[:, self.background :]

    def forward(self, features: Tensor) -> Tensor:
        maps = self.class_maps(features)
        # Half precision would overflow in exp and lose the small differences between pixels.
        return self.pool(maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps)


class GAP(MapHead):
    """A 1×1 convolution to class maps, then their average (Lin et al. 2014)."""

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        super().__init__(in_channels, num_classes, options)
        self.conv = nn.Conv2d(in_channels, self.num_maps, 1)

    def all_maps(self, features: Tensor) -> Tensor:
        return self.conv(features)

    def pool(self, maps: Tensor) -> Tensor:
        return maps.mean(dim=(2, 3))


class MaxPool(GAP):
    """A 1×1 convolution to class maps, then their maximum (Oquab et al. 2015)."""

    def pool(self, maps: Tensor) -> Tensor:
        return maps.amax(dim=(2, 3))


class LogSumExpPool(GAP):
    """A 1×1 convolution to class maps, then a smooth maximum. Raises ValueError unless ``lse_r`` > 0."""

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        if options.lse_r <= 0:
            raise ValueError(f"lse_r is {options.lse_r}: it must be above 0")
        super().__init__(in_channels, num_classes, options)
        self.r = options.lse_r

    def pool(self, maps: Tensor) -> Tensor:
        return log_sum_exp_pool(maps, self.r)


class WildCatCLHead(MapHead):
    """Several maps (modalities) per class, their mean, then the mean of its highest and lowest pixels.

    Raises ValueError for options outside their ranges; ``wildcat_pool`` explains kmax, kmin and alpha.
    """

    def __init__(self, in_channels: int, num_classes: int, options: HeadOptions = HeadOptions()) -> None:
        modalities, dropout = options.wc_modalities, options.wc_dropout
        kmax, kmin = options.wc_kmax, options.wc_kmin
        if modalities < 1 or kmax <= 0 or kmin < 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"wc_modalities {modalities}, wc_kmax {kmax}, wc_kmin {kmin}, wc_dropout {dropout}: needs "
                "modalities >= 1, kmax > 0, kmin >= 0 and a dropout from 0 up to but not including 1"
            )
        super().__init__(in_channels, num_classes, options)
        self.modalities, self.kmax, self.kmin, self.alpha = modalities, kmax, kmin, options.wc_alpha
        self.to_modalities = nn.Conv2d(in_channels, self.num_maps * modalities, 1)
        self.dropout = nn.Dropout(dropout)

    def all_maps(self, features: Tensor) -> Tensor:
        modalities = self.to_modalities(features).unflatten(1, (self.num_maps, self.modalities))
        return modalities.mean(dim=2)  # [B, num_maps, h, w]

    def pool(self, maps: Tensor) -> Tensor:
        return wildcat_pool(self.dropout(maps), self.kmax, self.kmin, self.alpha)
