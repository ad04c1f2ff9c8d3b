"""What a model says about one frame: its class, boxes and map, in Python, as a picture, in matplotlib."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dlib.localizer.source import Frame
from dlib.metrics.boxes import quantize_maps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Localization:
    """What the model says about one frame.

    Attributes:
        index: position of the frame in its source, from 0.
        name: the picture's name, or the index of a video's frame.
        time: seconds from the start.
        label: the class, predicted or given; score: its probability.
        tau: threshold that made the box; None: the frame's colours made it.
        box: x0, y0, x1, y1 in pixels of the frame, both corners inside the box; None: nothing was found.
        map: float32 [S, S] in 0..1, S the network's crop size; it covers the whole frame.
        size: width and height of the frame.
        region: uint8 [S, S], 1 where the box rule says object, else 0; None: a threshold made the box.
        image: the frame, uint8 [H, W, 3] RGB; None in ``Localizer.stream``, which gives the frame beside it.
        others: boxes of further objects, if several are looked for; less of the map is in each than in the one before.
        presence: how sure the decoder is of its surest object pixel, 0..1; None: a classifier's CAM made the map.
        tracks: the number of the track of each of ``boxes``; empty: objects are not followed.
    """

    index: int
    name: str
    time: float
    label: str
    score: float
    tau: float | None
    box: Box | None
    map: NDArray[np.float32]
    size: tuple[int, int]
    region: NDArray[np.uint8] | None = field(default=None, repr=False)
    image: NDArray[np.uint8] | None = field(default=None, repr=False)
    others: tuple[Box, ...] = ()
    presence: float | None = None
    tracks: tuple[int, ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """``box`` and ``others``; empty if nothing was found."""
        return () if self.box is None else (self.box, *self.others)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in ``boxes.json``.

        Keys: frame, name, time, class, score, tau, presence, box (a list or None), boxes and tracks (lists).
        """
        return {
            "frame": self.index,
            "name": self.name,
            "time": round(self.time, 6),
            "class": self.label,
            "score": round(self.score, 6),
            "tau": None if self.tau is None else round(self.tau, 6),
            "presence": None if self.presence is None else round(self.presence, 6),
            "box": None if self.box is None else list(self.box),
            "boxes": [list(box) for box in self.boxes],
            "tracks": list(self.tracks),
        }

    def overlay(self) -> NDArray[np.uint8]:
        """The frame [H, W, 3] under its map, with box, class and score. Raises ValueError without ``image``."""
        from dlib.localizer.output import draw

        if self.image is None:
            raise ValueError(
                "this result has no image: use a result of Localizer.localize, or give it one with replace"
            )
        return draw(Frame(self.index, self.name, self.time, self.image), self)

    def save(self, path: str | Path) -> Path:
        """Write ``overlay`` as a picture; the kind follows from the suffix. Returns the path."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(self.overlay()).save(path)
        return path

    def plot(self, axes: Axes | None = None) -> Axes:
        """Show the frame with its map and box in matplotlib's ``axes`` (None: new ones), which are returned."""
        from matplotlib import pyplot
        from matplotlib.patches import Rectangle

        if axes is None:
            _, axes = pyplot.subplots()
        if self.image is not None:
            axes.imshow(self.image)
        axes.imshow(self.full_map(), cmap="jet", alpha=0.4, vmin=0, vmax=1)
        for x0, y0, x1, y1 in self.boxes:
            corner = (x0 - 0.5, y0 - 0.5)  # a pixel's center is its number
            axes.add_patch(
                Rectangle(corner, x1 - x0 + 1, y1 - y0 + 1, fill=False, edgecolor="white", linewidth=2)
            )
        axes.set_title(f"{self.label} {self.score:.0%}")
        axes.set_axis_off()
        return axes

    def full_map(self) -> NDArray[np.float32]:
        """The map at the frame's size, float32 [H, W]."""
        return np.asarray(cv2.resize(self.map, self.size, interpolation=cv2.INTER_LINEAR), np.float32)

    def mask(self) -> NDArray[np.bool_]:
        """Pixels [H, W] of the object, all regions of them, specks too; none if nothing was found."""
        if self.box is None:
            return np.zeros(self.size[::-1], np.bool_)
        if self.region is not None:
            share = cv2.resize(self.region.astype(np.float32), self.size, interpolation=cv2.INTER_LINEAR)
            return np.asarray(share) > 0.5
        level = int((self.tau or 0.0) * quantize_maps(self.map).max())
        return quantize_maps(self.full_map()) > level


def frame_box(box: NDArray[np.int64], side: int, size: tuple[int, int]) -> Box | None:
    """A box of a map [side, side] in pixels of the frame (width, height); None for the box of an empty map.

    The metric's right and lower edge are the first pixel outside the region, clipped to the last of the map.
    """
    x0, y0, x1, y1 = (int(value) for value in box)
    if (x0, y0, x1, y1) == (0, 0, 0, 0):
        return None
    edges = []
    for low, high, length in ((x0, x1, size[0]), (y0, y1, size[1])):
        end = length if high == side - 1 else round(high * length / side)
        start = min(round(low * length / side), length - 1)
        edges.append((start, max(end - 1, start)))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom
