"""Data: metadata, frame sampling, the video dataset and its loaders; also the builders' command lines.

Names are looked up on first use, so that the builders start without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlib.datasets.batch import Batch, normalize
    from dlib.datasets.loaders import eval_loader, frame_loader, train_loader
    from dlib.datasets.metadata import SplitMetadata, read_split, scaled_boxes
    from dlib.datasets.sampling import allowed_frames, sample_frames
    from dlib.datasets.video_dataset import VideoDataset

_HOME = {
    "Batch": "batch",
    "SplitMetadata": "metadata",
    "VideoDataset": "video_dataset",
    "allowed_frames": "sampling",
    "eval_loader": "loaders",
    "frame_loader": "loaders",
    "normalize": "batch",
    "read_split": "metadata",
    "sample_frames": "sampling",
    "scaled_boxes": "metadata",
    "train_loader": "loaders",
}

__all__ = [
    "Batch",
    "SplitMetadata",
    "VideoDataset",
    "allowed_frames",
    "eval_loader",
    "frame_loader",
    "normalize",
    "read_split",
    "sample_frames",
    "scaled_boxes",
    "train_loader",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
