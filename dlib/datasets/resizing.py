"""Pictures at another size: the pixels of Pillow's bilinear filter with antialiasing, of a window alone.

Pillow computes the whole square in one thread, one number at a time. The module ``resizewindow`` does the same
arithmetic with vectors, only for the window, and writes the planes. Rows are always resized first, as Pillow did up to
version 12; version 13 begins with the columns of tall pictures, which changes some pixels by one level.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ONE = 1 << 22  # Pillow's unit of a weight


class Window(NamedTuple):
    """``rows`` × ``columns`` pixels at (``top``, ``left``) of a resized picture."""

    top: int
    left: int
    rows: int
    columns: int


def resize_window(
    pixels: NDArray[np.uint8], side: int, window: Window, mirrored: bool = False
) -> NDArray[np.uint8]:
    """A window of the picture resized to a square; the aspect ratio is not kept.

    Args:
        pixels: uint8 [H, W, 3].
        side: of the square, in pixels, >= 1.
        window: inside of the square.
        mirrored: the window from right to left.
    Returns: uint8 [3, rows, columns].
    Raises ValueError for a picture of another kind, or a window that is not inside of the square.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"a picture is uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    top, left, rows, columns = window
    if min(top, left, rows - 1, columns - 1) < 0 or max(top + rows, left + columns) > side:
        raise ValueError(f"{window} is not inside of a square of {side}")
    if not _is_built():
        return _by_pillow(pixels, side, window, mirrored)
    import resizewindow

    height, width = pixels.shape[:2]
    across = _Weights.of(width, side).part(left, columns, mirrored)
    down = _Weights.of(height, side).part(top, rows)
    out = np.empty((3, rows, columns), np.uint8)
    resizewindow.resize_window(np.ascontiguousarray(pixels), *across, *down, out, height, width)
    return out


class _Weights(NamedTuple):
    """Of an axis: for each output pixel the first pixel that counts, and the weights from there on."""

    first: NDArray[np.int32]  # [outputs]
    weights: NDArray[np.int32]  # [outputs, taps], in units of 1 / _ONE

    @staticmethod
    @lru_cache(maxsize=64)
    def of(pixels: int, outputs: int) -> _Weights:
        """Pillow's weights, from the same operations in float64: a triangle as wide as a step, at least one pixel."""
        step = pixels / outputs
        width = max(step, 1.0)
        centres = (np.arange(outputs) + 0.5) * step
        first = np.maximum((centres - width + 0.5).astype(np.int64), 0)  # int64: towards zero, as in C
        ends = np.minimum((centres + width + 0.5).astype(np.int64), pixels)
        taps = np.arange(min(math.ceil(width) * 2 + 1, pixels))
        places = first[:, None] + taps  # [outputs, taps]
        shares = np.maximum(1 - np.abs((places - centres[:, None] + 0.5) * (1 / width)), 0)
        shares[places >= ends[:, None]] = 0
        total = np.cumsum(shares, axis=1)[:, -1:]  # added one by one, as Pillow does
        weights = (0.5 + shares / total * _ONE).astype(np.int32)
        return _Weights(first.astype(np.int32), weights[:, : np.flatnonzero(weights.any(axis=0))[-1] + 1])

    def part(self, start: int, count: int, mirrored: bool = False) -> _Weights:
        """Of some output pixels alone."""
        parts = [values[start : start + count] for values in self]
        return _Weights(*(np.ascontiguousarray(values[::-1] if mirrored else values) for values in parts))


def _by_pillow(pixels: NDArray[np.uint8], side: int, window: Window, mirrored: bool) -> NDArray[np.uint8]:
    """Where the extension is not built: the same pixels, in five times the time."""
    wide = Image.fromarray(pixels).resize((side, pixels.shape[0]), Image.Resampling.BILINEAR)
    square = np.asarray(wide.resize((side, side), Image.Resampling.BILINEAR))
    top, left, rows, columns = window
    part = square[top : top + rows, left : left + columns]
    planes = np.empty((3, rows, columns), np.uint8)
    cv2.split(np.ascontiguousarray(part[:, ::-1] if mirrored else part), tuple(planes))
    return planes


@cache
def _is_built() -> bool:
    return find_spec("resizewindow") is not None
