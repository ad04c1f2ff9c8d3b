"""Pooling heads: from the encoder's last feature map to class logits."""

from __future__ import annotations

from dlib.configure.constants import POOLINGS
from dlib.configure.flags_head import HeadOptions
from dlib.poolings.heads import GAP, WGAP, Head, LogSumExpPool, MapHead, MaxPool, WildCatCLHead
from dlib.utils.lazy import load_object

__all__ = [
    "GAP",
    "WGAP",
    "Head",
    "HeadOptions",
    "LogSumExpPool",
    "MapHead",
    "MaxPool",
    "WildCatCLHead",
    "build_head",
]


def build_head(in_channels: int, num_classes: int, options: HeadOptions) -> Head:
    """The head that ``options`` name. Raises ValueError for an unknown head and for options outside their ranges."""
    name = options.spatial_pooling
    if name not in POOLINGS:
        raise ValueError(f"unknown pooling {name!r}: choose one of {', '.join(POOLINGS)}")
    kind: type[Head] = load_object(POOLINGS[name])
    return kind(in_channels, num_classes, options)
