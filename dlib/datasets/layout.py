"""Which process gets which shots in which minibatch: a function of the layout, the epoch and the shots left in it."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from dlib.datasets.video_dataset import FrameRequest, VideoDataset

Plan = list[list[FrameRequest]]


@dataclass(frozen=True)
class Layout:
    """What an epoch's minibatches depend on, besides the dataset; its frames depend on ``sampling``."""

    batch_size: int
    processes: int
    min_shots: int  # that a process draws at a time; -1: as many as make one minibatch
    drop_small: bool
    fill_small: bool
    sampling: str  # of the dataset; how often each shot is drawn, if not once
    repeats: int = 1  # draws of each shot in an epoch

    def repeated(self, repeats: int) -> Layout:
        """The layout with that many draws of each shot."""
        if repeats == 1:
            return self
        return replace(self, sampling=f"{self.sampling} x{repeats}", repeats=repeats)

    def changes_from(self, before: Layout) -> str:
        """What differs, as text: "--batch_size 8 (was 4), processes: 1 (was 2)"."""
        names = {
            "batch_size": "--batch_size {}",
            "processes": "processes: {}",
            "min_shots": "--min_tr_batch_sz {}",
            "drop_small": "--drop_small_tr_batch {}",
            "fill_small": "--fill_small_tr_batch {}",
        }
        found = [
            f"{text.format(getattr(self, name))} (was {getattr(before, name)})"
            for name, text in names.items()
            if getattr(self, name) != getattr(before, name)
        ]
        if self.sampling != before.sampling:
            found.append("other shots, seed or drawing of frames")
        return ", ".join(found)


class Planner:
    """Plans the epochs of a training split under one layout.

    It works with draws: draw ``again · len(dataset) + shot`` is the one number ``again`` of that shot in an epoch.
    """

    def __init__(self, dataset: VideoDataset, layout: Layout) -> None:
        self.dataset, self.layout = dataset, layout
        self.unit = max(1, layout.batch_size // dataset.n_frames)  # shots that make one minibatch
        self.block = max(self.unit, layout.min_shots)  # shots that one process draws at a time

    def plan(self, epoch: int, rank: int, done: Collection[int] = ()) -> Plan:
        """All minibatches of a process in an epoch, from the draws that are not ``done`` yet."""
        return self._cut_all(epoch, done)[rank]

    def draws_of(self, epoch: int, steps: int, done: Collection[int] = ()) -> set[int]:
        """The draws of which any process has seen a frame after ``steps`` minibatches."""
        plans, shots = self._cut_all(epoch, done), len(self.dataset)
        return {r.again * shots + r.item for plan in plans for batch in plan[:steps] for r in batch}

    def _order(self, epoch: int) -> list[int]:
        """The epoch's draws: all shots in a random order, and again in another one."""
        seed, shots = self.dataset.seed & 0xFFFFFFFF, len(self.dataset)
        order: list[int] = []
        for again in range(self.layout.repeats):
            key = [seed, epoch, again] if again else [seed, epoch]
            order += (again * shots + np.random.default_rng(key).permutation(shots)).tolist()
        return order

    def _cut_all(self, epoch: int, done: Collection[int]) -> list[Plan]:
        left = [draw for draw in self._order(epoch) if draw not in done]
        size = self.block * self.layout.processes
        plans: list[Plan] = [[] for _ in range(self.layout.processes)]
        for at in range(0, len(left), size):
            for plan, cut in zip(plans, self._cut(epoch, left[at : at + size]), strict=True):
                plan += cut
        return plans

    def _cut(self, epoch: int, block: list[int]) -> list[Plan]:
        """Every process's minibatches of one global block of draws."""
        requests: dict[int, list[FrameRequest]] = {}
        for draw in block:
            again, shot = divmod(draw, len(self.dataset))
            frames = self.dataset.draw(epoch, shot, again)
            requests[draw] = [FrameRequest(epoch, shot, frame, again=again) for frame in frames]
        streams = [
            [request for draw in self._share(block, rank) for request in requests[draw]]
            for rank in range(self.layout.processes)
        ]
        steps = max(self._steps(len(stream)) for stream in streams)
        return [[self._minibatch(stream, step) for step in range(steps)] for stream in streams]

    def _share(self, block: list[int], rank: int) -> list[int]:
        """A process's shots: its part of each run of shots that makes one global minibatch.

        All processes together get what one process with the global batch size would get. A run that is too short
        for the processes is left out (``drop_small``, unless it is the block's first) or repeated from its start,
        with ``fill_small`` up to full minibatches.
        """
        processes = self.layout.processes
        run, share = self.unit * processes, []
        for at in range(0, len(block), run):
            shots = block[at : at + run]
            wanted = run if self.layout.fill_small else processes
            if processes > 1 and len(shots) < run and self.layout.drop_small and at > 0:
                break
            if processes > 1 and len(shots) < wanted:
                shots = [shots[i % len(shots)] for i in range(wanted)]
            bounds = [part * len(shots) // processes for part in (rank, rank + 1)]
            share += shots[bounds[0] : bounds[1]]
        return share

    def _steps(self, frames: int) -> int:
        whole, rest = divmod(frames, self.layout.batch_size)
        return max(1, whole + (rest > 0 and not self.layout.drop_small))

    def _minibatch(self, stream: list[FrameRequest], step: int) -> list[FrameRequest]:
        """Minibatch ``step`` of a block; if the block has no more frames, its first ones again."""
        size = self.layout.batch_size
        batch = stream[step * size : (step + 1) * size] or stream[:size]
        if not self.layout.fill_small:
            return batch
        return [batch[i % len(batch)] for i in range(size)]


def repeats_for(dataset: VideoDataset, layout: Layout, steps: int) -> int:
    """How often an epoch must draw each shot so that every process gets ``steps`` minibatches or more; at least 1.

    Among the numbers that give the same minibatches the largest: a minibatch is then not filled with the same frames.
    Counted in epoch 1, under ``layout``, which draws each shot once.
    """
    if steps <= 1:
        return 1

    @functools.cache
    def steps_of(repeats: int) -> int:
        return len(Planner(dataset, layout.repeated(repeats)).plan(1, 0))

    if steps_of(1) >= steps:
        return 1
    enough = 2
    while steps_of(enough) <= steps:
        enough *= 2
    least = bisect.bisect_left(range(enough + 1), steps, lo=1, key=steps_of)
    return bisect.bisect_right(range(enough + 1), steps_of(least), lo=least, key=steps_of) - 1
