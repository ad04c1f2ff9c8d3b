"""Flags of data and sampling, through the same functions as a run: which frames, which minibatches, which pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.splits import build_train_loader, read_frames
from dlib.datasets.transforms import Colors, CropFlip, draw_colors, draw_crop_flip
from dlib.datasets.video_dataset import FrameRequest

SHOTS = {"a/data/0001/shots/001": 9, "a/data/0001/shots/002": 9, "b/data/0001/shots/001": 9}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shots of nine frames, red rising to the right and green downwards; five validation frames."""
    root = tmp_path_factory.mktemp("flags")
    rng = np.random.default_rng(0)
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(40)[None] * 6
    pixels[..., 1] = np.arange(40)[:, None] * 6
    for shot, count in SHOTS.items():
        (root / "data" / "d" / shot).mkdir(parents=True)
        for frame in range(count):
            pixels[..., 2] = rng.integers(100, 110)
            Image.fromarray(pixels).save(root / "data" / "d" / shot / f"frame{frame:04d}.jpg", quality=95)
    first, _, last = SHOTS
    boxed = [f"{first}/frame{i:04d}.jpg" for i in range(3)] + [f"{last}/frame{i:04d}.jpg" for i in range(2)]
    for split, ids in (("train", list(SHOTS)), ("val", boxed)):
        folder = root / "folds" / "d" / split
        folder.mkdir(parents=True)
        whole = split == "val"
        (folder / "image_ids.txt").write_text("".join(f"{i}\n" for i in ids))
        (folder / "class_labels.txt").write_text("".join(f"{i},{int(i[0] == 'b')}\n" for i in ids))
        (folder / "image_sizes.txt").write_text("".join(f"{i},40,40\n" for i in ids) if whole else "")
        (folder / "localization.txt").write_text("".join(f"{i},1,1,9,9\n" for i in ids) if whole else "")
    (root / "folds" / "d" / "class_id.yaml").write_text("a: 0\nb: 1\n")
    return root


def config(place: Path, **flags: Any) -> Config:
    common = {"dataset": "d", "data_root": str(place / "data"), "metadata_root": str(place / "folds")}
    return Config.from_values(
        {**common, "crop_size": 16, "resize_size": 20, "num_workers": 0, "batch_size": 6, **flags}
    )


def drawn(place: Path, epochs: int = 40, **flags: Any) -> list[list[int]]:
    """The frames that each epoch takes of each shot."""
    dataset = read_frames(config(place, **flags), "train")
    return [dataset.draw(epoch, item) for epoch in range(1, epochs + 1) for item in range(len(dataset))]


def test_number_and_style_of_frames(place: Path) -> None:
    assert {len(frames) for frames in drawn(place)} == {1}
    styles = {
        style: drawn(place, sample_n_from_seq=3, sample_n_from_seq_style=style)
        for style in ("before", "after", "before-after", "random")
    }
    for style in ("before", "after", "before-after"):
        assert all(np.diff(sorted(frames)).tolist() == [1] * (len(frames) - 1) for frames in styles[style])
    # At the edge of the shot the run of frames is cut short on the side where it runs.
    assert [0] in [sorted(f) for f in styles["before"]]
    assert [8] not in [sorted(f) for f in styles["before"]]
    assert [8] in [sorted(f) for f in styles["after"]]
    assert [0] not in [sorted(f) for f in styles["after"]]
    assert any(np.diff(sorted(frames)).max() > 1 for frames in styles["random"])
    assert {len(frames) for frames in styles["random"]} == {3}


def test_distribution_limit_and_spread(place: Path) -> None:
    wide = {frames[0] for frames in drawn(place)}
    assert wide == set(range(9))
    # h = int(9·0.6)//2 = 2 around frame 4.
    assert {frames[0] for frames in drawn(place, sample_fr_limit=0.6)} == {2, 3, 4, 5, 6}
    for frames in drawn(
        place, sample_n_from_seq=3, sample_n_from_seq_style="random", sample_n_from_seq_dist="interval"
    ):
        assert [frame // 3 for frame in sorted(frames)] == [0, 1, 2]

    def centred(**flags: Any) -> float:
        frames = drawn(place, epochs=400, sample_n_from_seq_dist="gaussian", **flags)
        return float(np.mean([f[0] == 4 for f in frames]))

    # Weight 1 + N(4, σ) density: at σ = .1 the centre has (1 + 3.99)/(9 + 3.99) = .384, at σ = 10 about 1/9.
    assert centred(sample_n_from_seq_std=0.1) == pytest.approx(0.384, abs=0.05)
    assert centred(sample_n_from_seq_std=10.0) == pytest.approx(0.112, abs=0.05)


def sizes(place: Path, **flags: Any) -> list[int]:
    cfg = config(place, sample_n_from_seq_style="random", **flags)
    loader = build_train_loader(cfg, read_frames(cfg, "train"), pin_memory=False)
    loader.set_epoch(1)
    return [len(batch) for batch in loader.iterate(1)]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        # One shot of four frames a block (6 // 4 = 1), filled to six.
        ({"sample_n_from_seq": 4}, [6, 6, 6]),
        ({"sample_n_from_seq": 4, "fill_small_tr_batch": False}, [4, 4, 4]),
        # Three shots a block: twelve frames are two minibatches.
        ({"sample_n_from_seq": 4, "min_tr_batch_sz": 3}, [6, 6]),
        # Two shots, then one: 6 + 2 and 4.
        ({"sample_n_from_seq": 4, "min_tr_batch_sz": 2, "fill_small_tr_batch": False}, [6, 2, 4]),
        (
            {
                "sample_n_from_seq": 4,
                "min_tr_batch_sz": 2,
                "fill_small_tr_batch": False,
                "drop_small_tr_batch": True,
            },
            [6, 4],
        ),
        ({"sample_n_from_seq": 4, "min_tr_batch_sz": 2, "drop_small_tr_batch": True}, [6, 6]),
        ({"batch_size": 2, "fill_small_tr_batch": False}, [2, 1]),
    ],
)
def test_minibatches(place: Path, flags: dict[str, Any], expected: list[int]) -> None:
    assert sizes(place, **flags) == expected


@pytest.mark.parametrize(("number", "expected"), [(0, [3, 2]), (1, [1, 1]), (2, [2, 2]), (9, [3, 2])])
def test_validation_samples_per_class(place: Path, number: int, expected: list[int]) -> None:
    cfg = config(place, num_val_sample_per_class=number)
    labels = read_frames(cfg, "val").metadata.labels.tolist()
    assert [labels.count(0), labels.count(1)] == expected


def loaded(place: Path, split: str = "train", **flags: Any) -> Batch:
    dataset = read_frames(config(place, **flags), split)
    if split != "train":
        return dataset.load([FrameRequest(0, i, 0) for i in range(len(dataset))])
    dataset.cams = RedCams(place)
    return dataset.load([FrameRequest(e, i, f) for e in (1, 2, 3) for i in range(3) for f in (0, 1, 5)])


class RedCams:
    """The red plane of a frame as its CAM, so that both must show the same window."""

    def __init__(self, place: Path) -> None:
        self.root = place / "data" / "d"

    def read(self, frame_id: str) -> torch.Tensor:
        pixels = np.asarray(Image.open(self.root / frame_id).convert("RGB"), dtype=np.float32)
        return torch.from_numpy(pixels[..., 0] / 255)


def test_defaults_draw_nothing_new(place: Path) -> None:
    plain, zero = loaded(place), loaded(place, aug_color=0.0, aug_scale_min=1.0)
    assert torch.equal(plain.frames, zero.frames)
    after, twin = np.random.default_rng(3), np.random.default_rng(3)
    window = draw_crop_flip(20, 16, after)
    assert window == CropFlip(*twin.integers(5, size=2).tolist(), 16, bool(twin.random() < 0.5))
    assert after.random() == twin.random()


def test_scale_takes_the_named_share_of_the_area() -> None:
    rng = np.random.default_rng(0)
    windows = [draw_crop_flip(200, 112, rng, 0.25) for _ in range(2000)]
    shares = np.array([window.size**2 / 200**2 for window in windows])
    assert shares.min() >= 0.245
    assert shares.max() <= 1.0
    # Uniform in .25..1: quartiles in the middle of it.
    assert np.quantile(shares, [0.25, 0.5, 0.75]) == pytest.approx([0.4375, 0.625, 0.8125], abs=0.03)
    assert all(0 <= w.top <= 200 - w.size and 0 <= w.left <= 200 - w.size for w in windows)


def test_scale_moves_frames_and_cams_alike(place: Path) -> None:
    batch, again, plain = loaded(place, aug_scale_min=0.2), loaded(place, aug_scale_min=0.2), loaded(place)
    assert torch.equal(batch.frames, again.frames)
    assert batch.frames.shape == plain.frames.shape
    assert batch.cams is not None
    assert torch.equal(batch.keys, plain.keys)
    assert not torch.equal(batch.frames, plain.frames)
    # JPEG and antialiasing cost a few grey levels; a wrong window or flip would cost dozens.
    difference = (batch.cams * 255 - batch.frames[:, 0].float()).abs()
    assert difference.amax(dim=(1, 2)).max() < 16
    # Red rises over the whole frame from 0 to 234: a window shows its own share of that.
    spans = (batch.frames[:, 0].float().amax((1, 2)) - batch.frames[:, 0].float().amin((1, 2))) / 234
    assert spans.max() - spans.min() > 0.15
    assert spans.min() > 0.2**0.5 - 0.15


def test_resized_windows_equal_pillow(place: Path) -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    window = CropFlip(3, 5, 24, False)
    truth = Image.fromarray(pixels[3:27, 5:29]).resize((10, 10), Image.Resampling.BILINEAR)
    found = window.apply(torch.from_numpy(pixels).permute(2, 0, 1), 10)
    assert found.dtype == torch.uint8
    assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - np.asarray(truth).astype(int)).max() <= 1


def test_colours(place: Path) -> None:
    batch, plain = loaded(place, aug_color=0.5), loaded(place)
    assert torch.equal(batch.cams, plain.cams)  # type: ignore[arg-type]
    assert torch.equal(batch.keys, plain.keys)
    mean = batch.frames.float().mean(dim=(1, 2, 3)) / plain.frames.float().mean(dim=(1, 2, 3))
    assert mean.max() - mean.min() > 0.1
    assert torch.equal(loaded(place, "val", aug_color=0.5).frames, loaded(place, "val").frames)
    # Frames of one shot and epoch change by the same factors, those of other shots and epochs by others.
    dataset = read_frames(config(place, aug_color=0.5), "train")
    factors = [draw_colors(0.5, dataset.rng(epoch, item, 0, 2)) for epoch in (1, 2, 3) for item in range(3)]
    truth = torch.cat([factors[i // 3].apply(frame)[None] for i, frame in enumerate(plain.frames)])
    assert torch.equal(batch.frames, truth)
    assert len(set(factors)) == 9


def test_colours_by_hand() -> None:
    raw = torch.tensor([[[100, 50]], [[60, 30]], [[20, 10]]], dtype=torch.uint8)
    assert torch.equal(Colors(1.0, 1.0, 1.0).apply(raw), raw)
    assert Colors(2.0, 1.0, 1.0).apply(raw).flatten().tolist() == [200, 100, 120, 60, 40, 20]
    # Greys: .299·100 + .587·60 + .114·20 = 67.4 and 33.7.
    assert Colors(1.0, 1.0, 0.0).apply(raw).flatten().tolist() == [67, 34] * 3
    assert Colors(1.0, 0.0, 1.0).apply(raw).flatten().tolist() == [51] * 6
    assert Colors(9.0, 1.0, 1.0).apply(raw).max() == 255


def test_impossible_augmentations_are_refused(place: Path) -> None:
    for flags in ({"color": 1.5}, {"color": -0.1}, {"scale_min": 0.0}, {"scale_min": 1.1}):
        dataset = read_frames(config(place), "train")
        with pytest.raises(ValueError, match="color must be in"):
            type(dataset)(dataset.metadata, dataset.data_dir, train=True, **flags)


def test_crop_size(place: Path) -> None:
    assert loaded(place, crop_size=12).frames.shape[-2:] == (12, 12)
    assert loaded(place, "val", crop_size=12).frames.shape[-2:] == (12, 12)
