"""A box from one map and its frame alone, without a threshold that was chosen on boxes (ours).

A threshold that is best for some videos is wrong for others: how much of an object a map marks depends on the object's
size and on the video. The frame itself says more. The map's strong pixels give the colours of the object, its weak ones
the colours of the background, and each pixel is then judged by map and colour together. The features that the network
has of the frame can be a third witness. doc/boxes.md says where the constants come from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray, IntArray, UInt8Map, mask_boxes
from dlib.metrics.discriminant import FeatureDiscriminant
from dlib.metrics.regions import region_boxes

LEVEL = 0.75  # share of the map's peak at which map alone is undecided
SLOPE = 10.0  # log-odds per share of the peak
COLOR_WEIGHT = 2.0  # exponent of the colours' likelihood ratio
COLOR_WEIGHT_BESIDE_FEATURES = 1.0
ROUNDS = 3  # both sides are described, then again with the last result
CELLS = 16  # cells of the colour histograms per channel
FLOOR = 1e-3  # probability that is added to each cell: rare colours say little
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16  # binomial, standard deviation one cell


def rule_boxes(
    u: UInt8Map, frame: UInt8Map, multi_contour: bool = False, features: npt.NDArray[Any] | None = None
) -> IntArray:
    """Boxes of the pixels that are rather object than background by `foreground_odds`.

    If no pixel is, the pixels above ``LEVEL`` of the map's peak count.

    Args:
        u: map [H, W], uint8.
        frame: the same pixels, RGB [H, W, 3], uint8.
        multi_contour: a box around every clear region, by mass (`region_boxes`); False: only around the contour with
            the largest area.
        features: float [C, h, w], what the network sees in the frame; None: map and colours alone.
    Returns: int64 [n, 4], n >= 1; for an empty map the single box (0, 0, 0, 0).
    Raises ValueError for shapes that do not fit.
    """
    mask = rule_mask(u, frame, features)
    return region_boxes(mask, u) if multi_contour else mask_boxes(mask, multi_contour=False)


def rule_mask(u: UInt8Map, frame: UInt8Map, features: npt.NDArray[Any] | None = None) -> UInt8Map:
    """The pixels whose contours `rule_boxes` takes: uint8 [H, W], 1 for the object; arguments and errors as there."""
    mask = foreground_odds(u, frame, features) > 0
    if not mask.any():
        mask = u > LEVEL * u.max()
    return mask.astype(np.uint8)


def foreground_odds(
    u: UInt8Map, frame: npt.NDArray[Any], features: npt.NDArray[Any] | None = None
) -> FloatArray:
    """Log-odds of each pixel to belong to the object, float64 [H, W]; -inf for an empty map.

    With p the map over its peak, the map alone gives g = 10 (p - 0.75). Weights q = σ(g) make a histogram of the
    object's colours, 1 - q one of the background's (16 cells per channel, smoothed, each with sum 1: f and b). Then
    odds = g + 2 log((f + 0.001) / (b + 0.001)) at the pixel's colour; the same twice more with q = σ(odds).

    With features the colours' logarithm counts once, and the odds of a `FeatureDiscriminant` for q are added.

    Args and errors as of `rule_boxes`.
    """
    if u.ndim != 2 or u.size == 0 or frame.shape != (*u.shape, 3):
        raise ValueError(f"expected a map [H, W] and its frame [H, W, 3], got {u.shape} and {frame.shape}")
    discriminant = None if features is None else FeatureDiscriminant(features)
    color_weight = COLOR_WEIGHT if features is None else COLOR_WEIGHT_BESIDE_FEATURES
    peak = int(u.max())
    if peak == 0:
        return np.full(u.shape, -np.inf)
    prior = SLOPE * (u / peak - LEVEL)  # [H, W]
    red, green, blue = np.moveaxis(frame.astype(np.int64) * CELLS // 256, 2, 0)
    cells = (red * CELLS + green) * CELLS + blue  # [H, W], index of the pixel's colour
    odds = prior
    for _ in range(ROUNDS):
        share = 1 / (1 + np.exp(-odds))
        ratio = np.log(_colors(cells, share) + FLOOR) - np.log(_colors(cells, 1 - share) + FLOOR)
        odds = prior + color_weight * ratio[cells]
        if discriminant is not None:
            odds += discriminant.odds(share)
    return odds


def _colors(cells: IntArray, weights: FloatArray) -> FloatArray:
    """Smoothed histogram of the colours ``cells`` [H, W], before smoothing with sum 1: [CELLS³]."""
    flat = np.asarray(np.bincount(cells.ravel(), weights.ravel(), CELLS**3), np.float64)
    counts: FloatArray = flat.reshape(CELLS, CELLS, CELLS)
    for axis in range(3):
        padded = np.pad(np.moveaxis(counts, axis, 0), ((2, 2), (0, 0), (0, 0)))
        smooth = np.sum([share * padded[i : i + CELLS] for i, share in enumerate(_KERNEL)], axis=0)
        counts = np.moveaxis(smooth, 0, axis)
    return counts.ravel() / weights.sum()
