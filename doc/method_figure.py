"""Draws ``doc/method.png``: ``python doc/method_figure.py``. Every picture in it is made here, of no data set."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZE = 64
INK, FROZEN, TRAINED, LOSS = "#1f2937", "#cfd8e3", "#bfe3c8", "#fde2b8"


def scene(shift: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame [S, S, 3], soft map of the whole figure [S, S], map of its head alone, as a classifier's CAM is."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    ground = 0.55 + 0.12 * np.sin(x / 5 + 3 * shift) * np.cos(y / 6)
    image = np.stack([0.75 * ground, 0.95 * ground, 0.7 * ground], -1)
    cx = 26 + 9 * shift
    body = ((x - cx) / 15) ** 2 + ((y - 40) / 10) ** 2
    head = ((x - cx - 14) / 7) ** 2 + ((y - 27) / 7) ** 2
    image[body < 1] = (0.85, 0.45, 0.25)
    image[head < 1] = (0.92, 0.55, 0.3)
    image[(head < 1) & (np.sin(2.2 * x) > 0.3)] = (0.25, 0.15, 0.15)
    whole = np.exp(-2.5 * np.clip(np.minimum(body, head) - 0.85, 0, None))
    return image, whole, np.exp(-0.7 * head)


def picture(axes: Axes, array: np.ndarray, x: float, y: float, size: float, label: str = "") -> None:
    axes.imshow(array, extent=(x, x + size, y, y + size), cmap="inferno", vmin=0, vmax=1, zorder=2)
    axes.add_patch(
        FancyBboxPatch((x, y), size, size, boxstyle="square,pad=0", fill=False, ec=INK, lw=0.8, zorder=3)
    )
    axes.text(x + size / 2, y - 0.12, label, ha="center", va="top", fontsize=8, color=INK)


def block(axes: Axes, x: float, y: float, w: float, h: float, text: str, color: str) -> None:
    style = "round,pad=0.02,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, fc=color, ec=INK, lw=1, zorder=2))
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=8, color=INK, zorder=4)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": INK,
        "lw": 1.1,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    axes.annotate("", end, start, arrowprops=style, zorder=1)


def seeds(cam: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The frame, dimmed, with red foreground and blue background seeds drawn from the CAM."""
    rng = np.random.default_rng(4)
    drawn = 0.45 * frame + 0.1
    for share, color in (
        (np.argsort(-cam.ravel())[:260], (1, 0.25, 0.3)),
        (np.argsort(cam.ravel())[:1400], (0.2, 0.5, 1)),
    ):
        for index in rng.choice(share, 26, replace=False):
            row, column = divmod(int(index), SIZE)
            drawn[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = color
    return drawn


def draw(path: Path) -> None:
    figure, axes = plt.subplots(figsize=(11, 5.4), dpi=140)
    axes.set(xlim=(0, 15.4), ylim=(0.1, 7.6), aspect="equal")
    axes.axis("off")
    frames = [scene(shift) for shift in (0.0, 1.0)]
    for i, (image, _, _) in enumerate(frames):
        picture(axes, image, 0.2, 4.3 - 2.3 * i, 1.9, "" if i == 0 else "frames of one shot, one label")
    block(axes, 2.9, 2.9, 1.7, 2.2, "encoder\n(frozen)", FROZEN)
    block(axes, 5.4, 2.9, 1.7, 2.2, "U-Net\ndecoder\n(trained)", TRAINED)
    block(axes, 2.9, 5.9, 1.7, 1.0, "class head\n(frozen)", FROZEN)
    arrow(axes, (2.2, 4.0), (2.85, 4.0))
    arrow(axes, (4.65, 4.0), (5.35, 4.0))
    arrow(axes, (3.75, 5.15), (3.75, 5.85))
    arrow(axes, (4.65, 6.4), (5.35, 6.4))
    picture(axes, frames[0][2], 5.4, 5.5, 1.7)
    axes.text(7.25, 7.0, "classifier's CAM:\na part of the object", fontsize=8, va="center", color=INK)
    for i, (_, whole, _) in enumerate(frames):
        picture(axes, whole, 7.8, 4.1 - 2.0 * i, 1.7, "" if i == 0 else "maps (foreground)")
    arrow(axes, (7.15, 4.0), (7.75, 4.0))
    arrow(axes, (7.15, 6.2), (10.2, 6.2))
    picture(axes, seeds(frames[0][2], frames[0][0]), 10.25, 5.5, 1.7)
    losses = (
        (5.6, "cross entropy at seeds", (12.0, 6.35)),
        (3.9, "dense CRF: borders at\neach frame's edges", (9.55, 4.3)),
        (2.2, "joint colour CRF: one\ncolour is one side in\nall frames of the shot", (9.55, 3.4)),
        (0.5, "size prior: neither side\nis empty (log-barrier)", (9.55, 2.4)),
    )
    for y, text, start in losses:
        block(axes, 12.5, y, 2.8, 1.35, text, LOSS)
        arrow(axes, start, (12.45, y + 0.7))
    arrow(axes, (9.55, 4.5), (12.45, 5.68))
    axes.text(
        0.2,
        0.2,
        "grey: from step 1, frozen   green: trained in step 2   yellow: losses",
        fontsize=8,
        color=INK,
    )
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_name("method.png"))
