"""The video dataset and its loaders: every frame, every minibatch, for any workers and processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlib.configure.constants import IMAGENET_MEAN, IMAGENET_STD
from dlib.datasets.batch import Batch
from dlib.datasets.groups import shot_groups
from dlib.datasets.loaders import TrainLoader, eval_loader, frame_loader, train_loader
from dlib.datasets.metadata import SplitMetadata, read_split
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.utils.errors import UserError
from helpers.batches import joined, same, taken
from helpers.paths import ROOT

SHOTS = {"a/s0": 5, "a/s1": 12, "b/s2": 1, "b/s3": 3, "a/s4": 8, "b/s5": 4, "a/s6": 2}


class FakeCams:
    """A CAM that is the frame's own red channel, so that both must be cropped alike."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def read(self, frame_id: str) -> torch.Tensor:
        if frame_id.endswith("gone.jpg"):
            raise UserError(f"{frame_id}: no CAM")
        return torch.from_numpy(np.array(Image.open(self.data / frame_id))[..., 0] / 255.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for shot, count in SHOTS.items():
        folder = tmp_path / "data" / shot
        folder.mkdir(parents=True)
        lines["train"].append(shot)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
            coarse.resize((20, 20), Image.Resampling.BILINEAR).save(folder / f"frame{i:04d}.jpg", quality=95)
            lines["val"].append(f"{shot}/frame{i:04d}.jpg")
        (folder / "frame0000.jpg_sticks.mat").write_bytes(b"")
    for split, ids in lines.items():
        folder = tmp_path / "folds" / split
        folder.mkdir(parents=True)
        (folder / "image_ids.txt").write_text("".join(f"{i}\n" for i in ids))
        (folder / "class_labels.txt").write_text("".join(f"{i},{int(i[0] == 'b')}\n" for i in ids))
        sizes = "" if split == "train" else "".join(f"{i},20,20\n" for i in ids)
        (folder / "image_sizes.txt").write_text(sizes)
        (folder / "localization.txt").write_text("")
    return tmp_path


def dataset(root: Path, split: str = "train", **options) -> VideoDataset:
    metadata = read_split(root / "data", root / "folds", split)
    options = {"crop_size": 8, "resize_size": 10} | options
    return VideoDataset(metadata, root / "data", train=split == "train", **options)


def test_an_item_is_the_frames_of_one_shot(root: Path) -> None:
    data = dataset(root, n_frames=3, style="before-after")
    for item, (shot, count) in enumerate(SHOTS.items()):
        batch = taken(data, item)
        assert 1 <= len(batch) <= 3
        assert batch.ids == [f"{shot}/frame{i:04d}.jpg" for i in batch.order.tolist()]
        assert batch.order.max() < count
        assert batch.labels.tolist() == [int(shot[0] == "b")] * len(batch)
        assert set(batch.sequence.tolist()) == set(batch.indices.tolist()) == {item}
        assert batch.frames.shape == (len(batch), 3, 8, 8)
        assert batch.frames.dtype == torch.uint8
        assert (batch.keys >= 0).all()


def test_samples_depend_on_seed_epoch_and_item_alone(root: Path) -> None:
    one, two = dataset(root, seed=3), dataset(root, seed=3)
    first = [taken(one, i, 4) for i in range(len(one))]
    assert all(same(taken(two, i, 4), first[i]) for i in reversed(range(len(two))))
    for changed, epoch in ((two, 5), (dataset(root, seed=4), 4)):
        assert not any(torch.equal(taken(changed, i, epoch).keys, first[i].keys) for i in range(len(first)))


def test_cam_has_the_crop_and_flip_of_its_frame(root: Path) -> None:
    data = dataset(root, resize_size=20, crop_size=12)
    data.cams = FakeCams(root / "data")
    for epoch in range(4):
        for item in range(len(data)):
            batch = taken(data, item, epoch)
            assert batch.cams is not None
            assert torch.allclose(batch.cams * 255, batch.frames[:, 0].float(), atol=1e-3)


def test_evaluation_shows_the_whole_frame(root: Path) -> None:
    data = dataset(root, "val")
    batch = taken(data, 2)
    image = Image.open(root / "data" / batch.ids[0]).resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(batch.frames[0].permute(1, 2, 0).numpy(), np.asarray(image))
    truth = (np.asarray(image, dtype=np.float64) / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert np.allclose(batch.images[0].permute(1, 2, 0).numpy(), truth, atol=1e-5)


def test_a_batch_is_its_frames(root: Path) -> None:
    data = dataset(root, "val")
    whole = data.load([FrameRequest(0, item, 0) for item in range(5)])
    assert len(whole) == 5
    assert same(whole, joined([taken(data, item) for item in range(5)]))
    assert same(whole.to("cpu"), whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_sees_every_shot_once_and_can_start_anywhere(root: Path, workers: int) -> None:
    loader = train_loader(dataset(root), 2, num_workers=workers, fill_small=False)
    truth = list(train_loader(dataset(root), 2, fill_small=False).iterate(3))
    state = torch.get_rng_state()
    next(loader.iterate(2))  # left halfway: must not disturb what follows
    found = list(loader.iterate(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert sorted(i for b in found for i in b.indices.tolist()) == list(range(len(SHOTS)))
    assert len(found) == len(loader) == 4
    assert all(same(a, b) for a, b in zip(found, truth, strict=True))
    for start in (1, 3, 4):
        rest = list(loader.iterate(3, start))
        assert all(same(a, b) for a, b in zip(rest, truth[start:], strict=True))
    loader.close()


def shots_of(batches: Iterable[Batch]) -> list[int]:
    return [shot for batch in batches for shot in batch.indices.tolist()]


def test_an_epoch_goes_on_with_other_batch_sizes(root: Path) -> None:
    """Seven shots of one frame: two in a minibatch of two, then three in one of three, then the last two singly."""
    two, three, one = (train_loader(dataset(root), size, fill_small=False) for size in (2, 3, 1))
    seen = shots_of([next(two.iterate(2))])
    assert two.state()["steps"] == 0
    assert three.go_on(two.state(), 2, 1) == (
        1,
        "--batch_size 3 (was 2): its other 5 of 7 shots are planned again",
    )
    assert len(three) == 3
    rest = [shots_of([batch]) for batch in three.iterate(2, 1)]
    assert sorted(map(len, rest)) == [2, 3]
    assert sorted([*seen, *rest[0], *rest[1]]) == list(range(7))
    assert three.state() | {"layout": None} == {"layout": None, "steps": 1, "shots": sorted(seen)}
    steps, change = one.go_on(three.state(), 2, 2)
    assert (steps, change.partition(": ")[2]) == (2, "its other 2 of 7 shots are planned again")
    assert one.state()["shots"] == sorted(seen + rest[0])
    assert sorted(shots_of(one.iterate(2, 2))) == sorted(rest[1])
    assert len(one) == 4
    assert len(shots_of(one.iterate(2, 3))) == 1
    assert len(shots_of(one.iterate(3))) == len(one) == 7  # the next epoch has all again
    assert one.state()["shots"] == []


def test_an_epoch_that_goes_on_unchanged_or_with_other_draws(root: Path) -> None:
    loader, truth = train_loader(dataset(root), 2), list(train_loader(dataset(root), 2).iterate(2))
    loader.set_epoch(2)
    for state in (loader.state(), None):
        assert loader.go_on(state, 2, 3) == (3, "")
        assert loader.epoch == 2
        assert all(same(a, b) for a, b in zip(loader.iterate(2, 3), truth[3:], strict=True))
    other = train_loader(dataset(root, seed=1), 2)
    assert other.go_on(loader.state(), 2, 3) == (
        0,
        "other shots, seed or drawing of frames: the epoch starts again",
    )
    assert sorted(set(shots_of(other.iterate(2)))) == list(range(7))


def plans(root: Path, world: int, batch_size: int, epoch: int = 1, **options) -> list:
    names = ("n_frames", "style", "dist", "std", "frame_limit")
    data = dataset(root, **{k: options.pop(k) for k in names if k in options})
    loaders = [train_loader(data, batch_size, rank=r, world_size=world, **options) for r in range(world)]
    return [loader.plan(epoch) for loader in loaders]


@pytest.mark.parametrize(("world", "batch_size"), [*product((1, 2, 3, 5, 9), (1, 2, 4, 12))])
def test_processes_get_as_many_full_minibatches_that_make_one_process(root: Path, world, batch_size) -> None:
    for n_frames, min_size in product((1, 2), (-1, 3)):
        options = {"n_frames": n_frames, "style": "before", "min_tr_batch_sz": min_size}
        per_rank = plans(root, world, batch_size, **options)
        assert len({len(plan) for plan in per_rank}) == 1
        assert all(len(batch) == batch_size for plan in per_rank for batch in plan)
        if n_frames == 1 and min_size == -1:
            (single,) = plans(root, 1, batch_size * world, **options)
            union = [[r for plan in per_rank for r in plan[step]] for step in range(len(per_rank[0]))]
            assert union == single
        assert {r.item for plan in per_rank for b in plan for r in b} == set(range(len(SHOTS)))
        used = plans(root, world, batch_size, fill_small=False, **options)
        assert len({len(plan) for plan in used}) == 1
        assert all(1 <= len(batch) <= batch_size for plan in used for batch in plan)


def test_blocks_by_hand(root: Path) -> None:
    (plan,) = plans(root, 1, 4, n_frames=2, style="random")
    assert [len({r.item for r in batch}) for batch in plan] == [2, 2, 2, 1]
    (plan,) = plans(root, 1, 4, n_frames=2, style="random", fill_small=False)
    counts = Counter(r.item for batch in plan for r in batch)
    assert counts == {i: min(2, n) for i, n in enumerate(SHOTS.values())}
    # Seven shots in blocks of five, one frame each: 4 + 1 and 2; the single one is small.
    sizes = {
        (False, False): [4, 1, 2],
        (True, False): [4, 4, 4],
        (False, True): [4, 2],
        (True, True): [4, 4],
    }
    for (fill, drop), expected in sizes.items():
        (plan,) = plans(root, 1, 4, min_tr_batch_sz=5, fill_small=fill, drop_small=drop)
        assert [len(batch) for batch in plan] == expected
    # n = 3 frames do not fit into batches of two: each shot is a block of several minibatches.
    (plan,) = plans(root, 1, 2, n_frames=3, style="random", fill_small=False)
    assert Counter(map(len, plan)) == {2: 6, 1: 6}


def test_short_minibatch_repeats_its_samples_from_the_start(root: Path) -> None:
    (plan,) = plans(root, 1, 5)
    (short,) = plans(root, 1, 5, fill_small=False)
    assert len(short[-1]) == 2
    assert plan[-1] == [short[-1][i] for i in (0, 1, 0, 1, 0)]


@pytest.mark.parametrize(("world", "batch_size"), [*product((1, 2, 3, 40), (1, 4, 100))])
def test_evaluation_counts_each_frame_once(root: Path, world: int, batch_size: int) -> None:
    data = dataset(root, "val")
    seen: list[int] = []
    for rank in range(world):
        loader = eval_loader(data, batch_size, rank=rank, world_size=world)
        batches = list(loader)
        assert len(batches) == len(loader)
        seen += [i for b in batches for i in b.indices.tolist()]
    assert sorted(seen) == list(range(sum(SHOTS.values())))


@pytest.mark.parametrize(("world", "together"), [*product((1, 2, 3, 40), (2, 3, 100))])
def test_frames_that_belong_together_come_to_one_process_one_after_the_other(
    root: Path, world: int, together: int
) -> None:
    data = dataset(root, "val")
    groups = shot_groups(data.metadata, together)
    assert max(map(len, groups)) > 1
    seen: list[int] = []
    for rank in range(world):
        loader = eval_loader(data, 2, together=together, rank=rank, world_size=world)
        own = [i for b in loader for i in b.indices.tolist()]
        assert own == [i for group in groups[rank::world] for i in group]
        seen += own
    assert sorted(seen) == list(range(sum(SHOTS.values())))


def test_groups_of_a_shots_frames(tmp_path: Path) -> None:
    ids = ["a/1/0.jpg", "a/1/1.jpg", "a/2/0.jpg", "a/1/2.jpg", "a/1/3.jpg", "b.jpg", "c.jpg", "a/1/4.jpg"]
    split = SplitMetadata("val", ids, np.array([0, 0, 0, 0, 1, 0, 0, 0]), {}, {}, ["x", "y"], tmp_path)
    assert shot_groups(split, 1) == [[i] for i in range(8)]
    assert shot_groups(split, 3) == [[0, 1, 3], [2], [4], [5, 6], [7]]  # 4 has another label, 7 came too late
    assert shot_groups(split, 100) == [[0, 1, 3, 7], [2], [4], [5, 6]]


def test_evaluation_does_not_depend_on_workers_or_batch_size(root: Path) -> None:
    data = dataset(root, "val")
    truth = joined([taken(data, i) for i in range(len(data))])
    for workers, size in ((0, 3), (2, 5)):
        assert same(joined(list(eval_loader(data, size, num_workers=workers))), truth)


def test_frames_for_the_cam_store(root: Path) -> None:
    data = dataset(root, frame_limit=0.5)
    ids = [data.frame_id(item, frame) for item in range(len(data)) for frame in data.allowed(item)]
    assert ids[:3] == [f"a/s0/frame{i:04d}.jpg" for i in (1, 2, 3)]
    found = joined(list(frame_loader(data, ids, 4)))
    assert found.ids == ids
    frames = dataset(root, "val")
    positions = [frames.metadata.ids.index(i) for i in ids]
    assert torch.equal(found.frames, torch.cat([taken(frames, i).frames for i in positions]))
    assert torch.equal(found.labels, torch.from_numpy(frames.metadata.labels[positions]))
    with pytest.raises(KeyError):
        frame_loader(data, ["a/s0/none.jpg"], 4)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_frame_is_an_error_with_its_path(root: Path, workers: int) -> None:
    path = root / "data" / "b" / "s2" / "frame0000.jpg"
    path.write_bytes(path.read_bytes()[:-30])
    loader = train_loader(dataset(root), 3, num_workers=workers)
    with pytest.raises(UserError, match=f"^{path}: unreadable") as error:
        list(loader.iterate(1))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=f"^{path}: unreadable"):
        list(eval_loader(dataset(root, "val", skip_bad_frames=True), 9))
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_skipped_frames_are_logged_counted_and_replaced(root: Path, workers: int, caplog) -> None:
    for i in (2, 3):
        (root / "data" / "a" / "s0" / f"frame{i:04d}.jpg").write_bytes(b"")
    data = dataset(root, n_frames=5, skip_bad_frames=True)
    data.cams = FakeCams(root / "data")
    loader = train_loader(data, 5, num_workers=workers)
    with caplog.at_level(logging.WARNING):
        batches = [b for b in loader.iterate(1) if "a/s0" in b.ids[0]]
    assert batches[0].order.tolist() == [0, 1, 1, 4, 4]
    assert loader.bad_frames == {f"a/s0/frame{i:04d}.jpg" for i in (2, 3)}
    assert sum("unreadable frame a/s0" in text for text in caplog.messages) == 2
    whole = frame_loader(data, [f"a/s0/frame{i:04d}.jpg" for i in (2, 3, 4)], 2)
    assert [b.ids for b in whole] == [["a/s0/frame0004.jpg"]]
    assert len(whole.bad_frames) == 2
    loader.close()


def test_shot_without_readable_frame(root: Path) -> None:
    (root / "data" / "b" / "s2" / "frame0000.jpg").write_bytes(b"x")
    with pytest.raises(UserError, match="'b/s2': no readable frame"):
        list(train_loader(dataset(root, skip_bad_frames=True), 4).iterate(1))


def test_dead_worker_is_an_error_and_the_loader_recovers(root: Path) -> None:
    loader: TrainLoader = train_loader(dataset(root), 1, num_workers=1)
    batches = loader.iterate(1)
    next(batches)
    worker = loader._loader._iterator._workers[0]
    os.kill(worker.pid, signal.SIGTERM)  # left to the main process
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="data loading process died"):
        list(batches)
    assert len(list(loader.iterate(1))) == len(SHOTS)
    loader.close()
    assert not worker.is_alive()


PROGRAM = """
import gc, os, signal, sys
from pathlib import Path
from torch.utils.data import _utils
from dlib.datasets.loaders import eval_loader, train_loader
from dlib.datasets.metadata import SplitMetadata, read_split
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
if __name__ == "__main__":
    root = Path(sys.argv[1])
    def data(split):
        metadata = read_split(root / "data", root / "folds", split)
        return VideoDataset(metadata, root / "data", train=split == "train", crop_size=8, resize_size=10)
    loader = train_loader(data("train"), 1, num_workers=1)
    batches = loader.iterate(1)
    next(batches)
    half_read = iter(eval_loader(data("val"), 1, num_workers=1))
    next(half_read)
    print(*(w.pid for w in loader._loader._iterator._workers), flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    # Its loader is lost, as by an error's traceback, which holds it for a while. The other one is there to the end.
    _utils.MP_STATUS_CHECK_INTERVAL = 0.1  # PyTorch waits for the worker, and then gives up
    loader.itself, loader, batches = loader, None, None
    gc.collect()
    raise SystemExit(0)
"""


@pytest.mark.parametrize(("ending", "code"), [("exit", 0), ("kill", -signal.SIGKILL)])
def test_workers_end_with_a_program_that_does_not_close_them(root: Path, ending: str, code: int) -> None:
    program, errors = root / "program.py", root / "errors.txt"
    program.write_text(PROGRAM)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), str(root), ending]
    with errors.open("w") as stderr:
        done = subprocess.run(command, env=environment, timeout=300, stdout=subprocess.PIPE, stderr=stderr)
    assert done.returncode == code
    assert ending == "kill" or errors.read_text() == ""
    # Standard output ends only when the last process that has inherited it has ended: the workers too.
    deadline = time.monotonic() + 10
    while Path(f"/proc/{int(done.stdout)}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2, "min_tr_batch_sz": 0}, "min_tr_batch_sz"),
        ({"batch_size": 2, "rank": 2, "world_size": 2}, "rank"),
        ({"batch_size": 2, "rank": -1, "world_size": 2}, "rank"),
        ({"batch_size": 2, "num_workers": -1}, "num_workers >= 0"),
    ],
)
def test_impossible_loaders_are_refused(root: Path, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        train_loader(dataset(root), **options)


def test_defaults_of_the_loaders(root: Path) -> None:
    plain, said = (
        train_loader(dataset(root), 3, **options)
        for options in ({}, {"min_tr_batch_sz": -1, "num_workers": 0, "drop_small": False, "min_steps": 0})
    )
    assert plain.layout == said.layout
    assert (plain.rank, plain.epoch, plain._loader.num_workers) == (0, 0, 0)
    for loader in (
        eval_loader(dataset(root, "val"), 2),
        frame_loader(dataset(root), ["a/s0/frame0000.jpg"], 2),
    ):
        assert loader._loader.num_workers == 0
        assert not loader._loader.pin_memory
        assert not loader._loader.persistent_workers


def test_one_shot_at_a_time_is_possible(root: Path) -> None:
    least = train_loader(dataset(root), 2, min_tr_batch_sz=1)
    assert least.layout.min_shots == 1
    assert len(least) == len(train_loader(dataset(root), 2))


def test_impossible_datasets_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="crop_size"):
        dataset(root, crop_size=11)
    with pytest.raises(ValueError, match="not for training"):
        train_loader(dataset(root, "val"), 2)
    with pytest.raises(ValueError, match="split 'val'"):
        VideoDataset(dataset(root, "val").metadata, root / "data", train=True)
    with pytest.raises(ValueError, match="limit"):
        dataset(root, frame_limit=0)
