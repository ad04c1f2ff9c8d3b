"""Frames of one split that show the same as frames of another: perceptual hashes, compared all with all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE = 8
BITS = 2 * _SIDE * _SIDE
MAX_DISTANCE = 8  # bits; compression and scaling change fewer
_MIN_CONTRAST = 6.0  # gray levels; hashes of flat pictures agree by chance


def picture_hash(image: NDArray[np.uint8]) -> NDArray[np.int8] | None:
    """Signs, -1 or 1, of the brightness differences to the right and below on a coarse grid: int8 [128].

    Args:
        image: [H, W, 3], RGB.
    Returns: None for a picture without contrast.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(gray, (_SIDE + 1, _SIDE + 1), interpolation=cv2.INTER_AREA).astype(np.int16)
    if grid.std() < _MIN_CONTRAST:
        return None
    right = grid[:-1, 1:] > grid[:-1, :-1]  # [8, 8]
    below = grid[1:, :-1] > grid[:-1, :-1]
    return np.where(np.concatenate([right.ravel(), below.ravel()]), 1, -1).astype(np.int8)


@dataclass(frozen=True)
class Hashes:
    """Names of frames and their hashes, int8 [n, 128]."""

    names: list[str]
    values: NDArray[np.int8]


def near_duplicates(a: Hashes, b: Hashes, chunk: int = 2048) -> list[tuple[str, str, int]]:
    """Pairs (name in a, name in b, differing bits) with at most ``MAX_DISTANCE`` differing bits; for each frame of b
    the nearest in a."""
    if not a.names or not b.names:
        return []
    found = []
    values = a.values.astype(np.float32)
    for start in range(0, len(b.names), chunk):
        block = b.values[start : start + chunk].astype(np.float32)
        agreement = block @ values.T  # [chunk, len(a)], BITS - 2 * distance
        for i, j in enumerate(agreement.argmax(1)):
            distance = int(BITS - agreement[i, j]) // 2
            if distance <= MAX_DISTANCE:
                found.append((a.names[j], b.names[start + i], distance))
    return found
