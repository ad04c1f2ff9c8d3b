"""A run that goes on with other processes, another batch size or other precision than it began with."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dlib.datasets.loaders import TrainLoader, train_loader
from dlib.datasets.metadata import read_split
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from helpers.fake_training import trainer_of
from helpers.programs import start
from helpers.workplace import DATASET, Workplace


@pytest.fixture(scope="module")
def shots(tiny_data: Path) -> VideoDataset:
    return split_of(tiny_data)


def split_of(tiny_data: Path, **options: Any) -> VideoDataset:
    data = tiny_data / "datasets" / DATASET
    metadata = read_split(data, tiny_data / "folds" / DATASET, "train")
    options = {"n_frames": 2, "style": "before"} | options
    return VideoDataset(metadata, data, train=True, crop_size=8, resize_size=10, **options)


def processes(data: VideoDataset, world: int, size: int, **more: Any) -> list[TrainLoader]:
    return [train_loader(data, size, rank=rank, world_size=world, **more) for rank in range(world)]


def seen(loaders: Sequence[TrainLoader], first: int, last: int | None) -> set[int]:
    """Shots in the minibatches ``first`` … ``last`` of epoch 1 that are still to come, in any process."""
    return {r.item for loader in loaders for batch in loader.plan(1)[first:last] for r in batch}


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize(
    ("before", "after"), [((1, 2), (2, 2)), ((2, 2), (1, 2)), ((1, 4), (1, 2)), ((2, 3), (3, 5))]
)
def test_every_shot_is_shown_once(
    shots: VideoDataset, before: tuple[int, int], after: tuple[int, int], steps: int
) -> None:
    first, second = processes(shots, *before), processes(shots, *after)
    shown = seen(first, 0, steps)
    for loader in second:
        done, change = loader.go_on(first[0].state(), 1, steps)
        assert done == steps
        assert change.endswith(f"its other {12 - len(shown)} of 12 shots are planned again")
        assert (f"processes: {after[0]} (was {before[0]})" in change) == (before[0] != after[0])
        assert (f"--batch_size {after[1]} (was {before[1]})" in change) == (before[1] != after[1])
    rest = seen(second, 0, None)
    assert shown | rest == set(range(12))
    assert not shown & rest
    assert len({len(loader) for loader in second}) == 1
    # A second change in the same epoch knows of both parts.
    third = processes(shots, 1, 6)[0]
    assert third.go_on(second[0].state(), 1, steps + 1)[0] == steps + 1
    shown |= seen(second, 0, 1)
    assert seen([third], 0, None) == set(range(12)) - shown
    assert len(third) == steps + 1 + len(third.plan(1))
    # The next epoch is whole again.
    third.set_epoch(2)
    assert {r.item for batch in third.plan(2) for r in batch} == set(range(12))


def test_unchanged_means_unchanged(shots: VideoDataset) -> None:
    first, second = processes(shots, 2, 3)[1], processes(shots, 2, 3)[1]
    for state in (first.state(), None):  # None: a checkpoint of an earlier version
        assert second.go_on(state, 1, 2) == (2, "")
        assert second.plan(1) == first.plan(1)
        assert len(second) == len(first.plan(1))


def test_an_epoch_of_other_frames_begins_again(tiny_data: Path, shots: VideoDataset) -> None:
    for options in ({"seed": 1}, {"n_frames": 1}, {"style": "after"}, {"frame_limit": 0.5}):
        loader = processes(split_of(tiny_data, **options), 1, 2)[0]
        steps, change = loader.go_on(processes(shots, 1, 2)[0].state(), 1, 3)
        assert steps == 0
        assert change.endswith("the epoch starts again")
        assert seen([loader], 0, None) == set(range(12))


def test_a_run_goes_on_with_another_batch_size(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[int] = Counter()
    load = VideoDataset.load

    def counted(self: VideoDataset, requests: Sequence[FrameRequest]) -> Any:
        if self.train:
            counts.update({request.item for request in requests if request.epoch == 1})
        return load(self, requests)

    monkeypatch.setattr(VideoDataset, "load", counted)
    step = torch.optim.SGD.step

    def stopped(self: torch.optim.SGD, closure: None = None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", stopped)
        assert start(workplace.flags(batch_size=4, max_epochs=1))[0] == 0
    assert len(counts) == 4
    code, out, error = start(workplace.flags(batch_size=2, max_epochs=1))
    assert code == 0, error
    assert "epoch 1: --batch_size 2 (was 4): its other 8 of 12 shots are planned again" in error
    assert counts == dict.fromkeys(range(12), 1)
    assert re.search(r"epoch 1/1: loss \d", out)
    log = (workplace.experiment() / "log.jsonl").read_text()
    assert '"event": "epoch"' in log


def test_precision_may_change(tmp_path: Path) -> None:
    """A scaler's state is empty where none was needed: CPU to card, bfloat16 to float16, no --amp to --amp."""
    plain, scaled = trainer_of(tmp_path, 2, set()), trainer_of(tmp_path, 2, set())
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=True)
    list(plain.train_epoch(1))
    assert plain.state()["scaler"] == {}
    scaled.load_state(plain.state())
    assert scaled.scaler.get_scale() == 8.0
    list(scaled.train_epoch(2))
    again = trainer_of(tmp_path, 2, set())
    again.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=True)
    again.load_state(scaled.state())
    assert again.scaler.get_scale() == 8.0  # the unchanged case keeps it
    plain.load_state(scaled.state())
    assert plain.position.step == 4
