"""Importing one of the user's videos: its frames, sorted into shots, with their boxes."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from dlib.datasets.build.annotations import Annotations, FrameBoxes, boxes_of_frame, named_by_index
from dlib.datasets.build.folds import Item, checked_box, ordered_box, write_if_changed
from dlib.datasets.cuts import CutDetector
from dlib.datasets.videos import Frame, UnusableVideo, VideoReader
from dlib.utils.errors import UserError

_RECORD = "imported.json"
_FORMAT = 4  # increased when the same video and boxes give other frames or other lines than before


@dataclass(frozen=True)
class Options:
    """What the frames of a video depend on, besides the video."""

    fps: float = 10.0  # frames kept per second; 0: all
    short_side: int = 256  # larger frames are made smaller; 0: as they are
    quality: int = 92
    cut_threshold: float = 2.5
    min_shot: int = 4  # in frames of the video


@dataclass
class Imported:
    """One video in the dataset's tree."""

    label: int
    folder: str  # id of the video's folder
    source: str  # <class>/<path of the file or folder in it>
    # Shot id -> frame name -> width, height.
    shots: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    # Frame id -> boxes in the kept frame's pixels.
    boxes: dict[str, list[list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def frames(self) -> list[Item]:
        """All frames with their sizes and boxes, as lines of a split."""
        items = []
        for shot, names in self.shots.items():
            for name, (width, height) in names.items():
                boxes = self.boxes.get(f"{shot}/{name}", [])
                corners = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes)
                items.append(Item(f"{shot}/{name}", self.label, (width, height), corners))
        return items


def import_video(
    path: Path, label: int, source: str, folder: str, dst: Path, options: Options, annotations: Annotations
) -> Imported:
    """Import the video ``path`` into ``dst / folder``, unless it is there with the same source, options and boxes.

    Args:
        source: the video's name, ``<class>/<path in the class's folder>``.
    Raises UnusableVideo if it gives no frame, UserError if a box does not fit its frame.
    """
    record = dst / folder / _RECORD
    boxes = annotations.of_video(source)
    key = _fingerprint(path, options, boxes)
    try:
        stored = json.loads(record.read_text(encoding="utf-8"))
        if stored["key"] == key and stored["video"]["source"] == source:
            return Imported(**{**stored["video"], "label": label})
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not imported yet, or not completely
    shutil.rmtree(dst / folder, ignore_errors=True)
    video = Imported(label, folder, source)
    try:
        _write_frames(path, dst, video, options, boxes)
    except (UnusableVideo, UserError):
        shutil.rmtree(dst / folder, ignore_errors=True)
        raise
    except OSError as error:
        raise UserError(f"{path}: {error}; nothing of it was imported") from error
    write_if_changed(record, json.dumps({"key": key, "video": asdict(video)}))
    return video


def _fingerprint(path: Path, options: Options, boxes: object) -> str:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stamps = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    return json.dumps([_FORMAT, stamps, asdict(options), boxes])


def _write_frames(path: Path, dst: Path, video: Imported, options: Options, found: FrameBoxes) -> None:
    """Decode; keep frames at the wanted rate and all frames with boxes; sort them into shots."""
    flat = dst / video.folder / ".frames"
    flat.mkdir(parents=True)
    cuts = CutDetector(options.cut_threshold, min_length=options.min_shot)
    reader = VideoReader(path)
    by_index = named_by_index(found, reader.names())
    seen: list[int] = []
    sizes: dict[int, list[int]] = {}  # of the kept frames, by index
    boxed: dict[int, list[list[float]]] = {}
    due = -math.inf  # frames are kept on a grid of times, so that a varying frame rate has no effect
    for frame in reader:
        cuts.add(frame.image)
        seen.append(frame.index)
        boxes = boxes_of_frame(found, frame, by_index)
        timely = not options.fps or frame.time >= due - 1e-6
        if timely or boxes:
            sizes[frame.index] = _save(flat / _frame_name(frame.index), frame, options)
            if boxes:
                boxed[frame.index] = _kept_boxes(frame, boxes, sizes[frame.index], video)
        if timely and options.fps:
            due = (math.floor(frame.time * options.fps + 1e-6) + 1) / options.fps
    starts = sorted({0, *(seen[cut] for cut in cuts.cuts()), *reader.restarts, seen[-1] + 1})
    for start, end in itertools.pairwise(starts):
        _place_shot(dst, video, {i: s for i, s in sizes.items() if start <= i < end}, boxed, flat)
    flat.rmdir()
    if reader.damaged:
        video.notes.append(f"{path}: {reader.damaged} frames or packets cannot be decoded; the rest is used")
    video.notes += reader.notes()
    if len(boxed) < len(found):
        lost = len(found) - len(boxed)
        video.notes.append(f"{path}: {lost} frames with boxes are not in it")


def _place_shot(
    dst: Path, video: Imported, sizes: dict[int, list[int]], boxed: dict[int, list[list[float]]], flat: Path
) -> None:
    if not sizes:
        return
    shot = f"{video.folder}/shots/{len(video.shots) + 1:03d}"
    (dst / shot).mkdir(parents=True)
    video.shots[shot] = {_frame_name(index): size for index, size in sizes.items()}
    for index in sizes:
        name = _frame_name(index)
        os.replace(flat / name, dst / shot / name)
        if index in boxed:
            video.boxes[f"{shot}/{name}"] = boxed[index]


def _frame_name(index: int) -> str:
    return f"frame{index:06d}.jpg"


def _save(path: Path, frame: Frame, options: Options) -> list[int]:
    """Write the frame, smaller if it is too large; returns its width and height."""
    image = Image.fromarray(frame.image)
    scale = min(1.0, options.short_side / min(image.size)) if options.short_side else 1.0
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(path, "JPEG", quality=options.quality)
    return list(size)


def _kept_boxes(
    frame: Frame, boxes: list[list[float]], size: list[int], video: Imported
) -> list[list[float]]:
    """Boxes in the pixels of the kept frame; those that reach beyond it stay as they are."""
    height, width = frame.image.shape[:2]
    ratio = (size[0] / width, size[1] / height) * 2
    where = f"{video.source}, frame {frame.name}"
    scaled = [[value * r for value, r in zip(box, ratio, strict=True)] for box in boxes]
    ordered = [ordered_box(box, where, video.notes) for box in scaled]
    return [list(checked_box(box, (size[0], size[1]), where)) for box in ordered]
