"""Boxes that users give for their own videos, and the videos and frames that they belong to.

A frame is named by its video, ``<class>/<video>`` (the file's or folder's name, with or without suffix, also inside a
longer path), and in it by its index from 0 in a video file, the picture's name (or index) in a folder of frames.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from dlib.datasets.videos import PICTURE_SUFFIXES, VIDEO_SUFFIXES, Frame
from dlib.utils.errors import UserError

# Frame key -> boxes x0, y0, x1, y1. false: in pixels of the original frame, both corners inside the box; true: edges in
# fractions of the frame (x, y, x + width, y + height).
FrameBoxes = dict[str, list[tuple[list[float], bool]]]


@dataclass
class Annotations:
    """Boxes x0,y0,x1,y1 by video (as the file of boxes names it) and frame.

    ``notes`` says what was left out of the files of boxes.
    """

    boxes: dict[str, FrameBoxes] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    notes: list[str] = field(default_factory=list)
    _names: dict[str, list[str]] = field(default_factory=dict)  # video -> names among the boxes' that mean it

    def add(self, video: str, frame: str, box: list[float], relative: bool) -> None:
        """Add one box of frame ``frame`` (index or name) of a video: its name or a path with it."""
        parts = PurePosixPath(video.strip().replace("\\", "/")).parts
        self.boxes["/".join(part for part in parts if part not in ("/", "..", "."))][
            _frame_key(frame)
        ].append((box, relative))

    def know_videos(self, videos: Sequence[str]) -> None:
        """Give the videos of the dataset, ``<class>/<path>``, so that names of all boxes are matched with them.

        Raises UserError for boxes that could belong to several videos, such as ``dog/a.mp4`` and ``dog/a.avi``.
        """
        known = defaultdict(list)  # videos by every name, without suffix, that a file of boxes may use
        for video in videos:
            parts = video.split("/")
            for key in {_without_suffix(video), _without_suffix(f"{parts[0]}/{parts[-1]}")}:
                known[key].append(video)
        self._names = defaultdict(list)
        for name in self.boxes:
            if (meant := _video(name, known)) is not None:
                self._names[meant].append(name)

    def names_of(self, video: str) -> list[str]:
        """The names among the boxes' videos that mean this video."""
        return self._names.get(video, [])

    def of_video(self, video: str) -> FrameBoxes:
        """Boxes of a video by frame key; empty if it has none."""
        found: FrameBoxes = {}
        for name in self.names_of(video):
            for frame, boxes in self.boxes[name].items():
                found[frame] = found.get(frame, []) + boxes
        return found


def _video(name: str, known: Mapping[str, list[str]]) -> str | None:
    """The video that a name means: the longest known name in it; of equally long ones the last."""
    parts = name.split("/")
    for length in range(len(parts), 1, -1):
        for start in range(len(parts) - length, -1, -1):
            part = "/".join(parts[start : start + length])
            alike = known.get(_without_suffix(part), [])
            if len(alike) > 1 and _without_suffix(part) != part:
                alike = [v for v in alike if v.split("/")[-1] == part.split("/")[-1]] or alike
                alike = [part] if part in alike else alike
            if len(alike) == 1:
                return alike[0]
            if alike:
                raise UserError(
                    f"boxes of {name!r}: could belong to {' or '.join(alike)}; "
                    "add the suffix or the folder in the file of boxes, or rename one of the videos"
                )
    return None


def named_by_index(found: FrameBoxes, names: Sequence[str]) -> bool:
    """Whether the boxes of a video name its frames by index: only if no box has one of the pictures' ``names``.

    Boxes of 000001.jpg, 000002.jpg, … do not belong to the frames 1, 2, …, counted from 0.
    """
    return found.keys().isdisjoint(map(_frame_key, names))


def boxes_of_frame(found: FrameBoxes, frame: Frame, by_index: bool) -> list[list[float]]:
    """A video's boxes of one frame, in its pixels, both corners inside the box."""
    height, width = frame.image.shape[:2]
    boxes = found.get(str(frame.index) if by_index else _frame_key(frame.name), [])
    return [_last_pixels(box, width, height) if relative else box for box, relative in boxes]


def _last_pixels(edges: Sequence[float], width: int, height: int) -> list[float]:
    """Edges in fractions of a frame as first and last pixels: a box from x on that is w wide ends at x + w - 1."""
    x0, y0, x1, y1 = edges[0] * width, edges[1] * height, edges[2] * width, edges[3] * height
    return [x0, y0, x1 - min(1.0, max(0.0, x1 - x0)), y1 - min(1.0, max(0.0, y1 - y0))]


def _without_suffix(video: str) -> str:
    """The name without a video file's suffix."""
    path = PurePosixPath(video)
    return (path.with_suffix("") if path.suffix.lower() in VIDEO_SUFFIXES else path).as_posix()


def _frame_key(frame: str) -> str:
    """A frame's number without leading zeros (also of names like frame_0012.png), or its picture's name."""
    text = frame.strip()
    if PurePosixPath(text).suffix.lower() in PICTURE_SUFFIXES:
        text = PurePosixPath(text).stem
    numbered = re.fullmatch(r"(?:frame|image|img)?[ _-]?0*([0-9]+)", text, re.IGNORECASE)
    return numbered[1] if numbered else text
