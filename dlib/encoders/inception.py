"""Inception-v3 (Szegedy et al. 2016) up to ``Mixed_6e``, then two convolutions of SPG (Zhang et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import Inception_V3_Weights
from torchvision.models.inception import BasicConv2d, InceptionA, InceptionC

from dlib.encoders.base import Encoder, init_layers

_OUTPUTS = ("Conv2d_2b_3x3", "Conv2d_3b_1x1", "Mixed_5c", "Mixed_6e", "SPG_A3_2b")


class Mixed6a(nn.Module):
    """Inception's grid reduction without the reduction: [B, 288, h, w] -> [B, 768, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(288, 384, kernel_size=3, padding=1)
        self.branch3x3dbl_1 = BasicConv2d(288, 64, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(64, 96, kernel_size=3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(96, 96, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        pooled = F.max_pool2d(x, kernel_size=3, stride=1, padding=1)
        return torch.cat([self.branch3x3(x), double, pooled], dim=1)


def _spg_layer(in_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(0.5), nn.Conv2d(in_channels, 1024, 3, padding=1), nn.ReLU(inplace=True))


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)


class InceptionV3Encoder(Encoder):
    """Six maps: the input, then sides 1/2, about 1/4, and three times about 1/8 (29 for inputs of 224).

    ``features`` runs all layers in turn; its keys are aliases of the named layers'.
    """

    out_channels = (3, 64, 80, 288, 768, 1024)
    imagenet_url = Inception_V3_Weights.IMAGENET1K_V1.url
    alias_prefix = "features."
    layers_without_imagenet = ("SPG_A3_1b.", "SPG_A3_2b.")
    base_rate_prefixes = ("Mixed", "Conv2d_1", "Conv2d_2", "Conv2d_3", "Conv2d_4")

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = BasicConv2d(3, 32, kernel_size=3, stride=2, padding=1)
        self.Conv2d_2a_3x3 = BasicConv2d(32, 32, kernel_size=3, padding=1)
        self.Conv2d_2b_3x3 = BasicConv2d(32, 64, kernel_size=3, padding=1)
        self.maxpool1 = _pool()
        self.Conv2d_3b_1x1 = BasicConv2d(64, 80, kernel_size=1)
        self.Conv2d_4a_3x3 = BasicConv2d(80, 192, kernel_size=3, padding=1)
        self.maxpool2 = _pool()
        self.Mixed_5b = InceptionA(192, pool_features=32)
        self.Mixed_5c = InceptionA(256, pool_features=64)
        self.Mixed_5d = InceptionA(288, pool_features=64)
        self.Mixed_6a = Mixed6a()
        self.Mixed_6b = InceptionC(768, channels_7x7=128)
        self.Mixed_6c = InceptionC(768, channels_7x7=160)
        self.Mixed_6d = InceptionC(768, channels_7x7=160)
        self.Mixed_6e = InceptionC(768, channels_7x7=192)
        self.SPG_A3_1b = _spg_layer(768)
        self.SPG_A3_2b = _spg_layer(1024)
        named = dict(self.named_children())
        self.features = nn.Sequential(*named.values())
        self._is_output = [name in _OUTPUTS for name in named]
        init_layers(self, nn.init.kaiming_uniform_)

    @property
    def cam_layer(self) -> nn.Module:
        """``SPG_A3_2b``, which ends with the last ReLU."""
        return self.SPG_A3_2b

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [x]
        for layer, is_output in zip(self.features, self._is_output, strict=True):
            x = layer(x)
            if is_output:
                features.append(x)
        return features
