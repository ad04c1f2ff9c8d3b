"""Shots in which a textured square moves before a textured background."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 96


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise, uint8 [height, width, 3]: flow can follow it."""
    noise = cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), 2.0)
    return np.clip(127 + 400 * noise, 0, 255).astype(np.uint8)


def moving_square(
    count: int, camera: tuple[int, int], own: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of a textured square of 32 pixels before a textured background, and the square's masks [n, SIDE, SIDE].

    Args:
        camera, own: pixels (x, y) that background and square move from frame to frame.
    """
    rng = np.random.default_rng(0)
    wall, patch = texture(rng, 2 * SIDE, 2 * SIDE), texture(rng, 32, 32)
    frames, masks = [], np.zeros((count, SIDE, SIDE), bool)
    for t in range(count):
        x, y = 48 - camera[0] * t, 48 - camera[1] * t
        frame = wall[y : y + SIDE, x : x + SIDE].copy()
        left, top = 32 + own[0] * t, 32 + own[1] * t
        frame[top : top + 32, left : left + 32] = patch
        masks[t, top : top + 32, left : left + 32] = True
        frames.append(frame)
    return frames, masks
