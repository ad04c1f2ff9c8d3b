"""Boxes around the thresholded contours of a map, and the IoU of boxes.

A map is first truncated to uint8, so it has at most 256 distinct masks ``u > level``. Each is searched for contours
once, for any number of thresholds. Boxes are ``x0, y0, x1, y1`` in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

UInt8Map = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

LEVELS = 256  # distinct values of a uint8 map
NO_BOX = (0, 0, 0, 0)  # means "no contour", as in the WSOL protocol


def threshold_grid(interval: float) -> FloatArray:
    """Thresholds 0, interval, 2·interval … < 1, float64 [T]. Raises ValueError unless 0 < interval <= 1."""
    if not 0.0 < interval <= 1.0:
        raise ValueError(f"interval must lie in (0, 1], got {interval}")
    return np.arange(0.0, 1.0, interval)


def threshold_levels(taus: FloatArray, peak: npt.ArrayLike) -> IntArray:
    """Level int(tau · peak) of each threshold: taus [T] and peaks [...] (0..255) -> int64 [..., T]."""
    return (np.asarray(peak, dtype=np.float64)[..., None] * taus).astype(np.int64)


def quantize_maps(cams: Tensor | npt.NDArray[Any]) -> UInt8Map:
    """Truncate 255·C to uint8, on the maps' own device: [..., H, W] in [0, 1] -> uint8 array [..., H, W].

    NaN becomes 0; values outside [0, 1] are clipped, so that no value wraps around.
    """
    values = cams.detach() if isinstance(cams, Tensor) else torch.from_numpy(np.array(cams))
    if values.dtype not in (torch.float32, torch.float64):
        values = values.float()
    scaled = torch.nan_to_num(values * 255, nan=0.0, posinf=255.0, neginf=0.0).clamp(0, 255)
    return scaled.to(torch.uint8).cpu().numpy()


def box_iou(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """IoU of every pair of boxes with inclusive corners (a box from x to x is one pixel wide).

    Args:
        a: boxes [n, 4], x0 <= x1, y0 <= y1.
        b: boxes [m, 4].
    Returns: float64 [n, m] in [0, 1].
    Raises ValueError for other shapes.
    """
    first, second = _as_boxes(a, "a"), _as_boxes(b, "b")
    low = np.maximum(first[:, None, :2], second[None, :, :2])  # [n, m, 2]
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])  # [n, m, 2]
    shared = np.clip(high - low + 1, 0, None).prod(axis=2)  # [n, m]
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared  # [n, m]
    return shared / union


def boxes_from_map(
    cam: Tensor | npt.NDArray[Any], taus: npt.ArrayLike, multi_contour: bool = False
) -> list[IntArray]:
    """Boxes of one map at each threshold (WSOL protocol, Choe et al. 2020, section 3).

    The mask of threshold τ is ``u > int(τ · max u)`` with u = the map truncated to uint8.

    Args:
        cam: map [H, W] in [0, 1]; NaN counts as 0.
        taus: thresholds [T] in [0, 1).
        multi_contour: a box around every contour; False: only around the contour with the largest area.
    Returns: T arrays int64 [n, 4], n >= 1; without any contour the single box (0, 0, 0, 0).
    Raises ValueError for a map that is not two-dimensional or empty.
    """
    u = quantize_maps(cam)
    if u.ndim != 2 or u.size == 0:
        raise ValueError(f"cam must be a non-empty map [H, W], got shape {tuple(u.shape)}")
    levels = threshold_levels(np.atleast_1d(np.asarray(taus, dtype=np.float64)), int(u.max()))  # [T]
    boxes, group = level_boxes(u, levels, multi_contour)
    return [boxes[g] for g in group]


def level_boxes(u: UInt8Map, levels: IntArray, multi_contour: bool) -> tuple[list[IntArray], IntArray]:
    """Boxes of the masks ``u > level``; each distinct mask is searched once.

    Args:
        u: uint8 map [H, W].
        levels: int64 [L], >= 0.
        multi_contour: see `boxes_from_map`.
    Returns: the G <= 256 distinct results (int64 [n, 4] each), and for each level the index of its result, int64 [L].
    """
    present = np.flatnonzero(cv2.calcHist([u], [0], None, [LEVELS], [0, LEVELS]))
    below = np.searchsorted(present, levels, side="right")  # equal counts of values <= level: equal masks
    steps, group = np.unique(below, return_inverse=True)
    mask = np.empty_like(u)  # one buffer: it takes longer to allocate a mask than to fill it
    boxes = [
        mask_boxes(_level_mask(u, int(present[step - 1]) if step else -1, mask), multi_contour)
        if step < len(present)
        else np.array([NO_BOX])
        for step in steps
    ]
    return boxes, group.reshape(-1)


def threshold_mask(u: UInt8Map, tau: float) -> UInt8Map:
    """The mask of one threshold, ``u > int(τ · max u)``: uint8 [H, W], nonzero inside, of the uint8 map u [H, W]."""
    (level,) = threshold_levels(np.array([tau]), int(u.max()))
    return _level_mask(u, int(level), np.empty_like(u))


def best_matches(boxes: Sequence[IntArray], truth: npt.ArrayLike) -> tuple[FloatArray, IntArray]:
    """Best IoU of each group of boxes with any true box.

    Args:
        boxes: G arrays int64 [n_g, 4], n_g >= 1.
        truth: true boxes [m, 4]; m = 0, an unknown box, gives IoU 0, which says nothing about the map.
    Returns: IoU float64 [G] and the box that has it (the first on ties) int64 [G, 4].
    """
    sizes = np.array([len(group) for group in boxes])
    stacked = np.concatenate(boxes)  # [sum n_g, 4]
    true_boxes = _as_boxes(truth, "truth")
    iou = box_iou(stacked, true_boxes).max(axis=1) if len(true_boxes) else np.zeros(len(stacked))
    starts = np.cumsum(sizes) - sizes  # [G]
    if len(stacked) == len(boxes):
        return iou, stacked
    best = np.array(
        [start + int(iou[start : start + size].argmax()) for start, size in zip(starts, sizes, strict=True)]
    )
    return iou[best], stacked[best]


def mask_boxes(mask: UInt8Map, multi_contour: bool) -> IntArray:
    """Boxes int64 [n, 4] of the contours of a mask [H, W], nonzero inside; without any the box (0, 0, 0, 0)."""
    height, width = mask.shape
    contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.array([NO_BOX])
    if not multi_contour and len(contours) > 1:
        contours = (max(contours, key=cv2.contourArea),)
    rects = [cv2.boundingRect(contour) for contour in contours]
    return np.array([(x, y, min(x + w, width - 1), min(y + h, height - 1)) for x, y, w, h in rects])


def _level_mask(u: UInt8Map, level: int, mask: UInt8Map) -> UInt8Map:
    """The mask ``u > level``, written into ``mask`` [H, W]."""
    cv2.threshold(u, level, 255, cv2.THRESH_BINARY, dst=mask)
    return mask


def _as_boxes(boxes: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(boxes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must have shape [n, 4], got {list(array.shape)}")
    return array


def _areas(boxes: FloatArray) -> FloatArray:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
