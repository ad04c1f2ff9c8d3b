"""Painting with numpy: value noise, soft shapes, and the class patterns of the synthetic videos."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
_DOTS = ((0.0, -0.5), (0.45, 0.3), (-0.45, 0.3))  # their centres


def value_noise(rng: np.random.Generator, side: int, cells: int, octaves: int = 3) -> Array:
    """Periodic value noise.

    Args:
        side: height and width in pixels.
        cells: random values per side in the coarsest octave.
    Returns: [side, side] in [0, 1].
    """
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        n = min(cells * 2**octave, side)
        grid = rng.random((n, n), dtype=np.float32)
        position = np.arange(side, dtype=np.float32) * (n / side)
        low = position.astype(np.int64)
        weight = position - low
        weight = weight * weight * (3 - 2 * weight)
        high = (low + 1) % n
        rows = grid[low] * (1 - weight)[:, None] + grid[high] * weight[:, None]  # [side, n]
        total += (rows[:, low] * (1 - weight) + rows[:, high] * weight) * np.float32(0.5**octave)
    total -= total.min()
    return total / max(float(total.max()), 1e-6)


def sample_texture(texture: Array, x: Array, y: Array) -> Array:
    """Values of a periodic ``texture`` [S,S] at the points (x, y), one period per unit length."""
    side = len(texture)
    rows = np.floor(y * side).astype(np.int64) % side
    columns = np.floor(x * side).astype(np.int64) % side
    return texture[rows, columns]


def ellipse(x: Array, y: Array, a: float, b: float) -> Array:
    """Approximate signed distance to an ellipse with half axes a, b: negative inside."""
    return (np.hypot(x / a, y / b) - 1) * min(a, b)


def box(x: Array, y: Array, a: float, b: float) -> Array:
    """Approximate signed distance to a box with half sides a, b and rounded corners: negative inside."""
    u, v = np.square(x / a), np.square(y / b)
    return (np.sqrt(np.sqrt(u * u + v * v)) - 1) * min(a, b)


def coverage(distance: Array, pixels_per_unit: float) -> Array:
    """Share of each pixel inside a shape, from its signed distance: [..] in [0, 1]."""
    return np.clip(0.5 - distance * pixels_per_unit, 0, 1).astype(np.float32, copy=False)


def blend(canvas: Array, colour: Array, alpha: Array) -> None:
    """Lay ``colour`` [H,W,3] or [3] over ``canvas`` [H,W,3] in place, with opacity ``alpha`` [H,W]."""
    canvas += (colour - canvas) * alpha[..., None]


# The only thing that tells one class from another: a pattern on a disc of radius 1 (negative: second colour).
PATTERNS: dict[str, Callable[[Array, Array], Array]] = {
    "cross": lambda x, y: np.minimum(np.abs(x), np.abs(y)) - 0.22,
    "ring": lambda x, y: np.abs(np.hypot(x, y) - 0.55) - 0.17,
    "stripes": lambda x, y: np.abs((y * 2.0 + 0.5) % 1.0 - 0.5) / 2.0 - 0.12,
    "half": lambda x, y: x,
    "dots": lambda x, y: np.min([np.hypot(x - cx, y - cy) for cx, cy in _DOTS], axis=0) - 0.24,
    "checker": lambda x, y: np.copysign(np.minimum(np.abs(x), np.abs(y)), -x * y),
    "star": lambda x, y: np.hypot(x, y) - 0.55 - 0.28 * np.cos(5 * np.arctan2(y, x)),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.75, 0.6 - np.hypot(x - 0.35, y)),
    "frame": lambda x, y: np.abs(np.maximum(np.abs(x), np.abs(y)) - 0.45) - 0.13,
    "chevron": lambda x, y: np.abs(np.abs(x) - y - 0.1) * 0.7 - 0.17,
}
