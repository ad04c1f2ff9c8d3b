"""The objects of the synthetic videos: textured figures of moving parts, one of which tells the class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from dlib.datasets.synthetic.painting import (
    PATTERNS,
    Array,
    blend,
    box,
    coverage,
    ellipse,
    sample_texture,
    value_noise,
)


def random_colour(rng: np.random.Generator, hue: float, spread: float = 0.04) -> Array:
    """An RGB colour in 0..255 near ``hue`` (0..1) with random saturation and brightness."""
    h = (hue + rng.normal(0, spread)) % 1.0
    return (
        np.array(colorsys.hsv_to_rgb(h, rng.uniform(0.35, 0.95), rng.uniform(0.35, 0.95)), np.float32) * 255
    )


@dataclass(frozen=True)
class Part:
    """One piece of a figure, in body units (x right, y down, the body's half length is 1)."""

    centre: tuple[float, float]
    half_axes: tuple[float, float]
    angle: float
    swing: float  # amplitude of the angle's oscillation about the inner end, radians
    phase: float
    boxy: bool
    colours: Array  # [2, 3] in 0..255, mixed by the texture
    frequency: float  # texture periods per unit


@dataclass(frozen=True)
class Figure:
    """A figure, which looks the same in all frames of a video; ``pattern`` None: a distractor without class."""

    parts: tuple[Part, ...]
    head: Part
    pattern: str | None
    texture: Array

    @classmethod
    def random(cls, rng: np.random.Generator, pattern: str | None, hue: float) -> Figure:
        """Draw a figure whose body has the colour ``hue``; the class decides only the head's pattern."""
        body = np.stack([random_colour(rng, hue), random_colour(rng, hue)])  # [2, 3]
        limb_hue = hue if rng.random() < 0.6 else rng.random()
        limb = np.stack([random_colour(rng, limb_hue), random_colour(rng, limb_hue)])
        height = rng.uniform(0.5, 0.72)
        parts = []
        for x in np.linspace(-0.75, 0.6, int(rng.integers(2, 5))):
            length = rng.uniform(0.3, 0.48)
            centre = (float(x) + rng.normal(0, 0.05), height * 0.6 + length)
            parts.append(_part(rng, centre, (rng.uniform(0.11, 0.18), length), 0.0, 0.35, limb))
        tail = (-1.1, rng.uniform(-0.4, 0.2))
        parts.append(_part(rng, tail, (rng.uniform(0.3, 0.45), rng.uniform(0.1, 0.2)), 0.6, 0.5, limb))
        parts.append(_part(rng, (0.0, 0.0), (1.0, height), 0.0, 0.0, body, boxy=rng.random() < 0.5))
        patch_colours = np.stack([random_colour(rng, rng.random())] * 2)
        patch = (rng.uniform(-0.6, 0.0), rng.uniform(-0.2, 0.2))
        parts.append(
            _part(rng, patch, (rng.uniform(0.2, 0.35), rng.uniform(0.15, 0.3)), 0.5, 0.0, patch_colours)
        )
        radius = rng.uniform(0.4, 0.48)
        head_at = (rng.uniform(0.75, 1.0), rng.uniform(-0.6, -0.1))
        head = _part(rng, head_at, (radius, radius), 0.0, 0.2, _contrasting(rng))
        return cls(tuple(parts), head, pattern, value_noise(rng, 64, 4))

    def paint(self, canvas: Array, centre: tuple[float, float], pose: Pose) -> tuple[Array, Array]:
        """Paint the figure over ``canvas`` [H,W,3] in place.

        Returns: its coverage and its head's coverage, each [H,W] in [0, 1].
        """
        alpha = np.zeros(canvas.shape[:2], np.float32)
        head_alpha = np.zeros_like(alpha)
        for part in self.parts:
            window, (x, y) = _local(part, canvas.shape, centre, pose)
            inside = coverage((box if part.boxy else ellipse)(x, y, *part.half_axes), pose.scale)
            mix = sample_texture(self.texture, x * part.frequency, y * part.frequency)[..., None]
            blend(canvas[window], part.colours[0] + (part.colours[1] - part.colours[0]) * mix, inside)
            np.maximum(alpha[window], inside, out=alpha[window])
        window, local = _local(self.head, canvas.shape, centre, pose)
        head_alpha[window] = self._paint_head(canvas[window], *local, pose.scale)
        return np.maximum(alpha, head_alpha), head_alpha

    def _paint_head(self, canvas: Array, x: Array, y: Array, scale: float) -> Array:
        radius = self.head.half_axes[0]
        inside = coverage(ellipse(x, y, radius, radius), scale)
        if self.pattern is None:  # as much contrast as a class pattern, but no shape
            field = 0.5 - sample_texture(self.texture, x * 0.7, y * 0.7)
        else:
            field = PATTERNS[self.pattern](x / radius, y / radius) * radius
        mark = coverage(field, scale)[..., None]  # [h, w, 1]
        blend(canvas, self.head.colours[0] + (self.head.colours[1] - self.head.colours[0]) * mark, inside)
        return inside


@dataclass(frozen=True)
class Pose:
    """The pose of a figure in one frame: pixels per body unit, angle in radians, mirror ±1, limbs' time."""

    scale: float
    angle: float
    flip: float
    time: float


def _part(
    rng: np.random.Generator,
    centre: tuple[float, float],
    half_axes: tuple[float, float],
    tilt: float,
    swing: float,
    colours: Array,
    boxy: bool = False,
) -> Part:
    angle = rng.uniform(-tilt, tilt)
    return Part(centre, half_axes, angle, swing, rng.uniform(0, 6.28), boxy, colours, rng.uniform(0.4, 1.2))


def _contrasting(rng: np.random.Generator) -> Array:
    """Two colours [2, 3] of clearly different brightness, in random order."""
    dark = random_colour(rng, rng.random()) * 0.4
    light = 255 - (255 - random_colour(rng, rng.random())) * 0.5
    pair = np.stack([dark, light])
    return pair if rng.random() < 0.5 else pair[::-1].copy()


def _local(
    part: Part, shape: tuple[int, ...], centre: tuple[float, float], pose: Pose
) -> tuple[tuple[slice, slice], tuple[Array, Array]]:
    """The window of a frame of ``shape`` [H, W, ..] that holds a part, and its pixels' coordinates [h, w] in the
    part's own axes."""
    # a limb swings about its upper end, other parts about their centre
    pivot = part.half_axes[1] if part.half_axes[1] > 1.5 * part.half_axes[0] else 0.0
    u, v = part.centre[0] * pose.flip, part.centre[1] - pivot
    cos, sin = float(np.cos(pose.angle)), float(np.sin(pose.angle))
    at = (centre[0] + pose.scale * (u * cos - v * sin), centre[1] + pose.scale * (u * sin + v * cos))
    reach = pose.scale * float(np.hypot(part.half_axes[0], part.half_axes[1] + pivot)) + 1
    columns, rows = _span(at[0], reach, shape[1]), _span(at[1], reach, shape[0])
    x = (np.arange(columns.start, columns.stop, dtype=np.float32)[None] - at[0]) / pose.scale
    y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - at[1]) / pose.scale
    u_axis, v_axis = (x * cos + y * sin) * pose.flip, y * cos - x * sin
    swing = part.angle + part.swing * float(np.sin(pose.time + part.phase))
    cos, sin = float(np.cos(swing)), float(np.sin(swing))
    return (rows, columns), (u_axis * cos + v_axis * sin, v_axis * cos - u_axis * sin - pivot)


def _span(middle: float, reach: float, length: int) -> slice:
    low = min(max(int(middle - reach), 0), length)
    return slice(low, min(max(int(middle + reach) + 2, low), length))
