"""The clear regions of a mask, for frames with several objects (ours)."""

from __future__ import annotations

import cv2
import numpy as np

from dlib.metrics.boxes import NO_BOX, IntArray, UInt8Map, mask_boxes

MIN_SHARE = 0.2  # of the largest mass: doc/boxes.md has what other shares find


def object_boxes(mask: UInt8Map, u: UInt8Map, several: bool) -> IntArray:
    """Boxes int64 [n, 4] of a map's mask: of all clear regions (`region_boxes`), or of the largest contour alone."""
    return region_boxes(mask, u) if several else mask_boxes(mask, multi_contour=False)


def region_boxes(mask: UInt8Map, u: UInt8Map, min_share: float = MIN_SHARE) -> IntArray:
    """Boxes of the connected regions of a mask, by mass: the sum of the map inside the region.

    Pixels that touch at a corner are connected. Regions with less than ``min_share`` of the largest mass are specks
    and have no box. Of equal masses the region that is found first, from the top, comes first.

    Args:
        mask: [H, W], uint8, nonzero inside.
        u: the map [H, W], uint8.
        min_share: 0..1.
    Returns: int64 [n, 4], n >= 1, x0, y0 and the first column and row outside (at most the last of the map), as of
        `boxes_from_map`; for an empty mask the single box (0, 0, 0, 0).
    """
    height, width = mask.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:  # the background alone
        return np.array([NO_BOX])
    mass = np.bincount(labels.ravel(), u.ravel(), count)[1:]  # [n]
    order = np.argsort(-mass, kind="stable")
    order = order[mass[order] >= min_share * mass[order[0]]]
    x, y, w, h = stats[1:][order, :4].T  # cv2's columns: left, top, width, height
    return np.stack([x, y, np.minimum(x + w, width - 1), np.minimum(y + h, height - 1)], axis=1).astype(
        np.int64
    )
