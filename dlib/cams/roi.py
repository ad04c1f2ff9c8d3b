"""Regions of interest: the part of a CAM in which foreground seeds are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from dlib.cams.morphology import cache_blocks, erode
from dlib.configure.literals import RoiMask, RoiMethod


@dataclass(frozen=True)
class Roi:
    """Regions of a batch.

    Attributes:
        masks: bool [B, H, W], where foreground is drawn, after erosion.
        regions: bool [B, H, W], the chosen region's own pixels, before erosion.
        boxes: int64 [B, 4], x0, y0, x1, y1 inclusive, of the chosen region before erosion; for roi_all the full
            map.
    """

    masks: Tensor
    regions: Tensor
    boxes: Tensor


def region_of_interest(
    cams: Tensor,
    method: RoiMethod = "roi_all",
    min_size: float = 0.05,
    erode_k: int = 11,
    erode_iter: int = 0,
    mask: RoiMask = "box",
) -> Roi:
    """The region of each CAM that holds the object.

    The pixels with 255·C >= Otsu's threshold form 4-connected components, the candidates. ``largest`` uses the
    component with the most pixels. ``roi_high_density`` uses the one with the highest mean CAM, or the largest if
    that one has fewer than ``min_size``·H·W pixels. ``roi_all`` uses all. On a tie the component whose first pixel
    comes first (row by row) is used. One call labels the components of all images, on the CPU.

    Args:
        cams: float [B, H, W] in [0, 1], any device.
        erode_k, erode_iter: the mask is eroded ``erode_iter`` times by a square of this side (it may vanish).
        mask: ``box``: the region's filled bounding box (roi_all: the full map); ``region``: its pixels.
    Raises ValueError for an unknown method or mask and for shapes other than [B, H, W].
    """
    if method not in get_args(RoiMethod) or mask not in get_args(RoiMask):
        raise ValueError(
            f"method {method!r}, mask {mask!r}: expected one of {get_args(RoiMethod)}"
            f" and one of {get_args(RoiMask)}"
        )
    if cams.dim() != 3:
        raise ValueError(f"CAMs [B, H, W] expected, got {list(cams.shape)}")
    parts = [_regions(cams[block], method, min_size) for block in cache_blocks(cams)]
    regions, boxes = (torch.cat(part) for part in zip(*parts, strict=True))
    masks = regions if mask == "region" else filled_boxes(boxes, cams.shape[1], cams.shape[2])
    return Roi(erode(masks, erode_k, erode_iter), regions, boxes)


def _regions(cams: Tensor, method: str, min_size: float) -> tuple[Tensor, Tensor]:
    """Regions bool [B, H, W] and their boxes [B, 4]."""
    brightness = (cams.float() * 255).clamp_(0, 255)  # [B, H, W]
    blobs = brightness >= otsu_thresholds(brightness.to(torch.uint8)).view(-1, 1, 1)
    if method == "roi_all":
        return blobs, full_boxes(cams)
    return _best_components(blobs, cams, None if method == "largest" else min_size)


def full_boxes(cams: Tensor) -> Tensor:
    """The inclusive box of the full map for each of the CAMs [B, H, W]: int64 [B, 4]."""
    batch, height, width = cams.shape
    return torch.tensor([0, 0, width - 1, height - 1], device=cams.device).repeat(batch, 1)


def otsu_thresholds(levels: Tensor) -> Tensor:
    """Otsu's threshold of each image, equal to that of skimage's `threshold_otsu` for the levels as float32.

    There are 256 bins between the image's own lowest and highest level, and the threshold is the centre of a bin.
    It is never one of the levels, so an image of two levels is split between them. Of equally good bins the lowest
    is used.

    Args:
        levels: uint8 [B, H, W], any device.
    Returns: float32 [B] on the same device; 0 for a constant image.
    """
    thresholds = _thresholds_of_histograms(_histograms(levels))
    return torch.from_numpy(thresholds).to(levels.device)


def _histograms(levels: Tensor) -> np.ndarray:
    """Pixels of each level: uint8 [B, H, W] -> [B, 256]."""
    if levels.device.type == "cpu":
        found = (cv2.calcHist([image], [0], None, [256], [0, 256]) for image in levels.contiguous().numpy())
        return np.stack([counts.ravel() for counts in found])
    return _histograms_on_device(levels).cpu().numpy()


def _histograms_on_device(levels: Tensor) -> Tensor:
    """The same as int64 [B, 256], on any device."""
    batch = len(levels)
    rows = torch.arange(batch, device=levels.device).view(-1, 1) * 256
    counts = torch.bincount((levels.flatten(1) + rows).view(-1), minlength=256 * batch)
    return counts.view(batch, 256)


def _thresholds_of_histograms(counts: np.ndarray) -> np.ndarray:
    """Pixels of each level [B, 256] -> thresholds float32 [B].

    All sums are float32 and in skimage's order, since rounding decides between bins that are equally good.
    """
    batch, levels = counts.shape
    present = counts > 0
    low, high = present.argmax(axis=1), levels - 1 - present[:, ::-1].argmax(axis=1)  # [B]
    span = np.maximum(high - low, 1)
    of_level = np.arange(levels) - low[:, None]  # [B, 256]
    bins = np.clip(
        256 * of_level // span[:, None], 0, 255
    )  # a level on the edge of two bins belongs to the upper one
    sizes = np.zeros((batch, 256), np.float32)
    np.add.at(sizes, (np.arange(batch)[:, None], bins), counts.astype(np.float32))
    centers = (low[:, None] + (np.arange(256) + 0.5) * (span[:, None] / 256)).astype(np.float32)  # exact
    moments = sizes * centers
    below, above = sizes.cumsum(axis=1), sizes[:, ::-1].cumsum(axis=1)[:, ::-1]  # [B, 256]
    with np.errstate(invalid="ignore"):  # 0/0 in a constant image; its threshold is set to 0 in any case
        mean_below = moments.cumsum(axis=1) / below
        mean_above = (moments[:, ::-1].cumsum(axis=1) / above[:, ::-1])[:, ::-1]
    variance = below[:, :-1] * above[:, 1:] * (mean_below[:, :-1] - mean_above[:, 1:]) ** 2  # [B, 255]
    best = centers[np.arange(batch), variance.argmax(axis=1)]
    return np.where(high > low, best, np.float32(0))


def filled_boxes(boxes: Tensor, height: int, width: int) -> Tensor:
    """Masks of inclusive boxes: [B, 4] -> bool [B, H, W]."""
    x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(1)  # [B, 1] each
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    inside_rows = (rows >= y0) & (rows <= y1)  # [B, H]
    inside_columns = (columns >= x0) & (columns <= x1)  # [B, W]
    return inside_rows.unsqueeze(2) & inside_columns.unsqueeze(1)


def _best_components(blobs: Tensor, cams: Tensor, min_size: float | None) -> tuple[Tensor, Tensor]:
    """One component per image: the densest (at least ``min_size``·H·W pixels), or for None the largest.

    Returns: bool [B, H, W], inclusive boxes int64 [B, 4].
    """
    batch, height, width = blobs.shape
    # The images are put below each other, with an empty row between them: one call labels all.
    sheet = np.zeros((batch, height + 1, width), np.uint8)
    sheet[:, :height] = blobs.cpu().numpy()
    # Counting the labels takes a quarter of the time that OpenCV's statistics of all components take.
    count, labels = cv2.connectedComponents(sheet.reshape(-1, width), connectivity=4)
    labels = labels.reshape(batch, height + 1, width)[:, :height]
    # Labels have the order of the components' first pixels, so that an image's components follow one another.
    image_of = np.searchsorted(labels.max(axis=(1, 2)), np.arange(1, count))  # [components]
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    chosen = _first_best(areas, image_of, batch)
    if min_size is not None:
        sums = np.bincount(labels.ravel(), cams.cpu().double().numpy().ravel(), count)[1:]
        densest = _first_best(sums / areas, image_of, batch)
        chosen = np.where(areas[densest] < min_size * height * width, chosen, densest)
    regions = labels == (chosen + 1).astype(np.int32).reshape(-1, 1, 1)
    corners = np.array([cv2.boundingRect(region.view(np.uint8)) for region in regions], np.int64)
    boxes = np.concatenate((corners[:, :2], corners[:, :2] + corners[:, 2:] - 1), axis=1)
    return torch.from_numpy(regions).to(cams.device), torch.from_numpy(boxes).to(cams.device)


def _first_best(scores: np.ndarray, image_of: np.ndarray, batch: int) -> np.ndarray:
    """Index of the highest score of every image, the first on a tie; every image has a component."""
    order = np.lexsort((np.arange(len(scores)), -scores.astype(np.float64), image_of))
    return order[np.searchsorted(image_of[order], np.arange(batch))]
