"""The image classifier whose class activation maps localize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlib.encoders import build_encoder
from dlib.encoders.base import init_layers
from dlib.models.weights import load_imagenet_weights
from dlib.poolings import HeadOptions, MapHead, build_head
from dlib.utils.graphs import Graphed

_HEAD = tuple(option.name for option in fields(HeadOptions))
_REQUIRED = ("encoder_name", "num_classes", "spatial_pooling")


@dataclass(frozen=True)
class ModelSettings:
    """Arguments of a network, by the names of the flags: see ``CamClassifier``."""

    encoder_name: str
    num_classes: int
    head: HeadOptions = field(default_factory=HeadOptions)
    in_channels: int = 3
    scale_in: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values without nesting, as ``config_model.yaml`` holds them."""
        head = asdict(self.head)
        own = {option.name: getattr(self, option.name) for option in fields(self) if option.name != "head"}
        first = {name: own.pop(name) for name in ("encoder_name", "num_classes")}
        return first | head | own

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelSettings:
        """The counterpart of ``to_dict``; other keys are ignored. Raises ValueError for missing ones."""
        missing = [key for key in _REQUIRED if key not in values]
        if missing:
            raise ValueError(f"model settings lack {', '.join(missing)}")
        own = {option.name for option in fields(cls)} - {"head"}
        head = HeadOptions(**{name: values[name] for name in _HEAD if name in values})
        return cls(head=head, **{name: values[name] for name in own if name in values})


class CamClassifier(nn.Module):
    """Encoder and classification head: what STDClassifier and UnetCoLoCAM share.

    Shapes: images [B, 3, H, W], ImageNet-normalized, any size (multiples of the encoder's ``side_multiple``);
    A [B, K, h, w] the CAM layer's output (K channels, sides about 1/8 of the input's; vit_b_16 1/16, swin_t 1/32);
    logits [B, C].

    Args:
        encoder_name: a name of ``dlib.configure.constants.ENCODERS``.
        num_classes: C >= 1.
        pooling: the classification head: WGAP, GAP, MaxPool, LogSumExpPool or WildCatCLHead; or an object with all
            options of the head.
        encoder_weights: "imagenet", or None for random ones.
        support_background: one more map, the first, in the heads that make maps; its logit is dropped.
        in_channels: 3.
        scale_in: the network sees the images resized by this factor, > 0 (bilinear, corners aligned).
        weights_dir: folder of the ImageNet weights; None: ``pretrained/imagenet``.
        head_options: other options of the head by name, such as wc_kmax or lse_r, see ``HeadOptions``.
    Raises ValueError or TypeError for other arguments, UserError for ImageNet weights that cannot be found or loaded.
    """

    decodes_maps: ClassVar[bool] = False
    """Whether ``forward`` gives maps (UnetOutput); otherwise a CAM method reads them out of the classifier."""

    def __init__(
        self,
        encoder_name: str,
        num_classes: int,
        pooling: str | HeadOptions = "WGAP",
        encoder_weights: str | None = None,
        support_background: bool = True,
        *,
        in_channels: int = 3,
        scale_in: float = 1.0,
        weights_dir: Path | None = None,
        **head_options: Any,
    ) -> None:
        super().__init__()
        if isinstance(pooling, HeadOptions):
            head = replace(pooling, **head_options)
        else:
            head = HeadOptions(pooling, support_background, **head_options)
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
        init_layers(self.classification_head, nn.init.xavier_uniform_)
        if encoder_weights == "imagenet":
            load_imagenet_weights(self.encoder, encoder_name, weights_dir)

    @property
    def cam_layer(self) -> nn.Module:
        """Module whose output is A: put hooks of other CAM libraries here."""
        return self.encoder.cam_layer

    def features(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps, from the finest to A; no autograd graph if the encoder is frozen.

        In a training step on a card, the next call overwrites the maps of a frozen encoder (``dlib.utils.graphs``).
        """
        if "encoder" not in self._frozen:
            return self.encoder(self._resized(images))
        with torch.no_grad():
            if self.training and not torch.compiler.is_compiling():
                return list(_graphed_encoder(self._resized(images), encoder=self.encoder))
            return self.encoder(self._resized(images))

    def _resized(self, images: Tensor) -> Tensor:
        if self.scale_in == 1:
            return images
        height, width = (int(side * self.scale_in) for side in images.shape[2:])
        return F.interpolate(images, (height, width), mode="bilinear", align_corners=True)

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

    def freeze_encoder(self) -> None:
        """The encoder gets no gradient and stays in eval mode; its features have no autograd graph."""
        self._freeze(("encoder",))

    def freeze_classifier(self) -> None:
        """Freezes encoder and classification head in the same way."""
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
        """Raises RuntimeError if a frozen part has gradients or is in training mode."""
        for part in self._frozen:
            for name, parameter in self.get_submodule(part).named_parameters():
                if parameter.requires_grad or parameter.grad is not None:
                    raise RuntimeError(f"{part} is frozen, but {name} has or needs a gradient")
            for name, module in self.get_submodule(part).named_modules():
                if module.training:
                    raise RuntimeError(f"{part} is frozen, but {name or 'it'} is in training mode")


def _encode(images: Tensor, *, encoder: nn.Module) -> tuple[Tensor, ...]:
    return tuple(encoder(images))


# Its maps are large, and used only until the step's backward pass.
_graphed_encoder = Graphed(_encode, copies=False)


def learning_rate_groups(model: CamClassifier) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Splits the trainable parameters, each once.

    Returns: those at the base learning rate, as the encoder says, and those at the higher one (the encoder's last
        layers, the head).
    """
    prefixes = tuple(f"encoder.{prefix}" for prefix in model.encoder.base_rate_prefixes)
    base: list[nn.Parameter] = []
    fast: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (base if name.startswith(prefixes) else fast).append(parameter)
    return base, fast


class STDClassifier(CamClassifier):
    """Image classifier; arguments as in the base class."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, 3, H, W]."""
        return self.logits_from_features(self.cam_features(images))
