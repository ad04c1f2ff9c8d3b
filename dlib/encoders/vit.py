"""Vision transformer ViT-B/16 (Dosovitskiy et al. 2021) as torchvision has it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ViT_B_16_Weights, vit_b_16

from dlib.encoders.base import Encoder


class PatchMaps(nn.Module):
    """Tokens of the patches as maps: [B, h·w, K] -> [B, K, h, w]."""

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, (height, width))


class ViTB16Encoder(Encoder):
    """Two maps: the input, and the last layer's tokens of the patches, at 1/16 of the input's sides (14 for 224).

    The attention uses the class token, but it has no map. The position embedding is that of 14 × 14 patches; for
    another number it is interpolated as torchvision's ``interpolate_embeddings`` does (bicubic, corners aligned).
    """

    imagenet_url = ViT_B_16_Weights.IMAGENET1K_V1.url
    base_rate_prefixes = (
        "class_token",
        "conv_proj.",
        "encoder.pos_embedding",
        *(f"encoder.layers.encoder_layer_{number}." for number in range(11)),
    )
    decoder_blocks = 4
    attends = True
    side_multiple = 16

    def __init__(self) -> None:
        super().__init__()
        net = vit_b_16(weights=None)
        self.class_token, self.conv_proj, self.encoder = net.class_token, net.conv_proj, net.encoder
        self.maps = PatchMaps()
        self.out_channels = (3, net.hidden_dim)

    @property
    def cam_layer(self) -> nn.Module:
        """What makes maps of the last tokens, behind the last layer norm."""
        return self.maps

    def imagenet_keys(self) -> dict[str, str]:
        """As in the base; torchvision's file has the earlier names of the two linear layers of each MLP."""
        return {
            key: key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
            for key in super().imagenet_keys()
        }

    def forward(self, x: Tensor) -> list[Tensor]:
        self.check_size(x)
        patches = self.conv_proj(x)  # [B, K, h, w]
        height, width = patches.shape[2:]
        tokens = torch.cat([self.class_token.expand(x.shape[0], -1, -1), patches.flatten(2).mT], dim=1)
        tokens = self.encoder.dropout(tokens + self._positions(height, width))  # [B, 1 + h·w, K]
        tokens = self.encoder.ln(self.encoder.layers(tokens))
        return [x, self.maps(tokens[:, 1:], height, width)]

    def _positions(self, height: int, width: int) -> Tensor:
        """The position embedding [1, 1 + h·w, K]."""
        known = self.encoder.pos_embedding
        side = math.isqrt(known.shape[1] - 1)
        if (height, width) == (side, side):
            return known
        grid = known[:, 1:].mT.unflatten(2, (side, side))  # [1, K, side, side]
        grid = F.interpolate(grid, (height, width), mode="bicubic", align_corners=True)
        return torch.cat([known[:, :1], grid.flatten(2).mT], dim=1)
