"""VGG-16 (Simonyan & Zisserman 2015) without its 4th and 5th max-pool, with a sixth convolution."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from dlib.encoders.base import Encoder, init_layers

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512, 512, 512, 512))
_FIRST_MOVED = 23  # from here on the missing 4th pool shifts the numbers of torchvision's layers by one


class VGG16Encoder(Encoder):
    """Four maps at sides 1, 1/2, 1/4, 1/8 of the input's.

    ``full_features`` runs ``features``, ``conv6`` and the last ReLU; its keys are aliases of theirs.
    """

    out_channels = (64, 128, 256, 1024)
    imagenet_url = VGG16_Weights.IMAGENET1K_V1.url
    alias_prefix = "full_features."
    layers_without_imagenet = ("conv6.",)
    base_rate_prefixes = ("features.",)
    decoder_centre = True

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block, widths in enumerate(_BLOCKS):
            layers += [nn.MaxPool2d(2)] if block else []
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=1)
        self.full_features = nn.Sequential(*layers, self.conv6, nn.ReLU(inplace=True))
        init_layers(self, nn.init.kaiming_uniform_)

    @property
    def cam_layer(self) -> nn.Module:
        """The ReLU after ``conv6``."""
        return self.full_features[-1]

    def imagenet_keys(self) -> dict[str, str]:
        """As in the base; ``features.23 …`` are torchvision's ``features.24 …``."""
        names = {}
        for key in super().imagenet_keys():
            prefix, index, kind = key.split(".")
            names[key] = f"{prefix}.{int(index) + (int(index) >= _FIRST_MOVED)}.{kind}"
        return names

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for layer in self.full_features:
            if isinstance(layer, nn.MaxPool2d):
                features.append(x)
            x = layer(x)
        return [*features, x]
