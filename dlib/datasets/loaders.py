"""Loaders: which frames make up each minibatch.

A training epoch is planned before a frame is read: the plan lists every minibatch of this process as frame
requests. So an epoch can start at any minibatch, and every process has the same number of them. The workers only
execute requests, so they cannot change the training data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dlib.datasets.batch import Batch
from dlib.datasets.groups import shot_groups
from dlib.datasets.layout import Layout, Plan, Planner, repeats_for
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.datasets.workers import PlannedLoader


class TrainLoader(PlannedLoader):
    """Minibatches of one process out of several; see ``train_loader``."""

    def __init__(
        self, dataset: VideoDataset, layout: Layout, rank: int, num_workers: int, pin_memory: bool
    ) -> None:
        super().__init__(dataset, num_workers, pin_memory, keep_workers=True)
        self.layout, self.rank = layout, rank
        self.epoch = 0
        self._planner = Planner(dataset, layout)
        self._begun = _Begun()
        self._planned: tuple[int, Plan] | None = None

    def set_epoch(self, epoch: int) -> None:
        """The epoch that ``len`` speaks of."""
        self.epoch = epoch
        if self._begun.epoch != epoch:
            self._begun = _Begun(epoch)

    def __len__(self) -> int:
        """Minibatches of the current epoch, the same for every process; epochs may differ."""
        return self._begun.steps + len(self.plan(self.epoch))

    def iterate(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Minibatches ``start_step``, ``start_step`` + 1, … of an epoch; skipped ones are not loaded."""
        self.set_epoch(epoch)
        return self.read(self.plan(epoch)[start_step - self._begun.steps :])

    def plan(self, epoch: int) -> Plan:
        """All minibatches of this process in an epoch, except those that another layout has done before."""
        if self._planned is None or self._planned[0] != epoch:
            done = self._begun.shots if self._begun.epoch == epoch else frozenset()
            self._planned = (epoch, self._planner.plan(epoch, self.rank, done))
        return self._planned[1]

    def state(self) -> dict[str, Any]:
        """What ``go_on`` needs to know about the current epoch, as plain values."""
        shots = sorted(self._begun.shots)
        return {"layout": asdict(self.layout), "steps": self._begun.steps, "shots": shots}

    def go_on(self, state: dict[str, Any] | None, epoch: int, steps: int) -> tuple[int, str]:
        """Resume in ``epoch`` after a loader with ``state`` has given ``steps`` minibatches of it.

        If that loader had another batch size or another number of processes, the shots that it has not shown yet are
        planned again. If it drew other frames or had other shots, the epoch starts again.

        Args:
            state: the value of ``state``; None: from a version that did not write it, which counts as unchanged.
        Returns: how many minibatches of the epoch count as done, and what changed, as text ("": nothing).
        """
        self._planned = None
        self.epoch = epoch
        if state is None:
            return steps, ""
        before = Layout(**state["layout"])
        begun = _Begun(epoch, int(state["steps"]), frozenset(state["shots"]))
        change = self.layout.changes_from(before)
        if before.sampling != self.layout.sampling:
            return 0, f"{change}: the epoch starts again"
        if change:
            seen = Planner(self.dataset, before).draws_of(epoch, steps - begun.steps, begun.shots)
            begun = _Begun(epoch, steps, begun.shots | seen)
            total = len(self.dataset) * self.layout.repeats
            change = f"{change}: its other {total - len(begun.shots)} of {total} shots are planned again"
        self._begun = begun
        return steps, change


@dataclass(frozen=True)
class _Begun:
    """What another layout has done of an epoch."""

    epoch: int = 0
    steps: int = 0
    shots: frozenset[int] = frozenset()  # draws, as in Planner


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
    min_steps: int = 0,
) -> TrainLoader:
    """Loader of a training split.

    Each process draws blocks of max(1, batch_size // n_frames) shots (at least ``min_tr_batch_sz`` if that is
    not -1), n_frames or fewer frames of each, and cuts a block into minibatches of at most ``batch_size``
    frames. A short minibatch is filled up by repeating its samples from the start (``fill_small``) or used as
    it is; with ``drop_small`` it is left out if the block gave a minibatch before. An epoch shows every shot
    once; shots are repeated only if the last block is too short for all processes.

    Args:
        dataset: a training split; its ``seed`` also orders the shots, its ``n_frames`` counts.
        batch_size: frames per minibatch and process, >= 1.
        min_tr_batch_sz: -1 or >= 1.
        num_workers: reading processes; 0 reads in this one.
        rank, world_size: this process and the number of processes.
        pin_memory: page-locked batches, for copies to a CUDA device.
        min_steps: minibatches that an epoch has at least: it shows every shot as often as needed, with other frames
            and crops each time.
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
    layout = Layout(batch_size, world_size, min_tr_batch_sz, drop_small, fill_small, dataset.sampling)
    layout = layout.repeated(repeats_for(dataset, layout, min_steps))
    return TrainLoader(dataset, layout, rank, num_workers, pin_memory)


class FixedLoader(PlannedLoader):
    """The same minibatches of uncropped frames in every iteration."""

    def __init__(
        self,
        dataset: VideoDataset,
        places: Sequence[tuple[int, int]],  # item and frame of each
        batch_size: int,
        num_workers: int,
        pin_memory: bool,
        keep_workers: bool = False,
    ) -> None:
        super().__init__(dataset, num_workers, pin_memory, keep_workers)
        requests = [FrameRequest(0, item, frame, whole=True) for item, frame in places]
        self._plan: Plan = [requests[at : at + batch_size] for at in range(0, len(requests), batch_size)]

    def __len__(self) -> int:
        return len(self._plan)

    def __iter__(self) -> Iterator[Batch]:
        return self.read(self._plan)


def eval_loader(
    dataset: VideoDataset,
    batch_size: int,
    *,
    together: int = 1,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    keep_workers: bool = False,
) -> FixedLoader:
    """Loader of a validation or test split: all processes together give every frame exactly once.

    Process ``rank`` reads the groups rank, rank + world_size, … of ``shot_groups``, whose frames follow one another; it
    may have none. With ``keep_workers`` the reading processes live from the first iteration until ``close``, for a
    split that is read again and again.

    Args:
        together: frames of a shot that one process must see, as of ``shot_groups``; 1: each frame counts alone.
    """
    groups = shot_groups(dataset.metadata, together)[rank::world_size]
    places = [(item, 0) for group in groups for item in group]
    return FixedLoader(dataset, places, batch_size, num_workers, pin_memory, keep_workers)


def frame_loader(
    dataset: VideoDataset,
    frame_ids: Sequence[str],
    batch_size: int,
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> FixedLoader:
    """Loader of the named frames, uncropped as in evaluation, also of a training split (for the CAM store).

    With the dataset's ``skip_bad_frames`` unreadable ones are left out; ``bad_frames`` then holds their ids.
    Raises KeyError for an id that the split does not have.
    """
    return FixedLoader(dataset, dataset.locate(frame_ids), batch_size, num_workers, pin_memory)
