"""The batches that loaders give to networks and metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from dlib.configure.constants import IMAGENET_MEAN, IMAGENET_STD


def normalize(frames: Tensor) -> Tensor:
    """RGB [B, 3, H, W] in 0..255 -> float32 with ImageNet's mean and standard deviation, same device."""
    mean, std = _statistics(frames.device)
    return (frames.to(torch.float32) / 255 - mean) / std


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """ImageNet's mean and standard deviation [1, 3, 1, 1]; copied to a device once, because a copy waits for it."""
    mean, std = (
        torch.tensor(numbers, device=device).view(1, 3, 1, 1) for numbers in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


@dataclass
class Regions:
    """Regions of interest of B CAMs: bool masks [B, H, W], inclusive boxes int64 [B, 4], and sizes [B].

    A size is the sum of the CAM over the region as a share of the frame.
    """

    masks: Tensor
    boxes: Tensor
    sizes: Tensor


@dataclass
class Batch:
    """B frames.

    Attributes:
        frames: uint8 [B, 3, H, W], the un-normalized RGB crop.
        labels: int64 [B], class of the frame.
        ids: frame ids, paths relative to the dataset's folder.
        indices: int64 [B], item of the split that the frame comes from (evaluation: the frame itself).
        sequence: int64 [B], equal for the frames of one draw of a shot. It stays on the CPU, where frames are grouped.
        order: int64 [B], the frame's place in its shot. It stays on the CPU too.
        keys: int64 [B], random key of (seed, epoch, item, frame), >= 0.
        cams: float32 [B, H, W] in [0, 1], the frame's stored CAM with the frame's crop and flip, or None.
        roi_masks, roi_boxes, roi_sizes: of ``regions``; None unless the dataset finds them.
        bad_frames: ids of unreadable frames, which were left out or for which other frames are used.
    """

    frames: Tensor
    labels: Tensor
    ids: list[str]
    indices: Tensor
    sequence: Tensor
    order: Tensor
    keys: Tensor
    cams: Tensor | None = None
    bad_frames: list[str] = field(default_factory=list)
    roi_masks: Tensor | None = None
    roi_boxes: Tensor | None = None
    roi_sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def images(self) -> Tensor:
        """float32 [B, 3, H, W], normalized for the network."""
        return normalize(self.frames)

    @property
    def regions(self) -> Regions | None:
        """Regions of interest of ``cams``, if the loader's workers have found them."""
        if self.roi_masks is None or self.roi_boxes is None or self.roi_sizes is None:
            return None
        return Regions(self.roi_masks, self.roi_boxes, self.roi_sizes)

    def _map(self, change: Callable[[Tensor], Tensor], leave: Collection[str] = ()) -> Batch:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed: dict[str, Any] = {name: change(t) for name, t in tensors.items() if name not in leave}
        return replace(self, **changed)

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on ``device``, except ``sequence`` and ``order``.

        Their numbers are read one by one to group frames: on a device each read would wait for the device.
        """
        return self._map(lambda t: t.to(device, non_blocking=True), leave=("sequence", "order"))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; the loader calls it."""
        return self._map(lambda t: t.pin_memory())
