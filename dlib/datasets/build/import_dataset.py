"""A dataset of a user's videos: all of them imported, each class's split into train, validation and test."""

from __future__ import annotations

import math
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.annotations import Annotations
from dlib.datasets.build.folds import Item, check_name, write_folds
from dlib.datasets.build.import_one import Imported, Options, import_video
from dlib.datasets.videos import UnusableVideo, find_videos
from dlib.utils.errors import UserError

_UNBOXED_PER_SHOT = 5  # frames that a validation or test video without boxes gives per shot, to classify


def import_videos(
    src: Path,
    dst: Path,
    metadata: Path,
    options: Options,
    annotations: Annotations | None = None,
    shares: tuple[float, float] = (0.2, 0.2),
    seed: int = 0,
    workers: int = 1,
) -> list[str]:
    """Import all videos below ``src`` and write the folds.

    Args:
        shares: of each class's videos for validation and for test (at least one each).
        seed: of the split.
    Returns: notes on what was left out or mended.
    Raises UserError if a class has fewer than three usable videos, or a box does not fit its frame.
    """
    classes = _find_classes(src)
    annotations = annotations or Annotations()
    videos, notes = _import_all(src, dst, classes, options, annotations, workers)
    splits: dict[str, list[Item]] = {TRAIN: [], VAL: [], TEST: [], VIDEO_DEMO: []}
    for label, name in enumerate(classes):
        mine = [video for video in videos if video.label == label]
        if len(mine) < 3:
            reasons = "".join(f"; {note}" for note in notes)
            raise UserError(f"{src / name}: {len(mine)} usable videos; a class needs at least 3{reasons}")
        parts = split_videos(mine, shares, f"{seed}/{name}")
        splits[TRAIN] += [Item(shot, label) for video in parts[TRAIN] for shot in video.shots]
        for split in (VAL, TEST):
            splits[split] += [item for video in parts[split] for item in _evaluated(video)]
        splits[VIDEO_DEMO] += [item for video in parts[TEST] for item in video.frames()]
    used = {name for video in videos if video.boxes for name in annotations.names_of(video.source)}
    lost = sorted(set(annotations.boxes) - used)
    if lost and not used:
        raise UserError(
            f"{src}: no box belongs to a frame of it (the first is of {lost[0]!r}); see doc/data.md"
        )
    write_folds(metadata, classes, splits)
    return notes + [f"boxes of {name!r}: there is no such video or frame; left out" for name in lost]


def split_videos(videos: list[Imported], shares: tuple[float, float], seed: str) -> dict[str, list[Imported]]:
    """Distribute a class's videos, three or more: those with boxes go to test and validation first, in turns."""
    order = sorted(videos, key=lambda video: video.folder)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda video: not video.boxes)  # stable: shuffled, boxed ones first
    wanted = {VAL: max(1, round(shares[0] * len(order))), TEST: max(1, round(shares[1] * len(order)))}
    while sum(wanted.values()) > len(order) - 1:
        wanted[max(wanted, key=lambda split: wanted[split])] -= 1
    parts: dict[str, list[Imported]] = {TRAIN: [], VAL: [], TEST: []}
    for video in order:
        unfilled = [split for split in (TEST, VAL) if len(parts[split]) < wanted[split]]
        parts[min(unfilled, key=lambda s: len(parts[s])) if unfilled else TRAIN].append(video)
    return parts


def _import_all(
    src: Path, dst: Path, classes: list[str], options: Options, annotations: Annotations, workers: int
) -> tuple[list[Imported], list[str]]:
    """Import in parallel; unusable videos become notes."""
    jobs = []
    for label, name in enumerate(classes):
        taken: set[str] = set()
        for path in find_videos(src / name):
            jobs.append((path, label, f"{name}/data/{_free_name(path, taken)}"))
    annotations.know_videos(f"{path.parent.name}/{path.name}" for path, _, _ in jobs)

    def run(job: tuple[Path, int, str]) -> Imported | str:
        try:
            return import_video(*job, dst, options, annotations)
        except UnusableVideo as error:
            return f"{job[0]}: {error}; left out"

    videos, notes = [], []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for result in tqdm(pool.map(run, jobs), total=len(jobs), desc="videos", unit="video"):
                if isinstance(result, str):
                    notes.append(result)
                else:
                    videos.append(result)
                    notes += result.notes
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return videos, notes


def _find_classes(src: Path) -> list[str]:
    if not src.is_dir():
        raise UserError(f"{src}: no such folder; --src holds a folder of videos for each class")
    names = sorted(path.name for path in src.iterdir() if path.is_dir() and not path.name.startswith("."))
    names = [name for name in names if find_videos(src / name)]
    if not names:
        raise UserError(
            f"{src}: no videos in its folders; expected {src}/<class>/<video>.mp4 or folders of frames"
        )
    return [check_name(src, name) for name in names]


def _free_name(path: Path, taken: set[str]) -> str:
    """A folder name for a video, made of plain characters and not in ``taken``, where it is added."""
    stem = re.sub(r"[^\w.-]+", "_", path.name if path.is_dir() else path.stem).strip(".") or "video"
    name, count = stem, 1
    while name.lower() in taken:
        count += 1
        name = f"{stem}-{count}"
    taken.add(name.lower())
    return name


def _evaluated(video: Imported) -> list[Item]:
    """The boxed frames of a validation or test video; without boxes, some of each shot."""
    boxed = [item for item in video.frames() if item.boxes]
    if boxed:
        return boxed
    frames = {item.id: item for item in video.frames()}
    chosen = []
    for shot, names in video.shots.items():
        step = math.ceil(len(names) / _UNBOXED_PER_SHOT)
        chosen += [frames[f"{shot}/{name}"] for name in list(names)[step // 2 :: step]]
    return chosen
