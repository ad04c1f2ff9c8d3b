"""Boxes that users bring for their own videos: CSV, COCO JSON or YOLO text files.

All name a frame by its video, ``<class>/<video>`` (the file's or folder's name, with or without suffix), and by the
frame: its index from 0 in a video file, the picture's name (or index) in a folder of frames.
"""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from dlib.datasets.videos import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Frame
from dlib.utils.errors import UserError

_MAX_PIXELS = 1e7  # of a coordinate

# Frame key -> boxes; true: in fractions of the frame, false: in pixels of the original frame.
FrameBoxes = dict[str, list[tuple[list[float], bool]]]


@dataclass
class Annotations:
    """Boxes x0,y0,x1,y1 by video (as the file of boxes names it) and frame.

    ``alike`` has the videos' names by key, that is without suffix; ``twins`` the keys that are of several videos.
    """

    boxes: dict[str, FrameBoxes] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    alike: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    twins: set[str] = field(default_factory=set)

    def add(self, video: str, frame: str, box: list[float], relative: bool) -> None:
        """Add one box of frame ``frame`` (index or name) of ``<class>/<video>``."""
        name = _video_name(video)
        if name not in self.boxes:
            self.alike[_video_key(video)].append(name)
        self.boxes[name][_frame_key(frame)].append((box, relative))

    def know_videos(self, videos: Iterable[str]) -> None:
        """From now on, boxes of two videos like ``dog/a.mp4`` and ``dog/a.avi`` are told apart by the suffix.

        Raises UserError for boxes that could be of either.
        """
        known = defaultdict(list)
        for video in videos:
            known[_video_key(video)].append(video)
        for key, alike in known.items():
            if len(alike) > 1:
                self.twins.add(key)
                if key in self.boxes:
                    raise UserError(
                        f"boxes of {key!r}: could be of {' or '.join(alike)}; "
                        "add the suffix in the file of boxes, or rename one of the videos"
                    )

    def names_of(self, video: str) -> list[str]:
        """The names among the boxes' videos that mean this video."""
        name, key = _video_name(video), _video_key(video)
        if key in self.twins:
            return [name] if name in self.boxes else []
        return self.alike.get(key, [])

    def of_video(self, video: str) -> FrameBoxes:
        """Boxes of a video by frame key; empty if it has none."""
        found: FrameBoxes = {}
        for name in self.names_of(video):
            for frame, boxes in self.boxes[name].items():
                found[frame] = found.get(frame, []) + boxes
        return found


@dataclass(frozen=True)
class VideoBoxes:
    """Boxes of one video, whose frames are named in one way: all by the pictures' names, or all by index."""

    found: FrameBoxes
    by_index: bool

    @classmethod
    def of(cls, found: FrameBoxes, names: Sequence[str]) -> VideoBoxes:
        """
        Args:
            found: boxes by frame key.
            names: of the pictures in a folder of frames. The index counts only if no box is of one of them: boxes of
                000001.jpg, 000002.jpg, … are not those of the frames 1, 2, …, counted from 0.
        """
        return cls(found, found.keys().isdisjoint(map(_frame_key, names)))

    def of_frame(self, frame: Frame) -> list[list[float]]:
        """Boxes of a frame in its pixels."""
        height, width = frame.image.shape[:2]
        scale = (width, height, width, height)
        key = str(frame.index) if self.by_index else _frame_key(frame.name)
        return [
            [v * s for v, s in zip(box, scale, strict=True)] if relative else box
            for box, relative in self.found.get(key, ())
        ]


def read_annotations(path: Path) -> Annotations:
    """Read ``path``: a .csv file, a COCO .json file, or a folder of YOLO .txt files.

    Raises UserError naming file and line (or entry) of what cannot be understood.
    """
    annotations = Annotations()
    if path.is_dir():
        _read_yolo(path, annotations)
    elif path.suffix.lower() == ".csv":
        _read_csv(path, annotations)
    elif path.suffix.lower() == ".json":
        _read_coco(path, annotations)
    else:
        raise UserError(
            f"{path}: boxes come from a .csv file, a COCO .json file or a folder of YOLO .txt files"
        )
    if not annotations.boxes:
        raise UserError(f"{path}: no box found in it")
    return annotations


def _read_csv(path: Path, annotations: Annotations) -> None:
    """Header ``video,frame,x0,y0,x1,y1``: pixels of the original frame, corners included."""
    needed = ("video", "frame", "x0", "y0", "x1", "y1")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: the header lacks {missing[0]!r}; it must name {','.join(needed)}")
            for row in reader:
                box = _numbers([row[name] for name in needed[2:]], f"{path}, line {reader.line_num}")
                if not row["video"] or not row["frame"]:
                    raise UserError(f"{path}, line {reader.line_num}: video or frame is empty")
                annotations.add(row["video"], row["frame"], box, relative=False)
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: {error}") from error


def _read_coco(path: Path, annotations: Annotations) -> None:
    """``images`` with id, file_name ``<class>/<video>/<frame>.jpg``, width, height; ``annotations`` with bbox."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images = {image["id"]: image for image in content["images"]}
        entries = list(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: no COCO file with 'images' and 'annotations' ({error!r})") from error
    for entry in entries:
        where = f"{path}, annotation {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        try:
            image = images[entry["image_id"]]
            name, width, height = (
                PurePosixPath(image["file_name"]),
                float(image["width"]),
                float(image["height"]),
            )
            if not (1 <= width < _MAX_PIXELS and 1 <= height < _MAX_PIXELS):
                raise ValueError(f"a picture of {width:g}x{height:g} pixels")
            x, y, w, h = _numbers(entry["bbox"], where)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{where}: image_id, bbox, or its image's file_name, width, height is wrong"
            ) from error
        box = [x / width, y / height, (x + w) / width, (y + h) / height]
        annotations.add(name.parent.as_posix(), name.name, box, relative=True)


def _read_yolo(folder: Path, annotations: Annotations) -> None:
    """``<class>/<video>/<frame>.txt``, each line: number of the class (ignored), centre x, y, width, height in 0..1."""
    for path in sorted(folder.rglob("*.txt")):
        name = path.relative_to(folder)
        if len(name.parts) < 3:
            continue  # lists of classes and the like lie at the top
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            raise UserError(f"{path}: {error}") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                fields = line.split()
                if len(fields) not in (5, 6):
                    raise UserError(f"{path}, line {number}: expected 5 numbers (class, x, y, width, height)")
                x, y, w, h = _numbers(fields[1:5], f"{path}, line {number}")
                box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
                annotations.add(name.parent.as_posix(), name.stem, box, relative=True)


def _numbers(values: Any, where: str) -> list[float]:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: expected four numbers, got {values!r}") from error
    if len(numbers) != 4 or not all(abs(v) < _MAX_PIXELS for v in numbers):
        raise UserError(f"{where}: expected four numbers, got {values!r}")
    return numbers


def _video_name(video: str) -> str:
    """``<class>/<video>`` as it stands there."""
    return PurePosixPath(*PurePosixPath(video.strip().replace("\\", "/")).parts[-2:]).as_posix()


def _video_key(video: str) -> str:
    """``<class>/<video>`` without a video file's suffix."""
    path = PurePosixPath(_video_name(video))
    return (path.with_suffix("") if path.suffix.lower() in VIDEO_SUFFIXES else path).as_posix()


def _frame_key(frame: str) -> str:
    """A frame's number without leading zeros (also of names like frame_0012.png), or its picture's name."""
    text = frame.strip()
    if PurePosixPath(text).suffix.lower() in PICTURE_SUFFIXES:
        text = PurePosixPath(text).stem
    numbered = re.fullmatch(r"(?:frame|image|img)?[ _-]?0*([0-9]+)", text, re.IGNORECASE)
    return numbered[1] if numbered else text
