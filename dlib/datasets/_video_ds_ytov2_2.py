"""YouTube-Objects v2.2: reformat the original frames into videos and shots, and write the folds.

``python -m dlib.datasets._video_ds_ytov2_2 --src ORIGINAL --dst datasets/YouTube-Objects-v2.2``

Reads ``<class>/NNNNNNNN.jpg``, ``Ranges/ranges_<class>.mat`` (first frame, last frame and video of each shot) and
``GroundTruth/<class>/bb_gt{Training,Test}_<class>.mat``; writes ``<class>/video-VVVV/shot-SSSSSS/NNNNNNNN.jpg``.
Videos without annotation belong to no split and are left out.
"""

from __future__ import annotations

import os
import re
import sys
from bisect import bisect_left, bisect_right
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.builder import Built, builder_command, demo_items, place_files
from dlib.datasets.build.folds import Item, check_name, checked_box, image_size, without_negatives
from dlib.datasets.build.matfiles import load_variable, read_frame_boxes
from dlib.utils.errors import UserError

KNOWN = {TRAIN: (1289, 0), VAL: (1177, 1177), TEST: (1781, 2667)}  # items and boxes
VAL_VIDEOS = 3  # per class
_MAX_VIDEO = 10**6
_FRAME = re.compile(r"([0-9]{8})\.jpg", re.IGNORECASE)


@dataclass(frozen=True)
class ClassFrames:
    """The frames of one class and the shots that they belong to."""

    name: str
    files: dict[int, str]  # frame number -> file name
    shot_of: dict[int, int]  # frame number -> shot, for the frames that exist
    video_of: list[int]  # shot -> video

    def frame_id(self, frame: int) -> str:
        shot = self.shot_of[frame]
        return f"{self.shot_id(shot)}/{frame:08d}.jpg"

    def shot_id(self, shot: int) -> str:
        return f"{self.name}/video-{self.video_of[shot]:04d}/shot-{shot:06d}"


def build(src: Path, dst: Path, copy: bool, workers: int) -> Built:
    """Link or copy the frames of the annotated videos to ``dst``, and find the splits.

    Returns: class names, items of each split, and notes on what was left out or is ambiguous.
    Raises UserError naming the file that is missing or broken.
    """
    if src.resolve() == dst.resolve():
        raise UserError(f"--dst {dst}: must be another folder than --src")
    notes: list[str] = []
    classes = find_classes(src, notes)
    splits: dict[str, list[Item]] = {TRAIN: [], VAL: [], TEST: [], VIDEO_DEMO: []}
    for label, name in enumerate(classes):
        frames = read_frames(src, name)
        boxes = {
            TRAIN: read_boxes(src, frames, "Training", notes),
            TEST: read_boxes(src, frames, "Test", notes),
        }
        videos = {split: videos_in_order(frames, found) for split, found in boxes.items()}
        for video in sorted(set(videos[TRAIN]) & set(videos[TEST])):
            notes.append(f"{name}: video {video} has training and test boxes; used for test")
            videos[TRAIN].remove(video)
        validation = videos[TRAIN][:VAL_VIDEOS]
        train = set(videos[TRAIN][VAL_VIDEOS:])
        if not train:
            raise UserError(
                f"{src / name}: only {len(validation)} annotated train videos; more than 3 are needed"
            )
        train_shots = sorted({shot for shot in frames.shot_of.values() if frames.video_of[shot] in train})
        splits[TRAIN] += [Item(frames.shot_id(shot), label) for shot in train_shots]
        with ThreadPoolExecutor(workers) as pool:
            for split, chosen, found in ((VAL, validation, boxes[TRAIN]), (TEST, videos[TEST], boxes[TEST])):
                splits[split] += boxed_items(src, frames, chosen, found, label, pool)
            shots = shots_of(src, frames, set(videos[TEST]))
            splits[VIDEO_DEMO] += demo_items(shots, label, splits[TEST], pool)
        used = {*videos[TRAIN], *videos[TEST]}
        kept = [f for f, shot in frames.shot_of.items() if frames.video_of[shot] in used]
        pairs = ((src / name / frames.files[f], dst / frames.frame_id(f)) for f in kept)
        place_files(pairs, copy, workers, f"{name}: frames")
    return classes, splits, notes


def find_classes(src: Path, notes: list[str]) -> list[str]:
    """Class names, in alphabetical order: those with a file in Ranges and a folder of frames."""
    ranges = (src / "Ranges").glob("ranges_*.mat")
    names = sorted(path.stem.removeprefix("ranges_") for path in ranges)
    found = [check_name(src, name) for name in names if (src / name).is_dir()]
    if not found:
        lacking = "folder <class> of frames" if names else "file Ranges/ranges_<class>.mat"
        raise UserError(f"{src}: no {lacking} in it; --src is the folder of all unpacked archives")
    notes += [f"{name}: has no folder of frames; left out" for name in names if name not in found]
    return found


def read_frames(src: Path, name: str) -> ClassFrames:
    """List a class's frames and assign each to its shot; of two shots with the same frame the later one wins."""
    matches = map(_FRAME.fullmatch, os.listdir(src / name))
    files = {int(match[1]): match[0] for match in matches if match}
    path = src / "Ranges" / f"ranges_{name}.mat"
    try:
        rows = np.asarray(load_variable(path, "ranges"), np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: 'ranges' is not a matrix of numbers; get it again") from error
    if rows.ndim != 2 or 3 not in rows.shape or not np.isfinite(rows).all():
        raise UserError(f"{path}: 'ranges' has shape {rows.shape}, expected one row of 3 numbers per shot")
    if rows.shape[1] != 3:
        rows = rows.T
    if not ((rows[:, 2] >= 0) & (rows[:, 2] < _MAX_VIDEO)).all():
        raise UserError(f"{path}: 'ranges' has a video whose number is not in 0..{_MAX_VIDEO}; get it again")
    numbers = sorted(files)
    shot_of = {}
    for shot, (first, last, _) in enumerate(rows.tolist()):
        for frame in numbers[bisect_left(numbers, first) : bisect_right(numbers, last)]:
            shot_of[frame] = shot
    return ClassFrames(name, files, shot_of, rows[:, 2].astype(np.int64).tolist())


def read_boxes(src: Path, frames: ClassFrames, part: str, notes: list[str]) -> dict[int, list[list[float]]]:
    """Boxes of the annotated frames, by frame number, in the file's order."""
    path = src / "GroundTruth" / frames.name / f"bb_gt{part}_{frames.name}.mat"
    found: dict[int, list[list[float]]] = {}
    for key, boxes in read_frame_boxes(path, f"bb_gt{part}"):
        digits = re.fullmatch(rf"(?:{re.escape(frames.name)})?([0-9]+)(?:\.jpg)?", key)
        if digits is None or int(digits[1]) not in frames.shot_of:
            raise UserError(
                f"{path}: frame {key!r} is in no shot of {src / frames.name}; unpack the archives again"
            )
        if boxes:
            found.setdefault(int(digits[1]), []).extend(boxes)
        else:
            notes.append(f"{path.name}: {key} has no box; left out")
    return found


def videos_in_order(frames: ClassFrames, boxes: dict[int, list[list[float]]]) -> list[int]:
    """The videos of the annotated frames in the order of appearance."""
    return list(dict.fromkeys(frames.video_of[frames.shot_of[frame]] for frame in boxes))


def boxed_items(
    src: Path,
    frames: ClassFrames,
    videos: list[int],
    boxes: dict[int, list[list[float]]],
    label: int,
    pool: ThreadPoolExecutor,
) -> list[Item]:
    """The lines of the frames with boxes of some videos: boxes as annotated, but negative values become 0."""
    chosen = [f for f in boxes if frames.video_of[frames.shot_of[f]] in set(videos)]
    paths = [src / frames.name / frames.files[frame] for frame in chosen]
    items = []
    for frame, size in zip(chosen, pool.map(image_size, paths), strict=True):
        name = frames.frame_id(frame)
        annotated = tuple(checked_box(without_negatives(box), size, name) for box in boxes[frame])
        items.append(Item(name, label, size, annotated))
    return items


def shots_of(src: Path, frames: ClassFrames, videos: set[int]) -> dict[Path, list[str]]:
    """Ids of the frames of each shot of the test videos, by the file of the shot's first frame."""
    shots: dict[int, list[int]] = defaultdict(list)
    for frame in sorted(frames.shot_of):
        if frames.video_of[frames.shot_of[frame]] in videos:
            shots[frames.shot_of[frame]].append(frame)
    return {
        src / frames.name / frames.files[numbers[0]]: [frames.frame_id(frame) for frame in numbers]
        for numbers in shots.values()
    }


parser, main = builder_command("build-v2", __doc__, build, KNOWN)

if __name__ == "__main__":
    sys.exit(main())
