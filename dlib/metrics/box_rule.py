"""Boxes from maps and their frames alone, without a threshold that was chosen on boxes (ours).

A threshold that is best for some videos is wrong for others: how much of an object a map marks depends on the object's
size and on the video. The frame itself says more. The map's strong pixels give the colours of the object, its weak ones
the colours of the background, and each pixel is then judged by map and colour together. The features that the network
has of the frame can be a third witness. Other frames of the shot help to describe object and background, and show what
moves.
doc/boxes.md says where the constants come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray, IntArray, UInt8Map
from dlib.metrics.discriminant import FeatureDiscriminant
from dlib.metrics.motion import Motion, motion_odds, raised_maps, shot_motion
from dlib.metrics.regions import object_boxes

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
    """Boxes of the pixels that are rather object than background by `shot_odds`.

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
    (mask,) = shot_masks([View(u, frame, features)])
    return object_boxes(mask, u, several=multi_contour)


def foreground_odds(
    u: UInt8Map, frame: npt.NDArray[Any], features: npt.NDArray[Any] | None = None
) -> FloatArray:
    """`shot_odds` of one frame; arguments as of `rule_boxes`."""
    return shot_odds([View(u, frame, features)])[0]


class View(NamedTuple):
    """What is known of one frame; see `rule_boxes`."""

    u: UInt8Map  # [H, W]
    frame: npt.NDArray[Any]  # [H, W, 3]
    features: npt.NDArray[Any] | None = None  # [C, h, w]


def shot_masks(views: Sequence[View], reach: int = 1) -> list[UInt8Map]:
    """For each frame of a shot the pixels that belong to the object, uint8 [H, W]; see `shot_odds`."""
    masks = []
    for view, odds in zip(views, shot_odds(views, reach), strict=True):
        mask = odds > 0
        if not mask.any():
            mask = view.u > LEVEL * view.u.max()
        masks.append(mask.astype(np.uint8))
    return masks


def shot_odds(views: Sequence[View], reach: int = 1) -> list[FloatArray]:
    """Log-odds of each pixel to belong to the object, for frames that show the same object; for one frame too.

    With p a map over its peak, the map alone gives g = 10 (p - 0.75). Weights q = σ(g) make a histogram of the
    object's colours, 1 - q one of the background's, each of the pixels of all frames (16 cells per channel, smoothed,
    each with sum 1: f and b). Then odds = g + 2 log((f + 0.001) / (b + 0.001)) at the pixel's colour; the same twice
    more with q = σ(odds).

    With features the colours' logarithm counts once, and the odds of a `FeatureDiscriminant` for q are added. With
    several frames their motion counts too: p becomes that of `raised_maps`, and `motion_odds` for q are added.

    Args:
        views: in the order of time.
        reach: motion is that between a frame and those so many frames before and after.
    Returns: float64 [H, W] for each view; -inf for an empty map, which says nothing about the others.
    Raises ValueError for shapes that do not fit or differ, and if only some views have features.
    """
    for u, frame, _ in views:
        if u.ndim != 2 or u.size == 0 or frame.shape != (*u.shape, 3):
            raise ValueError(
                f"expected a map [H, W] and its frame [H, W, 3], got {u.shape} and {frame.shape}"
            )
    features = [view.features for view in views if view.features is not None]
    if features and len(features) < len(views):
        raise ValueError(f"{len(features)} of {len(views)} frames have features")
    marked = [i for i, view in enumerate(views) if view.u.any()]
    results = [np.full(view.u.shape, -np.inf) for view in views]
    if not marked:
        return results
    discriminant = FeatureDiscriminant([features[i] for i in marked]) if features else None
    color_weight = COLOR_WEIGHT if discriminant is None else COLOR_WEIGHT_BESIDE_FEATURES
    maps = [views[i].u / int(views[i].u.max()) for i in marked]
    motions: list[Motion] = []
    if len(views) > 1:
        of_all = shot_motion([view.frame for view in views], reach)
        motions = [of_all[i] for i in marked]
        maps = raised_maps(maps, motions)
    priors = [SLOPE * (share - LEVEL) for share in maps]
    cells = [_cells(views[i].frame) for i in marked]
    colors = np.concatenate([cell.ravel() for cell in cells])
    found = priors
    for _ in range(ROUNDS):
        shares = [1 / (1 + np.exp(-odds)) for odds in found]
        share = np.concatenate([each.ravel() for each in shares])
        ratio = np.log(_colors(colors, share) + FLOOR) - np.log(_colors(colors, 1 - share) + FLOOR)
        found = [prior + color_weight * ratio[cell] for prior, cell in zip(priors, cells, strict=True)]
        if discriminant is not None:
            found = [odds + more for odds, more in zip(found, discriminant.odds(shares), strict=True)]
        if motions:
            found = [odds + more for odds, more in zip(found, motion_odds(motions, shares), strict=True)]
    for i, odds in zip(marked, found, strict=True):
        results[i] = odds
    return results


def _cells(frame: npt.NDArray[Any]) -> IntArray:
    """Index of each pixel's colour in a histogram: [H, W], of RGB [H, W, 3]."""
    red, green, blue = np.moveaxis(frame.astype(np.int64) * CELLS // 256, 2, 0)
    return np.asarray((red * CELLS + green) * CELLS + blue)


def _colors(cells: IntArray, weights: FloatArray) -> FloatArray:
    """Smoothed histogram of the colours ``cells`` [N], before smoothing with sum 1: [CELLS³]."""
    flat = np.asarray(np.bincount(cells, weights, CELLS**3), np.float64)
    counts: FloatArray = flat.reshape(CELLS, CELLS, CELLS)
    for axis in range(3):
        padded = np.pad(np.moveaxis(counts, axis, 0), ((2, 2), (0, 0), (0, 0)))
        smooth = np.sum([share * padded[i : i + CELLS] for i, share in enumerate(_KERNEL)], axis=0)
        counts = np.moveaxis(smooth, 0, axis)
    return counts.ravel() / weights.sum()
