"""The synthetic dataset: same bytes for the same seed, true boxes, and a class that only the object tells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dlib.datasets import _video_ds_ytov1_0 as v1
from dlib.datasets.build.folds import write_folds
from dlib.datasets.metadata import read_split
from dlib.datasets.synthetic.painting import PATTERNS
from dlib.datasets.synthetic.scenes import RenderedFrame, Video, VideoKey
from dlib.datasets.synthetic.write import BOX_EVERY, Plan, generate, visible_boxes
from dlib.utils.errors import UsageError
from helpers.paths import ROOT

SMALL = Plan(classes=2, videos=3, shots=2, frames=5, size=48, seed=3)
CLASSES = sorted(list(PATTERNS)[:4])


def render(class_index: int, video: int, with_objects: bool = True, size: int = 64) -> list[RenderedFrame]:
    key = VideoKey(11, class_index, CLASSES[class_index], video)
    return list(Video(key, size).shot(0, 3, with_objects))


def tree_bytes(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    generate(tmp_path / "a", SMALL)
    command = [
        sys.executable,
        "-m",
        "dlib.datasets.synthetic",
        "--dst",
        str(tmp_path / "b"),
        "--num_workers",
        "2",
    ]
    for name in ("classes", "videos", "shots", "frames", "size", "seed"):
        command += [f"--{name}", str(getattr(SMALL, name))]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    first = tree_bytes(tmp_path / "a")
    assert first == tree_bytes(tmp_path / "b")
    generate(tmp_path / "c", Plan(2, 3, 2, 5, 48, seed=4))
    other = tree_bytes(tmp_path / "c")
    frames = [name for name in first if name.endswith(".jpg")]
    assert len(frames) == 2 * 3 * 2 * 5
    assert all(first[name] != other[name] for name in frames)


def test_layout_boxes_and_folds(tmp_path: Path) -> None:
    generate(tmp_path / "o", SMALL)
    for index, name in enumerate(sorted(list(PATTERNS)[:2])):
        listed = [
            (tmp_path / "o" / name / "sets" / f"{s}.txt").read_text().split() for s in ("train", "test")
        ]
        assert listed == [["0001", "0002"], ["0003"]]
        for video in range(3):
            rendered = Video(VideoKey(3, index, name, video), 48).shot(1, 5)
            for k, frame in enumerate(rendered):
                path = (
                    tmp_path
                    / "o"
                    / name
                    / "data"
                    / f"{video + 1:04d}"
                    / "shots/002"
                    / f"frame{6 + k:04d}.jpg"
                )
                with Image.open(path) as image:
                    assert image.size == (64, 48)
                sticks = path.with_name(path.name + "_sticks.mat")
                boxes = visible_boxes(frame)
                assert sticks.exists() == (SMALL.is_boxed(video) and k % BOX_EVERY == 0 and bool(boxes))
                if sticks.exists():
                    cells = scipy.io.loadmat(sticks)["coor"]
                    assert [cell.tolist() for cell in cells.ravel()] == [[list(box)] for box in boxes]
    classes, splits, notes = v1.build(tmp_path / "o", tmp_path / "d", False, 2)
    write_folds(tmp_path / "folds", classes, splits)
    assert not notes
    assert len(read_split(tmp_path / "d", tmp_path / "folds", "train").ids) == 2 * 2
    assert read_split(tmp_path / "d", tmp_path / "folds", "val").boxes


def test_boxes_just_enclose_what_is_visible() -> None:
    """Against a render without the objects: with noise and light equal, all that differs is object or occluder."""
    seen = 0
    for video in range(12):
        for frame, empty in zip(render(0, video), render(0, video, with_objects=False), strict=True):
            changed = (frame.image != empty.image).any(-1)
            for mask in frame.masks:
                assert (mask & ~changed).sum() <= 0.02 * mask.sum()  # a pixel may keep its colour by chance
            for box in visible_boxes(frame):
                x0, y0, x1, y1 = box
                mask = next(m for m in frame.masks if m[y0 : y1 + 1, x0 : x1 + 1].sum() == m.sum() > 0)
                assert mask[y0].any()
                assert mask[y1].any()
                assert mask[:, x0].any()
                assert mask[:, x1].any()
                seen += 1
    assert seen > 20


def test_the_telling_part_is_small_and_the_scene_is_hard() -> None:
    heads, cut, hidden, two, area = [], 0, 0, 0, []
    for index in range(len(CLASSES)):
        for video in range(25):
            frame = render(index, video)[1]
            union = np.any(frame.masks, axis=0)
            if union.any():
                heads.append(frame.head.sum() / union.sum())
                area.append(union.mean())
            cut += union[[0, -1]].any() or union[:, [0, -1]].any()
            hidden += min(frame.visible_shares) < 0.75
            two += len(frame.masks) > 1
    assert 0.1 < np.mean(heads) < 0.35
    assert 0.08 < np.mean(area) < 0.3
    assert 8 < cut < 60
    assert 5 < hidden < 60
    assert 3 < two < 25


def features(image: np.ndarray) -> np.ndarray:
    """Colours and edges of a frame: joint colour histogram, and gradient energy by orientation on a grid."""
    colours = np.histogramdd(image.reshape(-1, 3), bins=4, range=[(0, 256)] * 3)[0].ravel()
    gray = image.astype(np.float32).mean(-1)
    dy, dx = np.gradient(gray)
    angle = ((np.arctan2(dy, dx) % np.pi) / np.pi * 6).astype(int).clip(0, 5)
    energy = [np.where(angle == k, np.hypot(dx, dy), 0) for k in range(6)]
    height, width = gray.shape
    grid = [
        e[: height // 4 * 4, : width // 4 * 4].reshape(4, height // 4, 4, -1).mean((1, 3)) for e in energy
    ]
    return np.concatenate([np.sqrt(colours / colours.sum()), np.ravel(grid)])


def accuracy(make) -> float:
    """Test accuracy of a logistic regression over 4 classes, with other videos for test than for training."""
    data = {part: ([], []) for part in ("train", "test")}
    for index in range(len(CLASSES)):
        for video in range(45):
            x, y = data["test" if video >= 25 else "train"]
            rows = make(index, video)
            x += rows
            y += [index] * len(rows)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    model.fit(*data["train"])
    return float(model.score(*data["test"]))


def head_crops(index: int, video: int) -> list[np.ndarray]:
    crops = []
    for frame in render(index, video):
        rows, columns = np.nonzero(frame.head)
        if len(rows) > 60:
            window = frame.image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            small = np.asarray(Image.fromarray(window).convert("L").resize((32, 32)))
            crops.append(features(np.stack([small] * 3, -1)))
    return crops


def test_background_alone_does_not_tell_the_class() -> None:
    chance = 1 / len(CLASSES)
    score = accuracy(lambda i, v: [features(f.image) for f in render(i, v, with_objects=False)])
    assert score < chance + 0.12  # 80 test videos: about two standard deviations and a half
    assert accuracy(head_crops) > chance + 0.3  # the same features do tell it from the object's head


def test_leaving_out_the_objects_changes_nothing_else() -> None:
    frame, empty = render(1, 5)[0], render(1, 5, with_objects=False)[0]
    same = (frame.image == empty.image).all(-1)
    assert same.mean() > 0.5
    assert not any(m.any() for m in empty.masks)


@pytest.mark.parametrize(
    "wrong", [{"classes": 1}, {"classes": 11}, {"videos": 2}, {"size": 8}, {"frames": 0}]
)
def test_impossible_plans_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Plan(**wrong)
