"""A figure for a paper: a row for each frame, a column for each method, text and boxes as vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from dlib.configure.literals import Colormap
from dlib.utils.files import write_atomically
from dlib.visualization.overlays import OPACITY, PREDICTED_COLOR, TRUE_COLOR, blend

KINDS = ("png", "pdf", "svg")
CAPTION = "Green: true box. White: box of the method. Number: IoU of the two."
_DPI = 300  # of PNG, and of the pictures inside PDF and SVG
_GAP, _HEAD = 0.03, 0.2  # inches between panels, and above the first row
# PDF readers get TrueType fonts, which programs and publishers accept; nothing in the files depends on the clock.
_STYLE: Any = {"pdf.fonttype": 42, "svg.hashsalt": "colocam", "font.family": "sans-serif"}


@dataclass(frozen=True)
class Cell:
    """One method on one frame.

    Attributes:
        map: [h, w] in 0..1; covers the whole frame.
        box: x0, y0, x1, y1 in pixels of the frame, both corners inside; None: the map is empty.
        iou: of the box and the true box that fits best, 0..1; None: no true box is known.
    """

    map: NDArray[np.float32]
    box: Sequence[int] | None
    iou: float | None


@dataclass(frozen=True)
class Row:
    """One frame [H, W, 3] uint8 with its true boxes in its pixels, and what each method makes of it."""

    image: NDArray[np.uint8]
    truth: Sequence[Sequence[float]]
    label: str
    cells: Sequence[Cell]


def draw_figure(
    rows: Sequence[Row],
    names: Sequence[str],
    width: float = 7.0,
    opacity: float = OPACITY,
    colormap: Colormap = "heat",
) -> Figure:
    """The figure. The first column is the bare frame with its true boxes.

    Args:
        rows: at least one; each has a cell for each of ``names``.
        names: titles of the methods' columns.
        width: of the whole figure, in inches.
        opacity, colormap: as of ``blend``.
    """
    columns = 1 + len(names)
    panel = (width - _GAP * (columns - 1)) / columns
    heights = [panel * row.image.shape[0] / row.image.shape[1] for row in rows]
    height = _HEAD + sum(heights) + _GAP * (len(rows) - 1)
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    top = height - _HEAD
    pixels = max(1, round(panel * _DPI))
    for r, (row, tall) in enumerate(zip(rows, heights, strict=True)):
        top -= tall
        for c in range(columns):
            left = c * (panel + _GAP)
            ax = figure.add_axes((left / width, top / height, panel / width, tall / height))
            cell = row.cells[c - 1] if c else None
            _draw_panel(ax, row, cell, pixels, opacity, colormap)
            if r == 0:
                ax.set_title((names[c - 1] if c else "Frame").replace("$", r"\$"), fontsize=8, pad=3)
        top -= _GAP
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = _DPI) -> Path:
    """Write ``path``; its suffix (.png, .pdf or .svg) says in which format."""
    kind = path.suffix.lower().removeprefix(".")
    dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind)
    with matplotlib.rc_context(_STYLE):
        write_atomically(
            path, lambda stream: figure.savefig(stream, format=kind, dpi=dpi, metadata=dated), durable=False
        )
    return path


def _draw_panel(
    ax: Axes, row: Row, cell: Cell | None, pixels: int, opacity: float, colormap: Colormap
) -> None:
    height, width = row.image.shape[:2]
    image = row.image
    if width > pixels:  # more pixels than the page shows only make the file larger
        image = np.asarray(
            cv2.resize(image, (pixels, max(1, round(height * pixels / width))), interpolation=3)
        )
    if cell is not None:
        cam = cv2.resize(cell.map.astype(np.float32), image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        image = blend(image, cam, opacity, colormap)
    ax.imshow(image, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    pixel = pixels / _DPI * 72 / width
    for box in row.truth:
        _draw_box(ax, box, TRUE_COLOR, (width, height), pixel)
    if cell is not None and cell.box is not None:
        _draw_box(ax, cell.box, PREDICTED_COLOR, (width, height), pixel)
    text = row.label if cell is None else ("" if cell.iou is None else f"{cell.iou:.2f}")
    edge = [withStroke(linewidth=1.5, foreground="black")]
    ax.text(
        0.02,
        0.03,
        text.replace("$", r"\$"),
        transform=ax.transAxes,
        fontsize=7,
        color="white",
        path_effects=edge,
    )
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    ax.set_axis_off()


def _draw_box(
    ax: Axes, box: Sequence[float], color: tuple[int, int, int], size: tuple[int, int], pixel: float
) -> None:
    """A box of inclusive pixels in a frame of ``size`` (width, height); lines at its edge stay visible.

    ``pixel``: how many points of the page a pixel of the frame takes.
    """
    edges = np.array([box[0], box[1], box[2] + 1, box[3] + 1], dtype=np.float64)
    inset = 1.1 / pixel  # half of the wider line
    low, high = np.full(4, inset), np.array([size[0], size[1]] * 2) - inset
    x0, y0, x1, y1 = np.clip(edges, low, np.maximum(low, high)).tolist()
    for width, shade in ((2.2, "black"), (1.2, tuple(v / 255 for v in color))):
        ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=shade, linewidth=width))
