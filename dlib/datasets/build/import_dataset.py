"""A dataset from a user's videos: imports all of them and splits each class into train, validation and test.

Beside the folds, ``videos.csv`` says which folder of the dataset is which of the user's videos.
"""

from __future__ import annotations

import csv
import io
import math
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from tqdm import tqdm

from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.annotations import Annotations
from dlib.datasets.build.find_videos import find_videos
from dlib.datasets.build.folds import Item, check_name, write_folds, write_if_changed
from dlib.datasets.build.import_one import Imported, Options, import_video
from dlib.datasets.names import is_litter
from dlib.datasets.videos import VIDEO_SUFFIXES, UnusableVideo, is_picture
from dlib.utils.errors import UserError

NAMES_FILE = "videos.csv"
MAX_NAME = 100  # bytes of a folder's name: a frame's id, which has class, video and shot, becomes a file name elsewhere
_UNBOXED_PER_SHOT = 5  # frames per shot that a validation or test video without boxes gives, for classification


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
    Returns: notes on what was left out or fixed.
    Raises UserError if a class has fewer than three usable videos, or a box does not fit its frame.
    """
    notes: list[str] = []
    found = _find_classes(src, notes)
    classes = list(found)
    annotations = annotations or Annotations()
    videos = _import_all(src, dst, found, options, annotations, workers, notes)
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
    if "" in annotations.boxes:
        raise UserError(
            "--boxes: a file of boxes names no video; put it into folders <class>/<video>/ and give the folder above them"
        )
    used = {name for video in videos if video.boxes for name in annotations.names_of(video.source)}
    lost = sorted(set(annotations.boxes) - used)
    if lost and not used:
        raise UserError(
            f"{src}: no box belongs to a frame of it (the first is of {lost[0]!r}); see doc/data.md"
        )
    write_folds(metadata, classes, splits)
    _write_names(metadata, videos)
    return notes + annotations.notes + [f"boxes of {name!r}: there is no such video or frame; left out" for name in lost]


def split_videos(videos: list[Imported], shares: tuple[float, float], seed: str) -> dict[str, list[Imported]]:
    """Split a class's videos, three or more: videos with boxes go first to test and validation, in turn."""
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
    src: Path,
    dst: Path,
    found: dict[str, list[Path]],
    options: Options,
    annotations: Annotations,
    workers: int,
    notes: list[str],
) -> list[Imported]:
    """Import in parallel; unusable videos give notes."""
    jobs = []
    for label, (name, paths) in enumerate(found.items()):
        taken: set[str] = set()
        for path in paths:
            inside = path.relative_to(src / name)
            folder = f"{name}/data/{folder_name(inside, path.is_dir(), taken)}"
            jobs.append((path, label, f"{name}/{inside.as_posix()}", folder))
    annotations.know_videos([source for _, _, source, _ in jobs])

    def run(job: tuple[Path, int, str, str]) -> Imported | str:
        try:
            return import_video(*job, dst, options, annotations)
        except UnusableVideo as error:
            return f"{job[0]}: {error}; left out"

    videos = []
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
    return videos


def _find_classes(src: Path, notes: list[str]) -> dict[str, list[Path]]:
    """The videos of each class, in alphabetical order of the classes."""
    if not src.is_dir():
        raise UserError(f"{src}: no such folder; --src holds a folder of videos for each class")
    found = {}
    for path in sorted(src.iterdir()):
        if path.is_dir() and not is_litter(path.name):
            videos = find_videos(path, notes)
            if videos:
                found[check_name(src, path.name)] = videos
            else:
                notes.append(f"{path}: no video in it; left out")
        elif is_picture(path) or (path.suffix.lower() in VIDEO_SUFFIXES and not is_litter(path.name)):
            notes.append(f"{path}: left out; put it into the folder of its class")
    if not found:
        reasons = "".join(f"; {note}" for note in notes[:3])
        raise UserError(
            f"{src}: no videos in its folders; expected {src}/<class>/<video>.mp4 or folders of frames{reasons}"
        )
    for name in found:
        if len(os.fsencode(name)) > MAX_NAME:
            raise UserError(f"{src / name}: a class's name may have {MAX_NAME} bytes; rename the folder")
    return found


def folder_name(inside: PurePath, is_folder: bool, taken: set[str]) -> str:
    """A folder name for a video, of plain characters, at most ``MAX_NAME`` bytes and not in ``taken``.

    Args:
        inside: path of the video in its class's folder.
        taken: names, in lower case; the new one is added.
    """
    text = "_".join((inside if is_folder else inside.with_suffix("")).parts)
    stem = re.sub(r"[^\w.-]+", "_", text).strip(".") or "video"
    name, count = _cut(stem, MAX_NAME), 1
    while name.lower() in taken:
        count += 1
        name = _cut(stem, MAX_NAME - len(f"-{count}")) + f"-{count}"
    taken.add(name.lower())
    return name


def _cut(text: str, size: int) -> str:
    """The first characters of a text, as many as fit into ``size`` bytes."""
    return text.encode()[:size].decode(errors="ignore")


def _write_names(metadata: Path, videos: list[Imported]) -> None:
    """The table of folders and the videos that they come from."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("folder", "video"))
    rows.writerows((video.folder, video.source) for video in videos)
    write_if_changed(metadata / NAMES_FILE, text.getvalue().encode(errors="backslashreplace").decode())


def _evaluated(video: Imported) -> list[Item]:
    """The frames with boxes of a validation or test video; without boxes, some of each shot."""
    boxed = [item for item in video.frames() if item.boxes]
    if boxed:
        return boxed
    frames = {item.id: item for item in video.frames()}
    chosen = []
    for shot, names in video.shots.items():
        step = math.ceil(len(names) / _UNBOXED_PER_SHOT)
        chosen += [frames[f"{shot}/{name}"] for name in list(names)[step // 2 :: step]]
    return chosen
