"""Loaders: which frames make up each minibatch.

A training epoch is planned before a single frame is read: the plan lists every minibatch of this process as
frame requests. So an epoch can start at any minibatch, every process has the same number of them, and the
workers, which only carry out requests, cannot change what is trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dlib.datasets.batch import Batch
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.datasets.workers import Plan, PlannedLoader


class TrainLoader(PlannedLoader):
    """Minibatches of one process out of ``world_size``; see ``train_loader``."""

    def __init__(
        self,
        dataset: VideoDataset,
        batch_size: int,
        min_tr_batch_sz: int,
        num_workers: int,
        rank: int,
        world_size: int,
        drop_small: bool,
        fill_small: bool,
        pin_memory: bool,
    ) -> None:
        super().__init__(dataset, num_workers, pin_memory, keep_workers=True)
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.drop_small, self.fill_small = drop_small, fill_small
        self.unit = max(1, batch_size // dataset.n_frames)  # shots that make one minibatch
        self.block = max(self.unit, min_tr_batch_sz)  # shots that one process draws at a time
        self.epoch = 0
        self._planned: tuple[int, Plan] | None = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch that ``len`` speaks of."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Minibatches of the current epoch, the same for every process; epochs may differ."""
        return len(self.plan(self.epoch))

    def iterate(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Minibatches ``start_step``, ``start_step`` + 1, … of an epoch; skipped ones are not loaded."""
        self.set_epoch(epoch)
        return self.read(self.plan(epoch)[start_step:])

    def plan(self, epoch: int) -> Plan:
        """All minibatches of this process in an epoch."""
        if self._planned is None or self._planned[0] != epoch:
            order = np.random.default_rng([self.dataset.seed & 0xFFFFFFFF, epoch]).permutation(
                len(self.dataset)
            )
            size = self.block * self.world_size
            blocks = [order[at : at + size].tolist() for at in range(0, len(order), size)]
            self._planned = (epoch, [batch for block in blocks for batch in self._cut(epoch, block)])
        return self._planned[1]

    def _cut(self, epoch: int, block: list[int]) -> Plan:
        """This process's minibatches of one global block of shots."""
        frames = {shot: self.dataset.draw(epoch, shot) for shot in block}
        streams = [
            [FrameRequest(epoch, shot, frame) for shot in self._share(block, rank) for frame in frames[shot]]
            for rank in range(self.world_size)
        ]
        steps = max(self._steps(len(stream)) for stream in streams)
        mine = streams[self.rank]
        return [self._minibatch(mine, step) for step in range(steps)]

    def _share(self, block: list[int], rank: int) -> list[int]:
        """A process's shots: its part of each run of shots that makes one global minibatch.

        The union over processes is what one process with the global batch size would take. A run that is too
        short for the processes is left out (``drop_small``, unless it is the block's first) or repeated from
        its start, by ``fill_small`` up to full minibatches.
        """
        run, share = self.unit * self.world_size, []
        for at in range(0, len(block), run):
            shots = block[at : at + run]
            wanted = run if self.fill_small else self.world_size
            if self.world_size > 1 and len(shots) < run and self.drop_small and at > 0:
                break
            if self.world_size > 1 and len(shots) < wanted:
                shots = [shots[i % len(shots)] for i in range(wanted)]
            bounds = [part * len(shots) // self.world_size for part in (rank, rank + 1)]
            share += shots[bounds[0] : bounds[1]]
        return share

    def _steps(self, frames: int) -> int:
        whole, rest = divmod(frames, self.batch_size)
        return max(1, whole + (rest > 0 and not self.drop_small))

    def _minibatch(self, stream: list[FrameRequest], step: int) -> list[FrameRequest]:
        """Minibatch ``step`` of a block; where the block has no more frames, its first ones again."""
        batch = stream[step * self.batch_size : (step + 1) * self.batch_size] or stream[: self.batch_size]
        if not self.fill_small:
            return batch
        return [batch[i % len(batch)] for i in range(self.batch_size)]


def train_loader(
    dataset: VideoDataset,
    batch_size: int,
    *,
    min_tr_batch_sz: int = -1,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    drop_small: bool = False,
    fill_small: bool = True,
    pin_memory: bool = False,
) -> TrainLoader:
    """Loader of a training split.

    Each process draws blocks of max(1, batch_size // n_frames) shots (at least ``min_tr_batch_sz`` if that is
    not -1), n_frames or fewer frames of each, and cuts a block into minibatches of at most ``batch_size``
    frames. A short minibatch is filled up by repeating its samples from the start (``fill_small``) or used as
    it is; with ``drop_small`` it is left out if the block gave a minibatch before. An epoch sees every shot
    once, apart from repeats where the last block is too short for all processes.

    Args:
        dataset: a training split; its ``seed`` also orders the shots, its ``n_frames`` counts.
        batch_size: frames per minibatch and process, >= 1.
        min_tr_batch_sz: -1 or >= 1.
        num_workers: reading processes; 0 reads in this one.
        rank, world_size: this process and the number of processes.
        pin_memory: page-locked batches, for copies to a CUDA device.
    Raises ValueError for impossible arguments.
    """
    if batch_size < 1 or num_workers < 0:
        raise ValueError(f"batch_size must be >= 1 and num_workers >= 0, got {batch_size} and {num_workers}")
    if min_tr_batch_sz != -1 and min_tr_batch_sz < 1:
        raise ValueError(f"min_tr_batch_sz must be -1 or >= 1, got {min_tr_batch_sz}")
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must be in 0..world_size-1, got {rank} of {world_size}")
    if not dataset.train:
        raise ValueError(f"split {dataset.metadata.split!r} is not for training")
    return TrainLoader(
        dataset,
        batch_size,
        min_tr_batch_sz,
        num_workers,
        rank,
        world_size,
        drop_small,
        fill_small,
        pin_memory,
    )


class FixedLoader(PlannedLoader):
    """The same minibatches of whole frames at every iteration."""

    def __init__(
        self, dataset: VideoDataset, plan: Plan, num_workers: int, pin_memory: bool, keep_workers: bool
    ) -> None:
        super().__init__(dataset, num_workers, pin_memory, keep_workers)
        self._plan = plan

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        return self.read(self._plan)


def eval_loader(
    dataset: VideoDataset,
    batch_size: int,
    *,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    keep_workers: bool = False,
) -> FixedLoader:
    """Loader of a validation or test split: over all processes every frame exactly once, none twice.

    Process ``rank`` reads frames rank, rank + world_size, …; it may have none. With ``keep_workers`` the reading
    processes live from the first iteration until ``close``, for a split that is read again and again.
    """
    places = [(item, 0) for item in range(len(dataset))]
    return _fixed(dataset, places, batch_size, num_workers, rank, world_size, pin_memory, keep_workers)


def frame_loader(
    dataset: VideoDataset,
    frame_ids: Sequence[str],
    batch_size: int,
    *,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> FixedLoader:
    """Loader of the named frames, whole as in evaluation, also of a training split (for the CAM store).

    With the dataset's ``skip_bad_frames`` unreadable ones are left out; ``bad_frames`` then holds their ids.
    Raises KeyError for an id that the split does not have.
    """
    places = dataset.locate(frame_ids)
    return _fixed(dataset, places, batch_size, num_workers, rank, world_size, pin_memory)


def _fixed(
    dataset: VideoDataset,
    places: list[tuple[int, int]],
    batch_size: int,
    num_workers: int,
    rank: int,
    world_size: int,
    pin_memory: bool,
    keep_workers: bool = False,
) -> FixedLoader:
    requests = [FrameRequest(0, item, frame, whole=True) for item, frame in places[rank::world_size]]
    plan = [requests[at : at + batch_size] for at in range(0, len(requests), batch_size)]
    return FixedLoader(dataset, plan, num_workers, pin_memory, keep_workers)
