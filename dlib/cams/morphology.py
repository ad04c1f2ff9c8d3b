"""Batches of boolean masks on any device: counting, dilation and erosion by squares."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK_PIXELS = 1 << 18


def cache_blocks(maps: Tensor) -> list[slice]:
    """Slices of a batch [B, H, W] whose temporaries fit into a CPU's cache; on other devices one slice, the batch."""
    batch = len(maps)
    step = max(1, _BLOCK_PIXELS // maps[0].numel() if batch and maps.device.type == "cpu" else batch)
    return [slice(start, start + step) for start in range(0, batch, step)]


def count(masks: Tensor) -> Tensor:
    """True values of every row: bool [B, P] -> int64 [B]; summing bytes is several times faster than bools."""
    return masks.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()


def dilate(masks: Tensor, size: int, iterations: int = 1) -> Tensor:
    """Grow every True pixel into a square: bool [..., H, W] -> bool [..., H, W].

    A pixel (y, x) covers rows y - (size - 1) // 2 .. y + size // 2 and the same columns: for odd sizes the
    centred square; an even one reaches one pixel further down and right. Pixels outside the map are lost.
    ``iterations`` repeats it.

    Raises ValueError for size < 1 or iterations < 0.
    """
    if size < 1 or iterations < 0:
        raise ValueError(f"a square of side {size}, {iterations} times: side >= 1 and times >= 0 expected")
    before, after = (size - 1) // 2 * iterations, size // 2 * iterations
    window = before + after + 1
    if window == 1:
        return masks
    # The union over a window is built by doubling: log2(window) passes per axis.
    grown = functional.pad(masks, (after, before, after, before))
    for axis in (-1, -2):
        width = 1
        while width < window:
            step = min(width, window - width)
            length = grown.shape[axis] - step
            grown = grown.narrow(axis, 0, length) | grown.narrow(axis, step, length)
            width += step
    return grown


def erode(masks: Tensor, size: int, iterations: int = 1) -> Tensor:
    """Shrink the True regions by a square, bool [..., H, W]; the map's border does not shrink them."""
    return ~dilate(~masks, size, iterations)
