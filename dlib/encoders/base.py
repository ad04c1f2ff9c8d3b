"""The base of all encoders: an image classifier without its head, which returns its feature maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Encoder(nn.Module, ABC):
    """Network that gives feature maps; a convolutional one keeps a large last map (Choe et al. 2020, WSOL protocol).

    ``forward(x [B, 3, H, W])`` returns its feature maps from the finest to the coarsest; the last one is the
    CAM layer's output. The first has the input's resolution and is not a skip of the U-Net.
    """

    out_channels: tuple[int, ...]
    """Channels of the feature maps, in the order of ``forward``."""
    imagenet_url: str
    """torchvision's weights; the last part of the address is the name of the file."""
    alias_prefix: str | tuple[str, ...] = ()
    """State-dict keys with this prefix, or one of them, repeat the tensors of other keys."""
    layers_without_imagenet: tuple[str, ...] = ()
    """Prefixes of the layers that no ImageNet file has."""
    base_rate_prefixes: tuple[str, ...] = ("",)
    """Prefixes of the parameters that learn at the base rate when a classifier is trained; the others learn faster."""
    decoder_centre = False
    """Whether a U-Net decoder on this encoder starts with a centre block."""
    decoder_blocks = 0
    """Blocks of a U-Net decoder, each ×2; 0: one for each feature map but the first. The last ones have no skip."""
    attends = False
    """Whether it has attention: TorchScript then needs a plain trace, or the batch size becomes a fixed number."""
    side_multiple = 1
    """The sides of the input must be multiples of it."""

    @property
    @abstractmethod
    def cam_layer(self) -> nn.Module:
        """Module whose output is the last feature map: put hooks of other CAM libraries here."""

    @abstractmethod
    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps of images [B, 3, H, W]. Raises ValueError for sides that do not fit ``side_multiple``."""

    def check_size(self, x: Tensor) -> None:
        """Raises ValueError for images [B, 3, H, W] with sides that are no multiple of ``side_multiple``."""
        height, width = x.shape[2:]
        if height % self.side_multiple or width % self.side_multiple:
            raise ValueError(
                f"images of {height}×{width} pixels: {type(self).__name__} needs multiples of {self.side_multiple}"
            )

    def own_keys(self) -> list[str]:
        """State-dict keys without the aliases."""
        return [key for key in self.state_dict() if not key.startswith(self.alias_prefix)]

    def imagenet_keys(self) -> dict[str, str]:
        """Maps every key that ImageNet weights exist for to its name in torchvision's file."""
        return {k: k for k in self.own_keys() if not k.startswith(self.layers_without_imagenet)}


def stride_one(modules: Sequence[nn.Module]) -> None:
    """Sets the stride of every convolution inside ``modules`` to 1."""
    for module in modules:
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d):
                conv.stride = (1, 1)


def init_layers(module: nn.Module, fill: Callable[[Tensor], Tensor]) -> None:
    """Convolutions and linear layers with weights by ``fill`` of ``torch.nn.init``, biases 0.

    ``kaiming_uniform_`` is He et al. 2015 for ReLU with fan-in, ``xavier_uniform_`` Glorot & Bengio 2010.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fill(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
