"""The input of localization: a video file, a folder of frames, one picture, a camera."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2

from dlib.datasets.images import read_upright, rgb_array
from dlib.datasets.names import is_litter, natural_key
from dlib.datasets.videos import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    Frame,
    UnusableVideo,
    VideoReader,
    is_picture,
)
from dlib.utils.errors import UserError

FOLDER_RATE = Fraction(10)  # frames per second of a folder of frames
_CAMERA_RATE = Fraction(25)  # of a camera that does not give its own rate
_CAMERAS = 2**31  # numbers that OpenCV takes

__all__ = ["Frame", "Source", "open_source", "videos_of"]


@dataclass
class Source:
    """Frames one after the other, once."""

    name: str  # for messages
    kind: str  # video, folder, image or camera
    rate: Fraction  # frames per second
    count: int | None  # number of frames, if it is known before reading
    files: tuple[Path, ...]  # that are read; empty for a camera
    _frames: Callable[[], Iterator[Frame]]
    # Tells about the frames read so far.
    reader: VideoReader = field(default_factory=lambda: VideoReader(Path()))

    def first(self, count: int) -> Source:
        """The source up to its first ``count`` frames; 0: all. No frame after them is read."""
        if count == 0:
            return self
        known = count if self.count is None else min(self.count, count)
        return replace(self, count=known, _frames=lambda: islice(self._frames(), count))

    def __iter__(self) -> Iterator[Frame]:
        """Raises UserError when nothing can be decoded."""
        try:
            yield from self._frames()
        except UnusableVideo as error:
            raise UserError(f"{self.name}: {error}; give a video, a picture or a folder of frames") from error


@contextmanager
def open_source(source: str | Path | int, rate: Fraction | None = None) -> Iterator[Source]:
    """Open a path or a camera (its number, also as text).

    Args:
        rate: frames per second of a folder of frames; None: 10. Videos and cameras have their own.
    Raises UserError for input that does not exist, or is neither a picture nor a video.
    """
    path = Path(source) if not isinstance(source, int) else None
    exists = path is not None and _exists(path)
    if path is None or (str(source).isdecimal() and not exists):
        with _camera(int(source)) as camera:  # type: ignore[arg-type]
            yield camera
    elif path.is_dir():
        yield _folder(path, rate or FOLDER_RATE)
    elif not path.is_file():
        raise UserError(
            f"{path}: no such file or folder; give a video, a picture, a folder or a camera's number"
        )
    elif path.suffix.lower() in PICTURE_SUFFIXES:
        yield Source(str(path), "image", Fraction(1), 1, (path,), lambda: iter([_picture(path)]))
    else:
        yield _video(path)


def videos_of(folder: Path) -> dict[str, Path]:
    """The videos of a folder at any depth, in the order of their names, by their path in it without suffix.

    Empty for a folder of frames (one that holds a picture itself) and for all that is no folder. Videos whose paths
    differ in the suffix alone keep it.
    """
    # os.path: a name that the file system cannot hold is no folder.
    if not os.path.isdir(folder) or any(is_picture(path) for path in folder.iterdir()):
        return {}
    found = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and path.is_file()
        and not any(map(is_litter, path.relative_to(folder).parts))
    ]
    stems = Counter(path.with_suffix("") for path in found)
    names = {
        (path if stems[path.with_suffix("")] > 1 else path.with_suffix("")).as_posix(): path for path in found
    }
    return {name: folder / names[name] for name in sorted(names, key=natural_key)}


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        name = f"{str(path)[:60]}…" if len(str(path)) > 60 else path
        raise UserError(f"{name}: cannot be read ({error.strerror}); give another input") from error


def _folder(path: Path, rate: Fraction) -> Source:
    reader = VideoReader(path)
    try:
        files = tuple(reader.files())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give another folder") from error
    if not files:
        raise UserError(f"{path}: holds no pictures ({', '.join(PICTURE_SUFFIXES)}); give a folder of frames")

    # A frame's name is the file's without its suffix, if no other file has the same.
    stems, full = Counter(file.stem for file in files), {file.name for file in files}
    longer = {i: f.name for i, f in enumerate(files) if stems[f.stem] > 1 or f.stem in full}

    def frames() -> Iterator[Frame]:
        for frame in reader:
            name = longer.get(frame.index, frame.name)
            yield replace(frame, name=name, time=float(frame.index / rate))

    return Source(str(path), "folder", rate, len(files), files, frames, reader)


def _video(path: Path) -> Source:
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            streams = container.streams.video
            rate = (streams[0].average_rate or streams[0].guessed_rate) if streams else None
            count = (streams[0].frames or None) if streams else None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: not a readable video ({reason}); give another file") from error
    reader = VideoReader(path)
    return Source(str(path), "video", rate or _CAMERA_RATE, count, (path,), lambda: iter(reader), reader)


def _picture(path: Path) -> Frame:
    return Frame(0, path.stem, 0.0, read_upright(path, "give another file"))


@contextmanager
def _camera(number: int) -> Iterator[Source]:
    absent = UserError(f"camera {number} cannot be opened; give another number, or a file")
    if not 0 <= number < _CAMERAS:
        raise absent
    # OpenCV would print its own lines before the message below.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    capture = cv2.VideoCapture(number)
    cv2.utils.logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise absent
        told = capture.get(cv2.CAP_PROP_FPS)
        rate = Fraction(told).limit_denominator(1001) if 1 <= told <= 1000 else _CAMERA_RATE

        def frames() -> Iterator[Frame]:
            start, index = time.perf_counter(), 0
            while (answer := capture.read())[0]:
                image = rgb_array(answer[1][..., ::-1])  # OpenCV's order is blue, green, red
                yield Frame(index, str(index), time.perf_counter() - start, image)
                index += 1

        yield Source(f"camera {number}", "camera", rate, None, (), frames)
    finally:
        capture.release()
