"""Write the synthetic dataset in the original layout of YouTube-Objects v1.0."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dlib.datasets.synthetic.painting import PATTERNS
from dlib.datasets.synthetic.scenes import RenderedFrame, Video, VideoKey
from dlib.utils.errors import UsageError

BOX_EVERY = 3  # every 3rd frame of a boxed video carries boxes
MIN_VISIBLE = 0.3  # an object of which a smaller share is in view has no box
_MAT_HEADER = b"MATLAB 5.0 MAT-file, written by dlib.datasets.synthetic"


@dataclass(frozen=True)
class Plan:
    """Size of the dataset: ``videos`` per class, of which some are boxed; ``size`` is the frames' height."""

    classes: int = 5
    videos: int = 50
    shots: int = 2
    frames: int = 8
    size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {"classes": (2, len(PATTERNS)), "videos": (3, 9999), "shots": (1, 999), "frames": (1, 9999)}
        for name, (low, high) in {**limits, "size": (48, 1024), "seed": (0, 2**31)}.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"--{name} {getattr(self, name)}: must lie between {low} and {high}")

    @property
    def n_test(self) -> int:
        """Test videos per class, all boxed."""
        return min(max(1, round(0.28 * self.videos)), 5)

    @property
    def n_boxed_train(self) -> int:
        """Boxed videos in the official train list: those for validation, and one more if there are many."""
        return self.n_test + (1 if self.videos >= 12 else 0)

    def is_test(self, video: int) -> bool:
        return video >= self.videos - self.n_test

    def is_boxed(self, video: int) -> bool:
        """Boxed train videos are spread evenly among the others."""
        n_train = self.videos - self.n_test
        boxed = {i * n_train // self.n_boxed_train for i in range(self.n_boxed_train)}
        return self.is_test(video) or video in boxed


def generate(dst: Path, plan: Plan, workers: int = 1) -> None:
    """Write the dataset below ``dst``; the same plan gives the same bytes, with any number of worker processes.

    Videos are numbered from 0001, shots from 001, and frames from 0001 over all shots of a video.
    """
    names = sorted(list(PATTERNS)[: plan.classes])
    keys = [
        VideoKey(plan.seed, i, name, video) for i, name in enumerate(names) for video in range(plan.videos)
    ]
    folders = [dst / key.pattern / "data" / f"{key.video + 1:04d}" for key in keys]
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else nullcontext() as pool,
        tqdm(total=len(keys), desc="synthetic videos", unit="video") as bar,
    ):
        for _ in (pool.map if pool else map)(_write_video, folders, keys, [plan] * len(keys)):
            bar.update()
    for name in names:
        sets = dst / name / "sets"
        sets.mkdir(parents=True, exist_ok=True)
        for split, test in (("train", False), ("test", True)):
            videos = [f"{video + 1:04d}\n" for video in range(plan.videos) if plan.is_test(video) == test]
            (sets / f"{split}.txt").write_text("".join(videos))


def _write_video(folder: Path, key: VideoKey, plan: Plan) -> None:
    video = Video(key, plan.size)
    boxed = plan.is_boxed(key.video)
    number = 0
    for shot in range(plan.shots):
        shot_folder = folder / "shots" / f"{shot + 1:03d}"
        shot_folder.mkdir(parents=True, exist_ok=True)
        quality = int(np.random.default_rng([key.seed, key.class_index, key.video, shot]).integers(55, 90))
        for i, frame in enumerate(video.shot(shot, plan.frames)):
            number += 1
            path = shot_folder / f"frame{number:04d}.jpg"
            image = Image.fromarray(frame.image)
            image.save(path, "JPEG", quality=quality, subsampling=2, optimize=False, progressive=False)
            boxes = visible_boxes(frame)
            if boxed and i % BOX_EVERY == 0 and boxes:
                save_sticks(path.with_name(f"{path.name}_sticks.mat"), boxes)


def visible_boxes(frame: RenderedFrame) -> list[tuple[int, int, int, int]]:
    """Boxes x0,y0,x1,y1 (inclusive pixels) that just enclose what is visible of each object."""
    boxes = []
    for mask, share in zip(frame.masks, frame.visible_shares, strict=True):
        if share >= MIN_VISIBLE:
            rows, columns = np.nonzero(mask)
            boxes.append((int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())))
    return boxes


def save_sticks(path: Path, boxes: Sequence[Sequence[float]]) -> None:
    """Save boxes as v1.0 does: variable ``coor``, a cell array of 1x4 boxes; the header carries no date."""
    cells = np.empty((1, len(boxes)), dtype=object)
    for i, box in enumerate(boxes):
        cells[0, i] = np.asarray(box, np.float64).reshape(1, 4)
    import scipy.io

    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"coor": cells})
    path.write_bytes(_MAT_HEADER.ljust(116) + buffer.getvalue()[116:])
