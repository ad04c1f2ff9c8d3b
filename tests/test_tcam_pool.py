"""CAM-TMP against plain loops: windows, pooling, and the maps that a training sample gets."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dlib.cams import CamStore, TemporalPool, pool_over_time, window
from dlib.datasets import video_dataset
from dlib.datasets.loaders import train_loader
from dlib.datasets.metadata import read_split
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.utils.errors import UserError
from helpers.workplace import DATASET

SIDES = {"instant": (0, 0), "before": (1, 0), "after": (0, 1), "before-after": (1, 1)}


def truth(maps: list[np.ndarray], i: int, n: int, mode: str, heat: float) -> np.ndarray:
    """The pooled map of frame ``i``, pixel by pixel in float64."""
    before, after = (n * side for side in SIDES[mode])
    pooled = np.zeros(maps[0].shape)
    for y, x in np.ndindex(*pooled.shape):
        values = []
        for j, cam in enumerate(maps):
            if i - before <= j <= i + after:
                cells = [math.exp(heat * (float(v) + 1e-6)) for v in cam.flat]
                if heat == 0 or n == 0:
                    values.append(float(cam[y, x]))
                elif cam.min() < cam.max():
                    values.append(math.exp(heat * (float(cam[y, x]) + 1e-6)) / max(cells))
        pooled[y, x] = max(values, default=0.0)
    return pooled


def random_maps(count: int, seed: int = 0) -> list[np.ndarray]:
    maps = list(np.random.default_rng(seed).random((count, 3, 4), dtype=np.float32))
    return [(cam - cam.min()) / (cam.max() - cam.min()) for cam in maps]


@pytest.mark.parametrize("heat", [0.0, 0.5, 5.0])
@pytest.mark.parametrize("mode", SIDES)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_pooled_maps(count: int, mode: str, heat: float) -> None:
    for n, constant in itertools.product(range(5), (None, 0, count - 1)):
        maps = random_maps(count)
        if constant is not None:
            maps[constant] = np.full_like(maps[0], 0.7)
        pool = TemporalPool(n, mode, heat)
        for i in range(count):
            together = torch.stack([torch.from_numpy(maps[j]) for j in pool.frames(i, count)])
            np.testing.assert_allclose(pool.pool(together, 1), truth(maps, i, n, mode, heat), atol=1e-6)


def test_windows_by_hand() -> None:
    assert list(window(3, 6, 2, "before")) == [1, 2, 3]
    assert list(window(1, 6, 2, "before")) == [0, 1]
    assert list(window(3, 6, 2, "after")) == [3, 4, 5]
    assert list(window(5, 6, 2, "after")) == [5]
    assert list(window(3, 6, 1, "before-after")) == [2, 3, 4]
    assert list(window(3, 6, 2, "instant")) == [3]
    for wrong in ((6, 6, 1), (-1, 6, 1), (0, 6, -1)):
        with pytest.raises(ValueError, match="neighbours"):
            window(*wrong, "before")


def test_heat_of_the_epochs() -> None:
    """10 − e·(10 − 2)/4 in epochs 1 to 4, 2 from there on; constant without a switch; 0 without neighbours."""
    maps = torch.rand(2, 3, 3)
    falling, constant = TemporalPool(1, "before", 10.0, 2.0, 4), TemporalPool(1, "before", 10.0, 2.0)
    for epoch, heat in ((1, 8.0), (2, 6.0), (3, 4.0), (4, 2.0), (9, 2.0)):
        assert torch.allclose(falling.pool(maps, epoch), pool_over_time(maps, heat))
        assert torch.equal(constant.pool(maps, epoch), pool_over_time(maps, 10.0))
    assert torch.equal(TemporalPool(0, "instant", 10.0).pool(maps[:1], 1), maps[0])
    cold = TemporalPool(1, "before")  # without heat in every epoch
    assert torch.equal(cold.pool(maps, 1), maps.amax(dim=0))
    assert torch.equal(cold.pool(maps, 9), maps.amax(dim=0))
    plain = TemporalPool(1, "before", 10.0, switch_epoch=4)  # falls to 0
    assert torch.equal(plain.pool(maps, 4), maps.amax(dim=0))


@pytest.fixture
def shots(tiny_data: Path, tmp_path: Path) -> VideoDataset:
    """The tiny train split with a store of random maps 3 x 4; every third one is constant."""
    data = tiny_data / "datasets" / DATASET
    metadata = read_split(data, tiny_data / "folds" / DATASET, "train")
    store = CamStore(tmp_path / "cams")
    dataset = VideoDataset(metadata, data, train=True, crop_size=24, resize_size=32)
    dataset.cams = store
    ids = dataset.all_ids()
    for number, (frame_id, cam) in enumerate(zip(ids, random_maps(len(ids)), strict=True)):
        store.write(frame_id, torch.from_numpy(cam if number % 3 else np.zeros_like(cam)))
    return dataset


def cams_of(dataset: VideoDataset, requests: list[FrameRequest]) -> Tensor:
    cams = dataset.load(requests).cams
    assert cams is not None
    return cams


def all_requests(dataset: VideoDataset) -> list[FrameRequest]:
    return [FrameRequest(2, item, frame) for item in range(4) for frame in range(len(dataset.allowed(item)))]


@pytest.mark.parametrize("mode", ["before", "before-after"])
def test_a_sample_has_the_pooled_map_under_its_own_crop(
    shots: VideoDataset, mode: str, tmp_path: Path
) -> None:
    """As if the store held the pooled maps."""
    requests = all_requests(shots)
    pooled = CamStore(tmp_path / "pooled")
    for item, frame in ((request.item, request.frame) for request in requests):
        ids = [shots.frame_id(item, f) for f in shots.allowed(item)]
        maps = [shots.cams.read(frame_id).numpy() for frame_id in ids]
        pooled.write(ids[frame], torch.from_numpy(truth(maps, frame, 1, mode, 5.0)))
    shots.pool = TemporalPool(1, mode, 5.0)
    found = cams_of(shots, requests)
    shots.pool, shots.cams = None, pooled
    torch.testing.assert_close(found, cams_of(shots, requests), atol=1e-6, rtol=0)


def test_without_neighbours_the_maps_are_those_of_colocam(shots: VideoDataset) -> None:
    own = cams_of(shots, all_requests(shots))
    shots.pool = TemporalPool(0, "instant", 5.0)
    assert torch.equal(own, cams_of(shots, all_requests(shots)))
    shots.pool = TemporalPool(1, "before")
    assert not torch.equal(own, cams_of(shots, all_requests(shots)))


def test_the_window_may_leave_the_frames_that_are_drawn(shots: VideoDataset) -> None:
    requests = [FrameRequest(1, 0, frame) for frame in (1, 2)]
    shots.pool = TemporalPool(3, "before-after")
    whole = cams_of(shots, requests)
    shots.frame_limit = 0.5
    assert 0 not in shots.allowed(0)
    assert torch.equal(cams_of(shots, requests), whole)


def test_a_stand_in_has_its_own_window(shots: VideoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frame 1 cannot be read, frame 0 stands in: it has no frame before it."""
    bad, original = shots.frame_id(0, 1), video_dataset.read_image

    def read(path: Path) -> object:
        if str(path).endswith(bad):
            raise UserError("unreadable")
        return original(path)

    monkeypatch.setattr(video_dataset, "read_image", read)
    shots.skip_bad_frames = True
    own = cams_of(shots, [FrameRequest(1, 0, 1)])
    shots.pool = TemporalPool(3, "before")
    assert torch.equal(cams_of(shots, [FrameRequest(1, 0, 1)]), own)


def test_maps_of_different_size_name_both_files(shots: VideoDataset) -> None:
    first, second = (shots.frame_id(0, frame) for frame in (0, 1))
    shots.cams.write(second, torch.rand(5, 5))
    shots.pool = TemporalPool(1, "before")
    with pytest.raises(UserError) as caught:
        shots.load([FrameRequest(1, 0, 1)])
    for frame_id, size in ((first, "3 x 4"), (second, "5 x 5")):
        assert f"{shots.cams.path(frame_id)} ({size})" in str(caught.value)


def test_workers_change_nothing(shots: VideoDataset) -> None:
    shots.pool = TemporalPool(1, "before", 6.0, 1.0, 4)
    read = []
    for workers in (0, 2):
        loader = train_loader(shots, 4, num_workers=workers)
        read.append([batch.cams for epoch in (1, 2) for batch in loader.iterate(epoch)])
        loader.close()
    assert all(torch.equal(a, b) for a, b in zip(*read, strict=True))
    assert len(read[0]) == 6
