"""Frames of one split that look like frames of another: perceptual hashes, each compared with each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64
MAX_DISTANCE = 6  # bits; compression and scaling change fewer bits
_MIN_CONTRAST = 6.0  # gray levels; hashes of flat pictures agree by chance


def picture_hash(image: Image.Image) -> NDArray[np.int8] | None:
    """Perceptual hash (signs of the low frequencies) as -1 and 1: int8 [64]; None for a picture without contrast."""
    import imagehash

    if np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX)).std() < _MIN_CONTRAST:
        return None
    return np.where(imagehash.phash(image).hash.ravel(), 1, -1).astype(np.int8)


@dataclass(frozen=True)
class Hashes:
    """Names of frames and their hashes, int8 [n, 64]."""

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
