"""--min_steps: with few shots an epoch shows each of them several times, each time with other frames and crops."""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch

from dlib.datasets.loaders import TrainLoader, train_loader
from dlib.datasets.metadata import read_split
from dlib.datasets.video_dataset import VideoDataset
from helpers.programs import start
from helpers.workplace import DATASET, Workplace

SHOTS = 12  # of the tiny dataset


def loader(tiny: Path, batch_size: int = 4, min_steps: int = 0, n_frames: int = 2, **more) -> TrainLoader:
    data = tiny / "datasets" / DATASET
    metadata = read_split(data, tiny / "folds" / DATASET, "train")
    sizes = {"crop_size": 16, "resize_size": 24}
    made = VideoDataset(
        metadata, data, train=True, n_frames=n_frames, style="before", color=0.4, seed=1, **sizes
    )
    return train_loader(made, batch_size, min_steps=min_steps, **more)


@pytest.mark.parametrize(("batch_size", "min_steps", "world"), [*product((1, 4, 32), (0, 5, 29), (1, 2))])
def test_an_epoch_has_the_steps_and_shows_all_shots_equally_often(
    tiny_data: Path, batch_size: int, min_steps: int, world: int
) -> None:
    plans = []
    for rank in range(world):
        made = loader(tiny_data, batch_size, min_steps, n_frames=1, rank=rank, world_size=world)
        plans.append(made.plan(1))
        assert len(made.plan(1)) >= min_steps
    repeats = made.layout.repeats
    # As many draws as fit into the fewest minibatches.
    frames, size = SHOTS * repeats, batch_size * world
    assert repeats == 1 or (
        -(-frames // size) < -(-(frames + SHOTS) // size) and (frames - SHOTS) < min_steps * size
    )
    seen = {(r.item, r.again) for plan in plans for batch in plan for r in batch}
    assert seen == set(product(range(SHOTS), range(repeats)))


def test_enough_shots_give_the_plan_without_the_flag(tiny_data: Path) -> None:
    assert loader(tiny_data, min_steps=6).plan(3) == loader(tiny_data).plan(3)


def test_each_draw_of_a_shot_has_its_own_frames_crop_and_sequence(tiny_data: Path) -> None:
    made = loader(tiny_data, batch_size=2 * SHOTS * 4, min_steps=1)
    assert made.layout.repeats == 1
    made = loader(tiny_data, batch_size=4, min_steps=24)
    assert made.layout.repeats == 4
    batches = list(made.iterate(1))
    sequence = torch.cat([b.sequence for b in batches])
    items = torch.cat([b.indices for b in batches])
    assert (sequence % SHOTS == items).all()
    counts = Counter(sequence.tolist())
    assert set(counts) == set(range(4 * SHOTS))
    assert set(counts.values()) <= {1, 2, 3, 4}  # one or two frames; minibatches are filled with them
    keys = torch.cat([b.keys for b in batches]).tolist()
    requests = [r for batch in made.plan(1) for r in batch]
    assert len(set(keys)) == len(set(requests)) > 3 * SHOTS
    frames = {again: {} for again in range(4)}
    for request in requests:
        frames[request.again].setdefault(request.item, []).append(request.frame)
    assert frames[0] != frames[1]


def test_an_epoch_resumes_in_its_middle_also_with_another_batch_size(tiny_data: Path) -> None:
    first = loader(tiny_data, batch_size=4, min_steps=12, n_frames=1)
    first.set_epoch(2)
    done = {(r.item, r.again) for batch in first.plan(2)[:5] for r in batch}
    same = loader(tiny_data, batch_size=4, min_steps=12, n_frames=1)
    assert same.go_on(first.state(), 2, 5) == (5, "")
    assert same.plan(2) == first.plan(2)
    other = loader(tiny_data, batch_size=2, min_steps=24, n_frames=1)
    assert other.layout.repeats == first.layout.repeats == 4
    steps, change = other.go_on(first.state(), 2, 5)
    assert (steps, change) == (5, "--batch_size 2 (was 4): its other 28 of 48 shots are planned again")
    rest = {(r.item, r.again) for batch in other.plan(2) for r in batch}
    assert not done & rest
    assert done | rest == set(product(range(SHOTS), range(4)))
    longer = loader(tiny_data, batch_size=4, min_steps=50, n_frames=1)
    steps, change = longer.go_on(first.state(), 2, 5)
    assert steps == 0
    assert change.endswith("the epoch starts again")


def test_a_run_has_the_steps_and_says_so(workplace: Workplace) -> None:
    flags = workplace.flags(batch_size=8, max_epochs=2, min_steps=9, vizu_n=0)
    code, out, error = start(flags)
    assert code == 0, error
    line = (
        "--min_steps 9: each epoch shows the 12 train shots 3 times, so that 2 epochs have 10 steps (5 each)"
    )
    assert line in out
    assert (workplace.experiment() / "checkpoints" / "10_checkpoint.pth").is_file()
