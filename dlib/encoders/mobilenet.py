"""MobileNetV2 (Sandler et al. 2018) with stride 1 instead of its last two reductions: for small machines."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

from dlib.encoders.base import Encoder, stride_one

_OUTPUTS = (1, 3, 6, 13, 18)  # blocks of `features` whose outputs are feature maps


class MobileNetV2Encoder(Encoder):
    """torchvision's ``features``; maps at sides 1, 1/2, 1/4, 1/8, 1/8, 1/8 of the input's."""

    out_channels = (3, 16, 24, 32, 96, 1280)
    imagenet_url = MobileNet_V2_Weights.IMAGENET1K_V1.url
    base_rate_prefixes = tuple(f"features.{block}." for block in range(14))

    def __init__(self) -> None:
        super().__init__()
        self.features = mobilenet_v2(weights=None).features
        stride_one([self.features[7], self.features[14]])

    @property
    def cam_layer(self) -> nn.Module:
        """The last block, which ends with a ReLU6."""
        return self.features[18]

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [x]
        for index, block in enumerate(self.features):
            x = block(x)
            if index in _OUTPUTS:
                features.append(x)
        return features
