"""U-Net decoder (Ronneberger et al. 2015) on the classifier: foreground and background maps at full size."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlib.encoders.base import init_layers
from dlib.models.classifier import CamClassifier

DECODER_CHANNELS = (256, 128, 64, 32, 16)


class UnetOutput(NamedTuple):
    """Output of UnetCoLoCAM and its subclasses."""

    logits: Tensor
    """Class logits [B, C]."""
    maps: Tensor
    """Map logits [B, 2, H, W]: 0 background, 1 foreground."""
    features: Tensor
    """The decoder's last map [B, D, h, w], detached."""


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear (align_corners True) to ``size`` [B, C, h, w] -> [B, C, *size], where it differs."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """3×3 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class DecoderBlock(nn.Module):
    """×2 upsampling, skip concatenated, two convolutions: [B, in, h, w], [B, skip, y, x] -> [B, out, y, x]."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv_block(in_channels + skip_channels, out_channels)
        self.conv2 = conv_block(out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        # Nearest ×2 and then bilinear with aligned corners back to the old size is the identity: both pixels
        # between which output pixel i interpolates are copies of input pixel i.
        if skip is None or skip.shape[-2:] != x.shape[-2:]:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = torch.cat([resize(x, skip.shape[-2:]), skip], dim=1)
        return self.conv2(self.conv1(x))


class UnetDecoder(nn.Module):
    """Feature maps of an encoder -> [B, out_channels, h, w].

    At 224 with resnet50: 2048@28 → 256@28 → 128@28 → 64@56 → 32@112 → 16@224.

    Args:
        encoder_channels: of the encoder's feature maps, finest first; the finest is no skip.
        centre: two convolutions on the coarsest map before the first block.
        blocks: number of blocks; 0: one for each skip and one more.
    """

    def __init__(self, encoder_channels: tuple[int, ...], centre: bool, blocks: int = 0) -> None:
        super().__init__()
        *skips, width = encoder_channels[1:]
        self.center: nn.Module = nn.Identity()
        if centre:
            self.center = nn.Sequential(conv_block(width, width), conv_block(width, width))
        self.blocks = nn.ModuleList()
        without = max(blocks - len(skips), 1)  # blocks that have no skip
        for skip, out_channels in zip([*reversed(skips), *[0] * without], DECODER_CHANNELS, strict=False):
            self.blocks.append(DecoderBlock(width, skip, out_channels))
            width = out_channels
        self.out_channels = width

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, x = features[1:]
        x = self.center(x)
        for block, skip in itertools.zip_longest(self.blocks, reversed(skips)):
            x = block(x, skip)
        return x


class UnetCoLoCAM(CamClassifier):
    """Classifier with a decoder that makes full-resolution maps; arguments as in ``CamClassifier``.

    Raises ValueError for a ``scale_in`` other than 1 too.
    """

    decodes_maps = True

    def __init__(self, encoder_name: str, num_classes: int, *args: Any, **options: Any) -> None:
        super().__init__(encoder_name, num_classes, *args, **options)
        if self.scale_in != 1:
            raise ValueError(f"scale_in is {self.scale_in}: {type(self).__name__} sees images as they are")
        encoder = self.encoder
        self.decoder = UnetDecoder(encoder.out_channels, encoder.decoder_centre, encoder.decoder_blocks)
        self.segmentation_head = nn.Sequential(nn.Conv2d(self.decoder.out_channels, 2, 3, padding=1))
        init_layers(self.decoder, nn.init.kaiming_uniform_)
        init_layers(self.segmentation_head, nn.init.xavier_uniform_)

    def forward(self, images: Tensor) -> UnetOutput:
        """Class logits, map logits and decoder features for images [B, 3, H, W]."""
        return self.decode(self.features(images), images.shape[-2:])

    def decode(self, features: list[Tensor], size: torch.Size) -> UnetOutput:
        """The output for the encoder's feature maps of images with ``size`` = (H, W)."""
        decoded = self.decoder(features)
        maps = resize(self.segmentation_head(decoded), size)
        return UnetOutput(self.logits_from_features(features[-1]), maps, decoded.detach())


class UnetTCAM(UnetCoLoCAM):
    """The same network under the name that TCAM's files have."""


class UnetFCAM(UnetCoLoCAM):
    """The same network under the name that F-CAM's files have."""
