"""YouTube-Objects v1.0 (and any dataset with its layout): frames and folds from the original archives.

``python -m dlib.datasets._video_ds_ytov1_0 --src ORIGINAL --dst datasets/YouTube-Objects-v1.0``

Reads ``<class>/data/<video>/shots/<shot>/frameNNNN.jpg``, boxes in ``frameNNNN.jpg_sticks.mat``, and the official
split of the videos in ``<class>/sets/{train,test}.txt``. Class ids follow the alphabetical order.
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.builder import Built, builder_command, demo_items, place_files
from dlib.datasets.build.folds import Box, Item, check_name, checked_box, image_size, without_negatives
from dlib.datasets.build.matfiles import read_sticks
from dlib.utils.errors import UserError

STICKS = "_sticks.mat"
KNOWN = {TRAIN: (2768, 0), VAL: (325, 347), TEST: (346, 396)}  # items and boxes
# The two known faults of the annotation.
SWAPPED_X = "horse/data/0004/shots/055/frame0020.jpg"
TOO_WIDE = "boat/data/0006/shots/026/frame0001.jpg"
VAL_VIDEOS = 5  # per class
VAL_SHUFFLES, TRAIN_SHUFFLES = 1000, 10_000


@dataclass
class Video:
    """One video folder: the frames of its shots, in name order, and the frames with boxes."""

    folder: Path  # relative to the source
    shots: dict[str, list[str]] = field(default_factory=dict)  # shot id -> names of its frames
    boxed: list[str] = field(default_factory=list)  # frame ids


def build(src: Path, dst: Path, copy: bool, workers: int) -> Built:
    """Link or copy the frames of ``src`` to ``dst``, and find the splits.

    Returns: class names, items of each split, and notes on annotations that were repaired.
    Raises UserError naming the file that is missing or broken.
    """
    classes = find_classes(src)
    splits: dict[str, list[Item]] = {TRAIN: [], VAL: [], TEST: [], VIDEO_DEMO: []}
    notes: list[str] = []
    with ThreadPoolExecutor(workers) as pool:
        for label, name in enumerate(classes):
            parts = {
                s: list(pool.map(lambda f: scan_video(src, f), official_videos(src, name, s)))
                for s in (TRAIN, TEST)
            }
            validation = validation_videos([v for v in parts[TRAIN] if v.boxed], label)
            chosen = {v.folder for v in validation}
            rest = [v for v in parts[TRAIN] if v.folder not in chosen]
            if not any(v.shots for v in rest):
                raise UserError(
                    f"{src / name}: no video is left for training; add train videos without boxes"
                )
            splits[TRAIN] += [Item(shot, label) for v in rest for shot in v.shots]
            for split, videos in ((VAL, validation), (TEST, parts[TEST])):
                boxed = [frame for v in videos for frame in v.boxed]
                for item, found in pool.map(partial(boxed_item, src, label), boxed):
                    splits[split].append(item)
                    notes += found
            shots = {
                src / shot / names[0]: [f"{shot}/{name}" for name in names]
                for video in parts[TEST]
                for shot, names in video.shots.items()
            }
            splits[VIDEO_DEMO] += demo_items(shots, label, splits[TEST], pool)
            used = (shot for video in parts[TRAIN] + parts[TEST] for shot in video.shots.items())
            pairs = ((src / shot / frame, dst / shot / frame) for shot, names in used for frame in names)
            place_files(pairs, copy, workers, f"{name}: frames")
    shuffle(splits[TRAIN], seed=0, times=TRAIN_SHUFFLES)
    return classes, splits, notes


def find_classes(src: Path) -> list[str]:
    """Names of the class folders of ``src``, in alphabetical order."""
    folders = sorted(path.name for path in src.iterdir() if (path / "data").is_dir()) if src.is_dir() else []
    if not folders:
        raise UserError(f"{src}: no folder <class>/data in it; --src is the folder of the unpacked archives")
    return [check_name(src, name) for name in folders]


def official_videos(src: Path, name: str, split: str) -> list[Path]:
    """Folders, relative to ``src``, of the videos that ``<class>/sets/<split>.txt`` lists, in path order."""
    listing = src / name / "sets" / f"{split}.txt"
    try:
        lines = listing.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{listing}: {error.strerror}; unpack the archive of class {name} again") from error
    present = {path.name for path in (src / name / "data").iterdir() if path.is_dir()}
    videos = set()
    for number, line in enumerate(lines, start=1):
        words = line.replace("/", " ").replace("\\", " ").split()
        if not words:
            continue
        named = [word for w in words for word in (w, w.zfill(4)) if word in present]
        if not named:
            raise UserError(
                f"{listing}, line {number}: there is no video {line.strip()!r} in {src / name / 'data'}"
            )
        videos.add(named[0])
    return [Path(name, "data", video) for video in sorted(videos)]


def scan_video(src: Path, folder: Path) -> Video:
    """List the frames and annotated frames of one video; shots without frames are left out."""
    video = Video(folder)
    shots = src / folder / "shots"
    for shot in sorted(path for path in shots.iterdir() if path.is_dir()) if shots.is_dir() else ():
        names = sorted(path.name for path in shot.iterdir())
        frames = [name for name in names if name.lower().endswith(".jpg")]
        shot_id = shot.relative_to(src).as_posix()
        if frames:
            video.shots[shot_id] = frames
        for name in names:
            if name.endswith(STICKS):
                frame = name.removesuffix(STICKS)
                if frame not in frames:
                    raise UserError(f"{shot / name}: its frame {frame} is missing; unpack the archive again")
                video.boxed.append(f"{shot_id}/{frame}")
    return video


def shuffle(items: list, seed: int, times: int) -> None:
    """Shuffle in place ``times`` times with Python's ``random``, seeded once, as the protocol does."""
    rng = random.Random(seed)
    for _ in range(times):
        rng.shuffle(items)


def validation_videos(boxed: list[Video], label: int) -> list[Video]:
    """The protocol's choice among a class's train videos with boxes: the first five after 1000 shuffles."""
    order = sorted(boxed, key=lambda video: video.folder.as_posix())
    shuffle(order, seed=label, times=VAL_SHUFFLES)
    return sorted(order[:VAL_VIDEOS], key=lambda video: video.folder.as_posix())


def boxed_item(src: Path, label: int, frame: str) -> tuple[Item, list[str]]:
    """The line of a frame with boxes, and notes on repairs of its boxes."""
    sticks = src / f"{frame}{STICKS}"
    boxes = read_sticks(sticks)
    if not boxes:
        raise UserError(f"{sticks}: has no box; remove the file or get it again")
    notes: list[str] = []
    size = image_size(src / frame)
    repaired = [repair_box(box, size, frame, notes) for box in boxes]
    return Item(frame, label, size, tuple(checked_box(box, size, frame) for box in repaired)), notes


def repair_box(box: list[float], size: tuple[int, int], frame: str, notes: list[str]) -> Box:
    """The box as annotated, except that negative values become 0 and two known faults are fixed, with a note."""
    x0, y0, x1, y1 = without_negatives(box)
    if frame == SWAPPED_X and x1 < x0:
        notes.append(f"{frame}: the box's x values were swapped")
        x0, x1 = x1, x0
    if frame == TOO_WIDE and x1 > size[0]:
        notes.append(f"{frame}: the box ended at x = {x1:g}, beyond the frame of {size[0]}x{size[1]}")
        x1 = size[0] - 1.0
    return (x0, y0, x1, y1)


parser, main = builder_command("build-v1", __doc__, build, KNOWN)

if __name__ == "__main__":
    sys.exit(main())
