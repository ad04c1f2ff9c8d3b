"""Classification heads: feature maps A [B, K, h, w] -> class logits [B, C]."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from dlib.configure.flags_head import HeadOptions
from dlib.poolings.functions import average_pool, log_sum_exp_pool, max_pool, wildcat_pool


class Head(nn.Module, ABC):
    """Base of all heads."""

    @classmethod
    @abstractmethod
    def from_options(cls, in_channels: int, num_classes: int, options: HeadOptions) -> Head:
        """A head on K = ``in_channels`` feature maps, with the options that it has."""


class WGAP(Head):
    """Global average pool, then a linear layer (Zhou et al. 2016). It has no maps of its own."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)

    @classmethod
    def from_options(cls, in_channels: int, num_classes: int, options: HeadOptions) -> WGAP:
        return cls(in_channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(average_pool(features))


class MapHead(Head):
    """Base of the heads that make one map per class and pool it.

    Args:
        support_background: one more map, the first, for pixels that belong to no class. It is never returned.
    """

    def __init__(self, num_classes: int, support_background: bool) -> None:
        super().__init__()
        self.background = int(support_background)
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
    """A 1×1 convolution to class maps, then their average."""

    def __init__(self, in_channels: int, num_classes: int, support_background: bool = True) -> None:
        super().__init__(num_classes, support_background)
        self.conv = nn.Conv2d(in_channels, self.num_maps, 1)

    @classmethod
    def from_options(cls, in_channels: int, num_classes: int, options: HeadOptions) -> GAP:
        return cls(in_channels, num_classes, options.support_background)

    def all_maps(self, features: Tensor) -> Tensor:
        return self.conv(features)

    def pool(self, maps: Tensor) -> Tensor:
        return average_pool(maps)


class MaxPool(GAP):
    """A 1×1 convolution to class maps, then their maximum."""

    def pool(self, maps: Tensor) -> Tensor:
        return max_pool(maps)


class LogSumExpPool(GAP):
    """A 1×1 convolution to class maps, then a smooth maximum.

    Args:
        r: sharpness, > 0. ValueError if not.
    """

    def __init__(
        self, in_channels: int, num_classes: int, support_background: bool = True, r: float = 10.0
    ) -> None:
        if r <= 0:
            raise ValueError(f"lse_r is {r}: it must be above 0")
        super().__init__(in_channels, num_classes, support_background)
        self.r = r

    @classmethod
    def from_options(cls, in_channels: int, num_classes: int, options: HeadOptions) -> LogSumExpPool:
        return cls(in_channels, num_classes, options.support_background, options.lse_r)

    def pool(self, maps: Tensor) -> Tensor:
        return log_sum_exp_pool(maps, self.r)


class WildCatCLHead(MapHead):
    """Several maps (modalities) per class, their mean, then the mean of its highest and lowest pixels.

    Args:
        modalities: maps per class, >= 1.
        kmax, kmin, alpha: see ``wildcat_pool``; kmax > 0, kmin >= 0. ValueError if not.
        dropout: probability that a pixel of the class maps is dropped before pooling in training.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        support_background: bool = True,
        modalities: int = 5,
        kmax: float = 0.5,
        kmin: float = 0.1,
        alpha: float = 0.6,
        dropout: float = 0.0,
    ) -> None:
        if modalities < 1 or kmax <= 0 or kmin < 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"wc_modalities {modalities}, wc_kmax {kmax}, wc_kmin {kmin}, wc_dropout {dropout}: needs "
                "modalities >= 1, kmax > 0, kmin >= 0 and a dropout from 0 up to but not including 1"
            )
        super().__init__(num_classes, support_background)
        self.modalities, self.kmax, self.kmin, self.alpha = modalities, kmax, kmin, alpha
        self.to_modalities = nn.Conv2d(in_channels, self.num_maps * modalities, 1)
        self.dropout = nn.Dropout(dropout)

    @classmethod
    def from_options(cls, in_channels: int, num_classes: int, options: HeadOptions) -> WildCatCLHead:
        return cls(
            in_channels,
            num_classes,
            options.support_background,
            modalities=options.wc_modalities,
            kmax=options.wc_kmax,
            kmin=options.wc_kmin,
            alpha=options.wc_alpha,
            dropout=options.wc_dropout,
        )

    def all_maps(self, features: Tensor) -> Tensor:
        modalities = self.to_modalities(features).unflatten(1, (self.num_maps, self.modalities))
        return modalities.mean(dim=2)  # [B, num_maps, h, w]

    def pool(self, maps: Tensor) -> Tensor:
        return wildcat_pool(self.dropout(maps), self.kmax, self.kmin, self.alpha)
