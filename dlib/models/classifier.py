"""The image classifier whose class activation maps localize."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from dlib.encoders import build_encoder
from dlib.models.options import ModelSettings
from dlib.models.weights import load_imagenet_weights
from dlib.poolings import HeadOptions, MapHead, build_head


class CamClassifier(nn.Module):
    """Encoder and classification head: what STDClassifier and UnetCoLoCAM share.

    Shapes: images [B, 3, H, W], ImageNet-normalized, any size; A [B, K, h, w] the CAM layer's output (K
    channels, sides about 1/8 of the input's); logits [B, C].

    Args:
        encoder_name: resnet50, resnet18, mobilenet_v2, vgg16 or inceptionv3.
        num_classes: C >= 1.
        head: which classification head, and its options; WGAP by default.
        encoder_weights: "imagenet", or None for random ones.
        in_channels: 3.
        scale_in: the images are multiplied by it.
        weights_dir: folder of the ImageNet weights; None: ``pretrained/imagenet``.
    Raises ValueError for an argument outside these, UserError for ImageNet weights that cannot be had.
    """

    def __init__(
        self,
        encoder_name: str,
        num_classes: int,
        head: HeadOptions = HeadOptions(),
        encoder_weights: str | None = None,
        in_channels: int = 3,
        scale_in: float = 1.0,
        weights_dir: Path | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}: it must be at least 1")
        if in_channels != 3:
            raise ValueError(f"in_channels is {in_channels}: images have 3 channels")
        if encoder_weights not in (None, "imagenet"):
            raise ValueError(f"encoder_weights is {encoder_weights!r}: it must be 'imagenet' or None")
        self.settings = ModelSettings(encoder_name, num_classes, head, in_channels, scale_in)
        self.scale_in = scale_in
        self._frozen: tuple[str, ...] = ()
        self.encoder = build_encoder(encoder_name)
        self.classification_head = build_head(self.encoder.out_channels[-1], num_classes, head)
        init_xavier_uniform(self.classification_head)
        if encoder_weights == "imagenet":
            load_imagenet_weights(self.encoder, encoder_name, weights_dir)

    @property
    def cam_layer(self) -> nn.Module:
        """Module whose output is A: where hooks of other CAM libraries go."""
        return self.encoder.cam_layer

    def features(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps, from the finest to A; no autograd graph if the encoder is frozen."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and "encoder" not in self._frozen):
            return self.encoder(images if self.scale_in == 1 else images * self.scale_in)

    def cam_features(self, images: Tensor) -> Tensor:
        """A [B, K, h, w] of images [B, 3, H, W]."""
        return self.features(images)[-1]

    def logits_from_features(self, features: Tensor) -> Tensor:
        """Logits [B, C] of A [B, K, h, w]."""
        return self.classification_head(features)

    def class_maps(self, features: Tensor) -> Tensor:
        """The head's own maps [B, C, h, w] of A, without the background's. TypeError for a WGAP head."""
        if not isinstance(self.classification_head, MapHead):
            raise TypeError("a WGAP head makes no class maps: use a CAM extractor")
        return self.classification_head.class_maps(features)

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Parameters of encoder and classification head, each once."""
        return [*self.encoder.parameters(), *self.classification_head.parameters()]

    def freeze_encoder(self) -> None:
        """The encoder gets no gradient and stays in eval mode; its features have no autograd graph."""
        self._freeze(("encoder",))

    def freeze_classifier(self) -> None:
        """The same for encoder and classification head."""
        self._freeze(("encoder", "classification_head"))

    def _freeze(self, parts: tuple[str, ...]) -> None:
        self._frozen = tuple(dict.fromkeys(self._frozen + parts))
        for part in parts:
            self.get_submodule(part).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> CamClassifier:
        """As in PyTorch, but frozen parts stay in eval mode."""
        super().train(mode)
        for part in self._frozen:
            self.get_submodule(part).eval()
        return self

    def check_frozen(self) -> None:
        """Raises RuntimeError if something could change a frozen part or has tried to."""
        for part in self._frozen:
            for name, parameter in self.get_submodule(part).named_parameters():
                if parameter.requires_grad or parameter.grad is not None:
                    raise RuntimeError(f"{part} is frozen, yet {name} takes part in training")
            for name, module in self.get_submodule(part).named_modules():
                if module.training:
                    raise RuntimeError(f"{part} is frozen, yet {name or 'it'} is in training mode")

    def frozen_checksum(self) -> str:
        """Digest of every bit of the frozen parts: it must not change while training."""
        digest = hashlib.sha256()
        for part in self._frozen:
            for tensor in self.get_submodule(part).state_dict().values():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class STDClassifier(CamClassifier):
    """Image classifier; arguments as in the base."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, 3, H, W]."""
        return self.logits_from_features(self.cam_features(images))


def init_xavier_uniform(head: nn.Module) -> None:
    """Xavier-uniform weights, biases 0."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
