"""Panels of the gallery: a frame in its own shape, beside it maps with their boxes at every threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from dlib.visualization.overlays import overlay, side_by_side

SHORTER_SIDE = (224, 320)  # of a drawn panel: smaller frames are magnified, larger ones made smaller
GAP = 4  # pixels between two panels


def panel_size(width: int, height: int) -> tuple[int, int]:
    """Width and height at which a frame of this size is drawn, its shape kept."""
    shorter = min(width, height)
    scale = min(max(shorter, SHORTER_SIDE[0]), SHORTER_SIDE[1]) / shorter
    return max(1, round(width * scale)), max(1, round(height * scale))


def placed_box(box: ArrayLike, side: int, size: tuple[int, int]) -> list[int]:
    """A box of inclusive pixels of a map [side, side] in inclusive pixels of a panel of ``size`` (width, height)."""
    x0, y0, x1, y1 = (float(v) for v in np.asarray(box).reshape(4))
    across, down = size[0] / side, size[1] / side
    left, top = round(x0 * across), round(y0 * down)
    return [left, top, max(left, round((x1 + 1) * across) - 1), max(top, round((y1 + 1) * down) - 1)]


@dataclass(frozen=True)
class MapPanel:
    """A map [S, S] with its box at τ (None: no threshold is known), in pixels of the map.

    ``steps`` are the boxes at every threshold: [level, x0, y0, x1, y1, IoU] holds for the levels int(τ · ``peak``) from
    ``level`` up to that of the next step.
    """

    name: str
    cam: NDArray[np.float32]
    tau: float | None
    box: list[int] | None
    iou: float | None
    peak: int
    steps: list[list[float]]

    @classmethod
    def of(
        cls,
        name: str,
        cam: NDArray[np.float32],
        truth: ArrayLike,
        tau: float | None,
        multi_contour: bool = False,
    ) -> MapPanel:
        """The panel of a map, with boxes as the metric finds them (``multi_contour`` as there).

        Args:
            truth: true boxes x0,y0,x1,y1 [n, 4] in pixels of the map, n ≥ 1.
        """
        # Imported here, because it imports torch, which reports and comparisons do not need.
        from dlib.metrics.boxes import LEVELS, best_matches, level_boxes, quantize_maps, threshold_levels

        u = quantize_maps(cam)
        boxes, group = level_boxes(u, np.arange(LEVELS), multi_contour)
        iou, box = best_matches(boxes, truth)  # [G], [G, 4]
        changes = np.flatnonzero(np.diff(group, prepend=-1))
        steps = [
            [int(level), *map(int, box[group[level]]), round(float(iou[group[level]]), 4)]
            for level in changes
        ]
        peak = int(u.max())
        at = None if tau is None else group[int(threshold_levels(np.array([tau]), peak)[0])]
        return cls(
            name,
            cam,
            tau,
            None if at is None else [int(v) for v in box[at]],
            None if at is None else float(iou[at]),
            peak,
            steps,
        )

    @property
    def caption(self) -> str:
        return self.name if self.iou is None else f"{self.name}  IoU {self.iou:.2f}"


@dataclass(frozen=True)
class Strip:
    """A frame [H, W, 3] with its true boxes, and beside it the maps; boxes in pixels of the maps."""

    frame: NDArray[np.uint8]
    label: str
    truth: list[list[int]]
    maps: list[MapPanel]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a panel."""
        return panel_size(self.frame.shape[1], self.frame.shape[0])

    def picture(self, boxes: bool) -> Image.Image:
        """The panels side by side, with boxes and captions or without both."""
        frame = np.asarray(Image.fromarray(self.frame).resize(self.size, Image.Resampling.BICUBIC))
        side = self.maps[0].cam.shape[0]
        truth = [placed_box(box, side, self.size) for box in self.truth] if boxes else []
        panels = [overlay(frame, None, None, truth, self.label if boxes else "", 1)]
        for panel in self.maps:
            cam = Image.fromarray(panel.cam.astype(np.float32)).resize(self.size, Image.Resampling.BILINEAR)
            own = placed_box(panel.box, side, self.size) if boxes and panel.box is not None else None
            panels.append(overlay(frame, np.asarray(cam), own, truth, panel.caption if boxes else "", 1))
        return side_by_side(panels, GAP)

    def record(self) -> dict[str, Any]:
        """What ``gallery.json`` says about the picture without boxes: where its panels are, and their boxes."""
        return {
            "size": list(self.size),
            "gap": GAP,
            "side": self.maps[0].cam.shape[0],
            "maps": [
                {
                    "name": m.name,
                    "tau": None if m.tau is None else round(m.tau, 6),
                    "box": m.box,
                    "iou": None if m.iou is None else round(m.iou, 4),
                    "peak": m.peak,
                    "steps": m.steps,
                }
                for m in self.maps
            ],
        }
