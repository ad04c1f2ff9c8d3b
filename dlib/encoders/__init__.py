"""Encoders: ImageNet classifiers changed to keep a large last feature map."""

from __future__ import annotations

from dlib.configure.constants import ENCODERS
from dlib.encoders.base import Encoder
from dlib.utils.lazy import load_object

__all__ = ["Encoder", "build_encoder"]


def build_encoder(name: str) -> Encoder:
    """A randomly initialized encoder. Raises ValueError for an unknown name."""
    if name not in ENCODERS:
        raise ValueError(f"unknown encoder {name!r}: choose one of {', '.join(ENCODERS)}")
    return load_object(ENCODERS[name])()
