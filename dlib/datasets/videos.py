"""Frames of a user's video, from a video file (PyAV) or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dlib.datasets.images import read_upright, rgb_array
from dlib.datasets.names import is_litter, natural_key
from dlib.utils.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".gif", ".webm", ".m4v", ".mpg", ".mpeg", ".m2v", ".wmv", ".asf"),
    *(".ts", ".mts", ".m2ts", ".flv", ".f4v", ".ogv", ".3gp", ".3g2", ".vob", ".mxf", ".divx"),
)
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_FOLDER_RATE = 10.0  # pictures per second that are assumed for a folder of frames
_UNEVEN = 8  # frames; with less disorder than this, time stamps are those of one recording


class UnusableVideo(Exception):
    """A file that gives no frame; the message says why."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame."""

    index: int  # position in the file, from 0
    name: str  # stem of the picture's file; for video files the index
    time: float  # seconds from the start, never less than the frame's before
    image: NDArray[np.uint8]  # [H, W, 3] RGB, upright


@dataclass
class _Clock:
    """Seconds from the first frame on, which never decrease, also if the file's time stamps do.

    Joined files, wrapped counters and edit lists have a step backwards: time then continues from the frame before.
    """

    frame: float  # seconds of one
    now: float = 0.0
    _start: float | None = None

    def tell(self, stamp: float | None) -> bool:
        """Go to the next frame; returns whether its time stamp belongs to another recording."""
        if self._start is None:
            self._start = stamp or 0.0
            return False
        time = self.now + self.frame if stamp is None else stamp - self._start
        back = self.now - time
        if back > _UNEVEN * self.frame:
            self.now += self.frame
            self._start += time - self.now
            return True
        self.now = max(self.now, time)
        return False


@dataclass
class VideoReader:
    """Iterates over the frames of ``path``, once; afterwards the attributes are known.

    Raises UnusableVideo while iterating if there is no video stream (audio only), or no frame at all.
    """

    path: Path
    damaged: int = field(default=0, init=False)  # pictures or packets that could not be decoded
    # Indices of frames that begin another recording.
    restarts: list[int] = field(default_factory=list, init=False)
    aspect: Fraction = field(default=Fraction(1), init=False)  # width of a pixel over its height, upright
    _size: tuple[int, int] = field(default=(0, 0), init=False)

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        for frame in self._pictures() if self.path.is_dir() else self._decoded():
            count += 1
            self._size = frame.image.shape[1], frame.image.shape[0]
            yield frame
        if not count:
            raise UnusableVideo("no frame can be decoded")

    def names(self) -> list[str]:
        """Names that the frames of a folder will have, in order; those of a video file are its indices: none here."""
        return [path.stem for path in self.files()] if self.path.is_dir() else []

    def files(self) -> list[Path]:
        """Pictures of a folder of frames, in the order of the numbers in their names."""
        found = (path for path in self.path.iterdir() if is_picture(path))
        return sorted(found, key=lambda path: natural_key(path.name))

    def notes(self) -> list[str]:
        """What the user should know of the frames read so far, a line for each."""
        notes = []
        if self.restarts:
            more = f" and {len(self.restarts) - 1} more" if len(self.restarts) > 1 else ""
            notes.append(
                f"{self.path}: time stamps go backwards at frame {self.restarts[0]}{more}; "
                "time continues there from the frame before, and a new shot begins"
            )
        if self.aspect != 1:
            width, height = self._size
            notes.append(
                f"{self.path}: pixels are not square ({self.aspect.numerator}:{self.aspect.denominator}); frames and "
                f"boxes are in stored pixels, {width}x{height}, which players show as "
                f"{round(width * self.aspect)}x{height}"
            )
        return notes

    def _pictures(self) -> Iterator[Frame]:
        for index, path in enumerate(self.files()):
            try:
                image = read_upright(path, "replace it")
            except UserError:
                self.damaged += 1
                continue
            yield Frame(index, path.stem, index / _FOLDER_RATE, image)

    def _decoded(self) -> Iterator[Frame]:
        import av

        try:
            container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnusableVideo(f"cannot be opened ({error})") from error
        with container:
            cover = av.stream.Disposition.attached_pic
            streams = [s for s in container.streams.video if not s.disposition & cover]
            if not streams:
                raise UnusableVideo("has no pictures (audio only?)")
            stream = streams[0]
            stream.thread_type = "AUTO"
            clock = _Clock(1 / float(stream.average_rate or stream.guessed_rate or 25))
            for index, decoded in enumerate(self._packets(container, stream)):
                if clock.tell(decoded.time):
                    self.restarts.append(index)
                turns = round(decoded.rotation / 90) % 4
                aspect = Fraction(stream.codec_context.sample_aspect_ratio or stream.sample_aspect_ratio or 1)
                self.aspect = 1 / aspect if turns % 2 else aspect
                image = np.rot90(decoded.to_ndarray(format="rgb24"), k=turns)
                yield Frame(index, str(index), clock.now, rgb_array(image))

    def _packets(self, container, stream) -> Iterator:  # type: ignore[no-untyped-def]
        """Decoded frames; of a damaged or cut-off file only the damaged part is lost."""
        import av

        try:
            for packet in container.demux(stream):
                try:
                    yield from packet.decode()
                except av.FFmpegError:
                    self.damaged += 1
        except av.FFmpegError:  # the rest of the file is lost
            self.damaged += 1


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name, and not one that is there by accident."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not is_litter(path.name)
