"""Frames of a user's video, from a video file (PyAV) or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from dlib.datasets.images import open_image, to_rgb
from dlib.utils.errors import UserError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".gif", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_FOLDER_RATE = 10.0  # pictures per second that a folder of frames is taken for


class UnusableVideo(Exception):
    """A file that no frame can be had of; the message says why."""


@dataclass(frozen=True)
class Frame:
    """A decoded frame."""

    index: int  # position in the file, from 0
    name: str  # stem of the picture's file; for video files the index
    time: float  # seconds from the start
    image: NDArray[np.uint8]  # [H, W, 3] RGB, upright


@dataclass
class VideoReader:
    """Iterates over the frames of ``path``, once; afterwards ``damaged`` counts what could not be decoded.

    Raises UnusableVideo while iterating if there is no video stream (audio only), or no frame at all.
    """

    path: Path
    damaged: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        for frame in self._pictures() if self.path.is_dir() else self._decoded():
            count += 1
            yield frame
        if not count:
            raise UnusableVideo("no frame can be decoded")

    def names(self) -> list[str]:
        """Names that the frames of a folder will have, in order; those of a video file are its indices: none here."""
        return [path.stem for path in self._files()] if self.path.is_dir() else []

    def _files(self) -> list[Path]:
        return sorted(p for p in self.path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)

    def _pictures(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files()):
            try:
                with open_image(path, "replace it") as picture:
                    image = np.asarray(to_rgb(ImageOps.exif_transpose(picture)))
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
            rate = float(stream.average_rate or stream.guessed_rate or 25)
            start = None
            for index, decoded in enumerate(self._packets(container, stream)):
                time = decoded.time if decoded.time is not None else index / rate + (start or 0.0)
                start = time if start is None else start
                image = np.rot90(decoded.to_ndarray(format="rgb24"), k=round(decoded.rotation / 90) % 4)
                yield Frame(index, str(index), time - start, np.ascontiguousarray(image))

    def _packets(self, container, stream) -> Iterator:  # type: ignore[no-untyped-def]
        """Decoded frames; damaged packets, and a file that ends early, cost only what is damaged."""
        import av

        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self.damaged += 1
                return
            try:
                yield from packet.decode()
            except av.FFmpegError:
                self.damaged += 1


def find_videos(folder: Path) -> list[Path]:
    """Video files, and folders with pictures, directly in a class's folder, in name order."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if any(p.suffix.lower() in PICTURE_SUFFIXES for p in path.iterdir()):
                found.append(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            found.append(path)
    return found
