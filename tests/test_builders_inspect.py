"""The inspection of a dataset, and the cut detector on real video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlib.datasets.cuts import CutDetector
from dlib.datasets.inspect import Hashes, near_duplicates, picture_hash
from helpers.paths import ROOT
from helpers.small_datasets import picture, write_faulty_dataset


def hashes(images: dict[str, np.ndarray]) -> Hashes:
    codes = [picture_hash(Image.fromarray(image)) for image in images.values()]
    assert all(code is not None for code in codes)
    return {name: code for name, code in zip(images, codes, strict=True) if code is not None}


def test_hashes_see_through_scaling_and_compression_only(tmp_path: Path) -> None:
    images = {f"a{i}": picture(i, 48) for i in range(15)}
    copies = {}
    for i in (3, 7, 11):
        Image.fromarray(images[f"a{i}"]).resize((100, 75)).save(tmp_path / "x.jpg", quality=40)
        copies[f"b{i}"] = np.asarray(Image.open(tmp_path / "x.jpg"))
    others = {f"c{i}": picture(100 + i, 48) for i in range(15)}
    pairs = near_duplicates(hashes(images), hashes({**copies, **others}))
    assert {(a, b) for a, b, _ in pairs} == {("a3", "b3"), ("a7", "b7"), ("a11", "b11")}
    assert near_duplicates(hashes(images), {}) == near_duplicates({}, hashes(images)) == []


def test_flat_pictures_have_no_hash() -> None:
    assert picture_hash(Image.new("RGB", (20, 20), (7, 7, 7))) is None


def test_the_command_reports_faults_and_leaks(tmp_path: Path) -> None:
    write_faulty_dataset(tmp_path)
    frames = tmp_path / "data" / "set"
    leaked = frames / "c/data/0003/shots/000/frame1.jpg"
    Image.open(frames / "c/data/0001/shots/001/frame2.jpg").save(leaked, quality=60)
    broken = frames / "a,b/data/0002/shots/000/frame0.jpg"
    broken.write_bytes(broken.read_bytes()[:500])
    command = [sys.executable, "-m", "dlib.datasets.inspect", "--dataset", "set"]
    command += ["--data_root", str(tmp_path / "data"), "--metadata_root", str(tmp_path / "folds")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert "train: 12 frames opened" in lines
    assert "  frame sizes: 128x96 (12)" in lines
    assert "  frames per shot: least 3, median 3, most 3" in lines
    assert "  boxes, share of the frame: least 25.0%, median 25.0%, most 25.0%" in lines
    at = lines.index("  unreadable frames: 1")
    assert str(broken) in lines[at + 1]
    at = lines.index("train and test: 1 frames of test look like one of train")
    assert "c/data/0001/shots/001/frame2.jpg  c/data/0003/shots/000/frame1.jpg" in lines[at + 1]
    assert "val and test: 0 frames of test look like one of val" in lines
    sheets = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sheets == [f"{split}-{name}.jpg" for split in ("test", "train", "val") for name in ("a,b", "c")]
    with Image.open(tmp_path / "out" / "test-c.jpg") as sheet:
        assert sheet.size == (2 * 164, 164)
        red = np.asarray(sheet).astype(int)
        assert (
            (red[..., 0] > 200) & (red[..., 2] < 60) & (red[..., 1] < 120)
        ).sum() > 100  # the boxes are drawn


@pytest.fixture
def real_runs() -> list[list[Path]]:
    """Runs of successive frames of real videos."""
    root = ROOT.parent / "shared" / "data" / "real-videos"
    if not root.is_dir():
        pytest.skip("the real frame sequences in ../shared/data are absent")
    runs: list[list[Path]] = []
    for video in sorted(root.glob("*/data/*"))[::2]:
        last = -2
        for frame in sorted(video.glob("shots/*/*.jpg"), key=lambda path: path.stem):
            number = int(frame.stem.removeprefix("frame"))
            if number != last + 1:
                runs.append([])
            runs[-1].append(frame)
            last = number
    return [run[:16] for run in runs if len(run) >= 10]


def test_cuts_between_real_videos(real_runs: list[list[Path]]) -> None:
    detector, truth, count = CutDetector(), [], 0
    for run in real_runs:
        truth.append(count)
        for frame in run:
            detector.add(np.asarray(Image.open(frame)))
            count += 1
    assert len(truth) > 5
    assert detector.cuts() == truth[1:]
