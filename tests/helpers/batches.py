"""Train batches of the tiny dataset, and whether two batches are the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from dlib.datasets.batch import Batch
from dlib.datasets.loaders import TrainLoader, train_loader
from dlib.datasets.metadata import read_split
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from helpers.workplace import DATASET


def loader_of(
    tiny: Path, kind: type[VideoDataset] = VideoDataset, workers: int = 1, crop: int = 32
) -> TrainLoader:
    data = tiny / "datasets" / DATASET
    metadata = read_split(data, tiny / "folds" / DATASET, "train")
    return train_loader(
        kind(metadata, data, train=True, crop_size=crop, resize_size=crop), 4, num_workers=workers
    )


def taken(data: VideoDataset, item: int, epoch: int = 0) -> Batch:
    """The frames that an epoch takes from one item."""
    return data.load([FrameRequest(epoch, item, frame) for frame in data.draw(epoch, item)])


def joined(batches: Sequence[Batch]) -> Batch:
    """One batch of all samples in order."""
    whole = {}
    for name, value in vars(batches[0]).items():
        parts = [getattr(batch, name) for batch in batches]
        if value is not None:
            whole[name] = torch.cat(parts) if isinstance(value, Tensor) else list(chain(*parts))
    return Batch(**whole)


def same(a: Batch, b: Batch) -> bool:
    tensors = ("frames", "labels", "indices", "sequence", "order", "keys")
    return a.ids == b.ids and all(torch.equal(getattr(a, t), getattr(b, t)) for t in tensors)
