"""Swin transformer, the tiny one (Liu et al. 2021), as torchvision has it."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import Swin_T_Weights, swin_t

from dlib.encoders.base import Encoder

_STAGES = (1, 3, 5, 7)  # their indices in `features`


class SwinTEncoder(Encoder):
    """Five maps at sides 1, 1/4, 1/8, 1/16, 1/32 of the input's (7 for 224): the input, and the four stages.

    The last one is behind the last layer norm, as in torchvision's classifier.
    """

    imagenet_url = Swin_T_Weights.IMAGENET1K_V1.url
    base_rate_prefixes = tuple(f"features.{index}." for index in range(6))
    decoder_blocks = 5
    attends = True
    side_multiple = 32

    def __init__(self) -> None:
        super().__init__()
        net = swin_t(weights=None)
        self.features, self.norm, self.maps = net.features, net.norm, net.permute
        width = net.norm.normalized_shape[0]
        self.out_channels = (3, width // 8, width // 4, width // 2, width)

    @property
    def cam_layer(self) -> nn.Module:
        """What puts the channels first, behind the last layer norm."""
        return self.maps

    def forward(self, x: Tensor) -> list[Tensor]:
        self.check_size(x)
        maps = [x]
        for index, part in enumerate(self.features):
            x = part(x)
            if index in _STAGES[:-1]:
                maps.append(x.permute(0, 3, 1, 2))
        return [*maps, self.maps(self.norm(x))]
