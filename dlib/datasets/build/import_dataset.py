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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath

from tqdm import tqdm

from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.annotations import Annotations
from dlib.datasets.build.folds import Item, check_name, write_folds, write_if_changed
from dlib.datasets.build.import_one import Imported, Options, import_video
from dlib.datasets.names import is_litter, natural_key
from dlib.datasets.videos import PICTURE_SUFFIXES, VIDEO_SUFFIXES, UnusableVideo, is_picture
from dlib.utils.errors import UserError

NAMES_FILE = "videos.csv"
MAX_NAME = 100  # bytes of a folder's name: a frame's id, which has class, video and shot, becomes a file name elsewhere
_UNBOXED_PER_SHOT = 5  # frames that a validation or test video without boxes gives, for classification
_LABEL_SUFFIXES = (".txt", ".xml", ".json", ".csv", ".yaml", ".names", ".data")  # may be beside videos


def find_videos(folder: Path, notes: list[str], above: tuple[Path, ...] = ()) -> list[Path]:
    """Video files and folders of frames in ``folder`` and the folders in it, in natural order.

    Args:
        notes: what is left out is added here, with the reason.
        above: the folders that ``folder`` was found in, with links followed.
    """
    above = (*above, folder.resolve())
    found: list[Path] = []
    left: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        suffix = path.suffix.lower()
        if is_litter(path.name):
            continue
        if path.is_dir():
            if _is_frames(path):
                found.append(path)
                notes += _left_in_frames(path)
            elif path.resolve() not in above:  # a link to a folder above would never end
                found += find_videos(path, notes, above)
        elif suffix in VIDEO_SUFFIXES:
            found.append(path)
        elif suffix in PICTURE_SUFFIXES:
            left["pictures", "the frames of a video need a folder of their own, without video files"] += 1
        elif suffix not in _LABEL_SUFFIXES:
            left[f"files {suffix or 'without suffix'}", "not a video format"] += 1
    notes += [f"{folder}: left out {what}: {count} ({reason})" for (what, reason), count in left.items()]
    return found


def _is_frames(folder: Path) -> bool:
    names = [path for path in folder.iterdir() if not is_litter(path.name)]
    return any(map(is_picture, names)) and not any(p.suffix.lower() in VIDEO_SUFFIXES for p in names)


def _left_in_frames(folder: Path) -> list[str]:
    """Notes on files in a folder of frames that are not frames."""
    others = [p for p in folder.iterdir() if not (is_litter(p.name) or is_picture(p))]
    notes = [
        f"{path}: left out, since {folder.name} is a folder of frames; put it beside"
        for path in sorted(p for p in others if p.is_dir())
        if find_videos(path, []) or any(map(is_picture, path.iterdir()))
    ]
    kinds = Counter(
        p.suffix.lower() for p in others if p.is_file() and p.suffix.lower() not in _LABEL_SUFFIXES
    )
    return notes + [
        f"{folder}: left out files {kind or 'without suffix'}: {n} (not a picture format)"
        for kind, n in kinds.items()
    ]


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
            "--boxes: a file of boxes names no video; put it into folders <class>/<video>/ and give the folder above"
            " them"
        )
    used = {name for video in videos if video.boxes for name in annotations.names_of(video.source)}
    lost = sorted(set(annotations.boxes) - used)
    if lost and not used:
        raise UserError(
            f"{src}: no box belongs to a frame of it (the first is of {lost[0]!r}); see doc/data.md"
        )
    write_folds(metadata, classes, splits)
    _write_names(metadata, videos)
    return (
        notes
        + annotations.notes
        + [f"boxes of {name!r}: there is no such video or frame; left out" for name in lost]
    )


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
