"""Files of localization: overlay video or pictures, boxes as JSON and CSV, masks; written frame by frame."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlib.configure.literals import Colormap
from dlib.localizer.result import Localization
from dlib.localizer.source import Frame, Source
from dlib.localizer.tracks import TrackTable
from dlib.metrics.boxes import quantize_maps
from dlib.utils.errors import UserError
from dlib.visualization.overlays import OPACITY, PREDICTED_COLOR, heat_map

# H.264 plays in every browser; VP9 in all but old ones.
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "20", "preset": "veryfast"}),
    ("libopenh264", {}),
    ("libvpx-vp9", {"crf": "30"}),
)
_TICKS = 90_000  # per second: times of frames at any rate
CSV_HEAD = ("frame", "name", "time", "class", "score", "tau", "x0", "y0", "x1", "y1", "presence", "track")


@dataclass(frozen=True)
class Look:
    """How a localization is drawn: the opacity of the map where it is 1, its colours; or its box without the map."""

    opacity: float = OPACITY
    colormap: Colormap = "heat"
    boxes_only: bool = False

    @cached_property
    def colors(self) -> NDArray[np.float32]:
        """[256, 3], the colour of each level of a map."""
        return heat_map(np.linspace(0, 1, 256)[None], self.colormap)[0].astype(np.float32)

    @cached_property
    def alpha(self) -> NDArray[np.float32]:
        """[256], the opacity of each level."""
        return (self.opacity * np.linspace(0, 1, 256)).astype(np.float32)


def draw(frame: Frame, result: Localization, look: Look | None = None) -> NDArray[np.uint8]:
    """The frame [H, W, 3] under its heat map, with boxes, class and score; a box of a track has its number."""
    look = look or Look()
    height, width = frame.image.shape[:2]
    if look.boxes_only:
        picture = frame.image.copy()
    else:
        level = quantize_maps(result.full_map())  # [H, W]
        mixed = frame.image + look.alpha[level][..., None] * (look.colors[level] - frame.image)
        picture = np.ascontiguousarray(np.rint(mixed).astype(np.uint8))
    thick = max(2, min(height, width) // 180)
    scale = max(min(height, width) / 500, 0.35)

    def write(text: str, at: tuple[int, int]) -> None:
        text = text.encode("ascii", "replace").decode()
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), thick + 2, cv2.LINE_AA)
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, PREDICTED_COLOR, thick, cv2.LINE_AA)

    for (x0, y0, x1, y1), track in zip_longest(result.boxes, result.tracks):
        # A dark line around the white one: the box is seen on every ground.
        cv2.rectangle(picture, (x0, y0), (x1, y1), (0, 0, 0), thick + 2)
        cv2.rectangle(picture, (x0, y0), (x1, y1), PREDICTED_COLOR, thick)
        if track is not None:
            write(str(track), (x0 + thick * 2, y1 - thick * 2))
    nothing = ", nothing found" if result.box is None else ""
    write(f"{result.label} {result.score:.0%}{nothing}", (thick * 4, round(24 * scale) + thick * 2))
    return picture


class VideoWriter:
    """An mp4 that browsers play, without sound; the size is the first frame's, the times are the frames' own.

    H.264 with 4:2:0 colours needs even sides: at an odd side the last row or column is repeated.
    """

    def __init__(self, path: Path, rate: Fraction, aspect: Fraction = Fraction(1)) -> None:
        """
        Args:
            aspect: width of a pixel over its height; players stretch the pictures by it.
        """
        import av

        self._rate, self._aspect, self._size, self._last = rate, aspect, (0, 0), -1
        self.path = path
        self._codec, self._options = next(
            (name, options) for name, options in _ENCODERS if name in av.codecs_available
        )
        try:
            self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{path}: cannot be written ({error}); give another --out") from error
        self._stream: Any = None

    def write(self, picture: NDArray[np.uint8], seconds: float) -> None:
        """Add a frame [H, W, 3]; one of another size than the first is resized to it."""
        import av

        if self._stream is None:
            self._begin(picture.shape[1], picture.shape[0])
        if picture.shape[1::-1] != self._size:
            picture = np.asarray(Image.fromarray(picture).resize(self._size))
        bottom, right = self._size[1] % 2, self._size[0] % 2
        picture = np.pad(picture, ((0, bottom), (0, right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.time_base = Fraction(1, _TICKS)
        self._last = frame.pts = max(round(seconds * _TICKS), self._last + 1)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def _begin(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._stream = self._container.add_stream(self._codec, rate=self._rate, options=dict(self._options))
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        self._stream.codec_context.sample_aspect_ratio = self._aspect


class Writer:
    """All files of one localization, written frame by frame: a picture for a picture, a video for all other input.

    Masks of the localization that was in the folder before are removed if new ones are written. ``notes`` has a line
    for masks that stay.

    Raises UserError if the folder cannot be written to, or a file there is what ``source`` reads.
    """

    def __init__(
        self, folder: Path, head: dict[str, Any], source: Source, masks: bool, look: Look | None = None
    ) -> None:
        self._folder, self._masks, self._look = folder, masks, look
        self.notes: list[str] = []
        self._picture = folder / "overlay.png" if source.kind == "image" else None
        video = folder / "overlay.mp4"
        files = [self._picture or video, folder / "boxes.json", folder / "boxes.csv"]
        with _writable(folder):
            _spare(folder, files, masks, source)
            folder.mkdir(parents=True, exist_ok=True)
            if masks:
                (folder / "masks").mkdir(exist_ok=True)
                _remove_masks(folder)
            if left := len(list((folder / "masks").glob("*.png"))):
                self.notes.append(f"{folder / 'masks'}: {left} masks are not of this input")
            with ExitStack() as opened:
                self._json = opened.enter_context(files[1].open("w", encoding="utf-8"))
                self._csv = opened.enter_context(files[2].open("w", encoding="utf-8", newline=""))
                self._video = None if self._picture else VideoWriter(video, source.rate, source.reader.aspect)
                self._files = opened.pop_all()
        self._rows = csv.writer(self._csv)
        self._rows.writerow(CSV_HEAD)
        self._json.write(json.dumps(head, indent=1)[:-2] + ',\n "frames": [')
        self._count = 0
        self._tracks = TrackTable()

    def write(self, frame: Frame, result: Localization) -> None:
        """Add one frame. Raises UserError when the disk is full."""
        entry = result.to_dict()
        with _writable(self._folder):
            self._json.write((",\n  " if self._count else "\n  ") + json.dumps(entry))
            self._rows.writerows(csv_rows(entry))
            picture = draw(frame, result, self._look)
            if self._picture is not None:
                Image.fromarray(picture).save(self._picture)
            if self._video is not None:
                self._video.write(picture, frame.time)
            if self._masks:
                mask = Image.fromarray(result.mask().astype(np.uint8) * 255)
                mask.save(self._folder / "masks" / _mask_name(result.index, result.name))
        self._tracks.add(result)
        self._count += 1

    def close(self) -> None:
        """End every file, also after an interruption."""
        with self._files, _writable(self._folder):
            rows = ",".join(f"\n  {json.dumps(row)}" for row in self._tracks.rows())
            self._json.write(f'\n ],\n "tracks": [{rows}\n ]\n}}\n')
            if self._video is not None:
                self._video.close()


def csv_rows(entry: dict[str, Any]) -> Iterator[list[Any]]:
    """Rows of ``CSV_HEAD`` for a frame of boxes.json, one for each box; without a box one row, with empty columns."""
    frame = [entry[name] for name in CSV_HEAD[: CSV_HEAD.index("x0")]]
    for box, track in zip_longest(entry["boxes"] or [[""] * 4], entry["tracks"]):
        yield [*frame, *box, entry["presence"], track]


def _mask_name(index: int, name: str) -> str:
    return f"{index:06d}.png" if name.isdecimal() else f"{name}.png"


def _remove_masks(folder: Path) -> None:
    """Remove the masks that the boxes.json in ``folder`` names, which an earlier localization has written."""
    try:
        entries = json.loads((folder / "boxes.json").read_text(encoding="utf-8"))["frames"]
        names = [_mask_name(int(entry["frame"]), str(entry["name"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return  # none, or cut off in the middle
    for name in names:
        if Path(name).name == name:  # nothing outside of the folder
            (folder / "masks" / name).unlink(missing_ok=True)


def _spare(folder: Path, files: list[Path], masks: bool, source: Source) -> None:
    """UserError where one of ``files``, or a mask from before, is a file that ``source`` reads."""
    written = {_identity(path) for path in [*files, *((folder / "masks").glob("*.png") if masks else ())]}
    for path in source.files:
        if (identity := _identity(path)) is not None and identity in written:
            raise UserError(f"--out {folder}: would overwrite the input, {path}; give another folder")


def _identity(path: Path) -> tuple[int, int] | None:
    """What identifies a file under any name; None: there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class CannotWrite(UserError):
    """The output cannot be written: no other input can be localized either."""


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # PyAV's errors are of this kind too
        raise CannotWrite(f"--out {folder}: cannot be written ({error.strerror or error})") from error
