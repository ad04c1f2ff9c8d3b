"""How a batch gets from the process that reads it to the one that trains: in shared memory, or through a pipe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlib.datasets.batch import Batch
from dlib.utils.distributed import processes_here
from dlib.utils.filesystem import free_bytes

SHARED_MEMORY = Path("/dev/shm")
READ_AHEAD = 2  # batches per worker
_PER_FRAME = 4096  # bytes at most of a frame's numbers and id


class PackedBatch:
    """A batch as arrays, which go through a pipe; tensors would go through shared memory."""

    def __init__(self, batch: Batch) -> None:
        self._arrays = {name: v.numpy() for name, v in vars(batch).items() if isinstance(v, Tensor)}
        self._rest = {name: v for name, v in vars(batch).items() if not isinstance(v, Tensor)}

    def unpack(self) -> Batch:
        """The batch, bit by bit."""
        tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        return Batch(**tensors, **self._rest)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; the loader calls it."""
        return self.unpack().pin_memory()


def fits_shared_memory(
    frames: int, crop_size: int, with_cams: bool, workers: int, with_regions: bool = False
) -> bool:
    """Whether all batches that workers hold at a time fit into half of the shared memory that is free.

    Shared memory is faster, but a container often has 64 MB of it: four batches of 32 frames at 224 pixels.

    Args:
        frames: of the largest batch.
        crop_size: of the frames, pixels.
        with_cams: frames come with their CAMs.
        workers: reading processes of this process; the other processes on this machine have as many each.
        with_regions: CAMs come with the masks of their regions.
    """
    if not sys.platform.startswith("linux"):
        return True  # there, shared memory is not a file system of fixed size
    one = frames * (crop_size * crop_size * (3 + 4 * with_cams + with_regions) + _PER_FRAME)
    held = (READ_AHEAD * workers + 2) * one * processes_here()
    return 2 * held <= (free_bytes(SHARED_MEMORY) or 0)
