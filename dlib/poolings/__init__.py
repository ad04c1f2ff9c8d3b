"""Pooling heads: from the encoder's last feature map to class logits."""

from __future__ import annotations

from dlib.poolings.heads import GAP, WGAP, LogSumExpPool, MapHead, MaxPool, WildCatCLHead

__all__ = ["GAP", "WGAP", "LogSumExpPool", "MapHead", "MaxPool", "WildCatCLHead"]
