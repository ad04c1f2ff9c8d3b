"""What the motion in a shot says about an object (ours): it moves against its background.

Optical flow is that of Kroeger et al. (ECCV 2016), the background's motion an affine map (Fischler and Bolles 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray
from dlib.metrics.discriminant import SHRINKAGE, resized

GRID = 4  # pixels of a frame for one of the result, in each direction
FASTEST = 20.0  # pixels; a higher speed says no more
SLOWEST = 0.25  # pixels; smaller differences are the flow's noise
MOVES = 1.0  # pixels; a pixel that is as fast moves for sure
GAIN = 0.5  # so much more of the map where something moves
_ROUND_TRIP = 1.0, 0.1  # a flow there and back may miss by so many pixels, and by this share of its length
_BACKGROUND = 1.0  # pixels; farther from the background's motion is another motion
_POINTS = 8  # pixels between those from which the background's motion is estimated
_FEWEST = 50  # of these points
_SMALLEST = 16  # pixels of a frame's side; OpenCV's flow needs 12


class Motion(NamedTuple):
    """Of one frame; h and w are a fourth of its sides."""

    speed: FloatArray  # [h, w], logarithm of pixels between two frames
    trust: FloatArray  # [h, w] in 0..1; 0: nothing is known


def shot_motion(frames: Sequence[npt.NDArray[Any]], reach: int = 1) -> list[Motion]:
    """Speed of the pixels of each frame against the background, between it and the frames ``reach`` before and after.

    The background's motion is the affine map that most points of the frame follow. A pixel is not trusted if the flow
    to the other frame and back does not end near it; the more there are of these, the less are the others trusted.
    Where no pixel is trusted the speed is the frame's mean.

    Args:
        frames: uint8 [H, W, 3] RGB, all of one shape, in the order of time.
        reach: at least 1; less if there are not so many frames.
    Raises ValueError for frames of different shapes.
    """
    if any(frame.shape != frames[0].shape for frame in frames):
        raise ValueError(f"frames of a shot differ in shape: {sorted({frame.shape for frame in frames})}")
    height, width = frames[0].shape[:2]
    grid = max(height // GRID, 1), max(width // GRID, 1)
    reach = min(reach, len(frames) - 1) if min(height, width) >= _SMALLEST else 0
    gray = [
        np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8)
        for frame in frames
    ]
    found: list[list[tuple[FloatArray, FloatArray]]] = [[] for _ in frames]
    for first in range(len(frames) - reach if reach else 0):
        there, back = _flow(gray[first], gray[first + reach]), _flow(gray[first + reach], gray[first])
        found[first].append(_speed(there, back, grid))
        found[first + reach].append(_speed(back, there, grid))
    return [_together(pairs, grid) for pairs in found]


def raised_maps(maps: Sequence[FloatArray], motions: Sequence[Motion]) -> list[FloatArray]:
    """Each map p [H, W] as p (1 + m / 2) over its new peak, m in 0..1 how surely a pixel moves against the background.

    A classifier's map may mark what comes with an object, such as the runway of an aeroplane. So the object's motion
    counts before the map says which pixels are the object.

    Args:
        maps: >= 0, some pixel of each > 0.
        motions: of their frames.
    """
    found = []
    for share, motion in zip(maps, motions, strict=True):
        moves = np.clip((np.exp(motion.speed) - SLOWEST) / MOVES, 0, 1) * motion.trust  # [h, w]
        raised = share * (1 + GAIN * resized(moves, share.shape, cv2.INTER_LINEAR))
        found.append(raised / raised.max())
    return found


def motion_odds(motions: Sequence[Motion], shares: Sequence[FloatArray]) -> list[FloatArray]:
    """Log-odds of object against background by speed: Fisher's discriminant, as `FeatureDiscriminant`, times trust.

    An object that moves slower than its background, as a boat on waves, gets 0 everywhere: the background is not one
    thing that moves then, and what is slow is not the object alone.

    Args:
        shares: of each frame [H, W] in 0..1, how far each pixel is taken for the object.
    Returns: float64 [H, W] for each frame.
    """
    speed = np.stack([motion.speed - motion.speed.mean() for motion in motions])  # [n, h, w]
    small = np.stack([resized(share, speed.shape[1:], cv2.INTER_AREA) for share in shares])
    odds = np.zeros_like(speed)
    inside, outside = small.mean(), 1 - small.mean()
    if inside > 0 and outside > 0:
        own = np.average(speed, weights=small)
        other = np.average(speed, weights=1 - small)
        within = (1 + SHRINKAGE) * (np.mean(speed**2) - inside * own**2 - outside * other**2)
        if own > other and within > 0:
            odds = (own - other) / within * (speed - (own + other) / 2)
    return [
        resized(each, share.shape, cv2.INTER_LINEAR) * resized(motion.trust, share.shape, cv2.INTER_LINEAR)
        for each, share, motion in zip(odds, shares, motions, strict=True)
    ]


def _together(pairs: list[tuple[FloatArray, FloatArray]], shape: tuple[int, int]) -> Motion:
    """Mean of the speeds and of the trust that a frame has from others."""
    if not pairs:
        return Motion(np.zeros(shape), np.zeros(shape))
    counts = np.sum([count for _, count in pairs], axis=0)
    known = counts > 0
    speed = np.log(np.sum([total for total, _ in pairs], axis=0) / np.where(known, counts, 1) + SLOWEST)
    if known.any():
        speed = np.where(known, speed, np.average(speed, weights=counts))
    share = counts / len(pairs)
    return Motion(speed, share * share.mean())


def _flow(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Where the pixels of ``one`` are in ``other``: offsets [H, W, 2]."""
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(method.calc(one, other, None), np.float32)  # type: ignore[call-overload]


def _speed(
    there: npt.NDArray[np.float32], back: npt.NDArray[np.float32], grid: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    """Sum of the speeds of a cell's trusted pixels over its pixels, and the share of these pixels: both [h, w]."""
    height, width = there.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    end_x, end_y = x + there[..., 0], y + there[..., 1]
    returned = cv2.remap(back, end_x, end_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    missed = np.linalg.norm(there + returned, axis=2)
    allowed = _ROUND_TRIP[0] + _ROUND_TRIP[1] * np.linalg.norm(there, axis=2)
    trusted = (missed < allowed) & (end_x >= 0) & (end_x < width) & (end_y >= 0) & (end_y < height)
    chosen = np.zeros_like(trusted)
    chosen[_POINTS // 2 :: _POINTS, _POINTS // 2 :: _POINTS] = True
    chosen &= trusted
    nothing = np.zeros(grid)
    if chosen.sum() < _FEWEST:
        return nothing, nothing
    start, end = np.stack([x[chosen], y[chosen]], 1), np.stack([end_x[chosen], end_y[chosen]], 1)
    affine, _ = cv2.estimateAffine2D(start, end, method=cv2.RANSAC, ransacReprojThreshold=_BACKGROUND)
    if affine is None:
        return nothing, nothing
    a = affine.astype(np.float32)
    own = np.hypot(
        end_x - (a[0, 0] * x + a[0, 1] * y + a[0, 2]), end_y - (a[1, 0] * x + a[1, 1] * y + a[1, 2])
    )
    known = trusted.astype(np.float64)
    return resized(np.minimum(own, FASTEST) * known, grid, cv2.INTER_AREA), resized(
        known, grid, cv2.INTER_AREA
    )
