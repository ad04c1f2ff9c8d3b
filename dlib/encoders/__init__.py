"""Encoders: ImageNet classifiers changed to keep a large last feature map."""

from __future__ import annotations

from collections.abc import Callable

from dlib.encoders.base import Encoder
from dlib.encoders.inception import InceptionV3Encoder
from dlib.encoders.mobilenet import MobileNetV2Encoder
from dlib.encoders.resnet import ResNetEncoder
from dlib.encoders.vgg import VGG16Encoder

__all__ = ["Encoder", "build_encoder"]

_BUILDERS: dict[str, Callable[[], Encoder]] = {
    "resnet50": lambda: ResNetEncoder(50),
    "resnet18": lambda: ResNetEncoder(18),
    "mobilenet_v2": MobileNetV2Encoder,
    "vgg16": VGG16Encoder,
    "inceptionv3": InceptionV3Encoder,
}


def build_encoder(name: str) -> Encoder:
    """A randomly initialized encoder. Raises ValueError for an unknown name."""
    if name not in _BUILDERS:
        raise ValueError(f"unknown encoder {name!r}: choose one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name]()
