"""An encoder, a head, a CAM method and a loss term as a newcomer would write them; their entries: toy_entries.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlib.cams import CamExtractor
from dlib.encoders import Encoder
from dlib.losses import LossInputs, Term
from dlib.poolings import GAP


class ToyEncoder(Encoder):
    """Two convolutions."""

    out_channels = (3, 8, 16)
    base_rate_prefixes = ("first.",)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU())

    @property
    def cam_layer(self) -> nn.Module:
        return self.second

    def forward(self, x: Tensor) -> list[Tensor]:
        first = self.first(x)
        return [x, first, self.second(first)]


class ToyHead(GAP):
    """Mean square of the class maps."""

    def pool(self, maps: Tensor) -> Tensor:
        return maps.square().mean(dim=(2, 3))


class ToyCam(CamExtractor):
    """Sum of the features, whatever the class."""

    @torch.no_grad()
    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        return features.sum(dim=1), self._classify(features, class_idx)


class ToyTerm(Term):
    """Mean of p_fg + eps."""

    def __init__(self, eps: float, **common: Any) -> None:
        super().__init__(**common)
        self.eps = eps

    def compute(self, inputs: LossInputs) -> Tensor:
        return inputs.sample_mean(inputs.probabilities[:, 1].mean(dim=(1, 2)) + self.eps)
