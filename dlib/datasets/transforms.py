"""Geometry and colour of a sample: resize, random crop, flip (the same for a frame and its CAM), colours."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dlib.datasets.resizing import Window, resize_window


class CropFlip(NamedTuple):
    """A square window of ``size`` pixels at (``top``, ``left``), mirrored left to right if ``flip``."""

    top: int
    left: int
    size: int
    flip: bool

    def apply(self, values: Tensor, size: int) -> Tensor:
        """The window of ``values`` [C, R, R] or [R, R], contiguous, resized to ``size``."""
        window = values[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return _at_size((window.flip(-1) if self.flip else window).contiguous(), size)

    def of_picture(self, pixels: NDArray[np.uint8], side: int, size: int) -> Tensor:
        """``apply(resize_image(pixels, side), size)``, bit by bit, uint8 [3, size, size].

        The pixels outside of the window are not computed.
        """
        window = Window(self.top, self.left, self.size, self.size)
        return _at_size(torch.from_numpy(resize_window(pixels, side, window, self.flip)), size)


class Colors(NamedTuple):
    """Factors of brightness, contrast and saturation; 1 changes nothing."""

    brightness: float
    contrast: float
    saturation: float

    def apply(self, image: Tensor) -> Tensor:
        """uint8 [3, H, W] -> uint8 [3, H, W]: brightness, then contrast around the mean grey, then saturation."""
        pixels = image.float() * self.brightness
        mean = _grey(pixels).mean()
        pixels = mean + (pixels - mean) * self.contrast
        grey = _grey(pixels)
        pixels = grey + (pixels - grey) * self.saturation
        return pixels.round().clamp(0, 255).to(torch.uint8)


def draw_crop_flip(
    resize_size: int, crop_size: int, rng: np.random.Generator, scale_min: float = 1.0
) -> CropFlip:
    """A uniformly placed crop of a resized square, mirrored with probability ½.

    With ``scale_min`` < 1 the crop's share of the square's area is uniform in scale_min..1, else its side is
    ``crop_size``.
    """
    size = crop_size
    if scale_min < 1:
        size = max(1, round(resize_size * float(rng.uniform(scale_min, 1.0)) ** 0.5))
    room = resize_size - size + 1
    top, left = rng.integers(room, size=2).tolist()
    return CropFlip(top, left, size, bool(rng.random() < 0.5))


def draw_colors(strength: float, rng: np.random.Generator) -> Colors:
    """Three independent factors, uniform in 1 − strength..1 + strength."""
    return Colors(*rng.uniform(1 - strength, 1 + strength, size=3).tolist())


def resize_image(pixels: NDArray[np.uint8], size: int) -> Tensor:
    """RGB, uint8 [H, W, 3] -> uint8 [3, size, size]; bilinear with antialiasing, aspect ratio not kept."""
    return torch.from_numpy(resize_window(pixels, size, Window(0, 0, size, size)))


def resize_cam(cam: Tensor, size: int) -> Tensor:
    """CAM [h, w] -> float32 [size, size], bilinear."""
    cam = cam.to(torch.float32)[None, None]  # [1, 1, h, w]
    return F.interpolate(cam, (size, size), mode="bilinear", align_corners=False)[0, 0]


def _at_size(values: Tensor, size: int) -> Tensor:
    """[C, S, S] or [S, S] -> the same kind at ``size``; bilinear with antialiasing, of the same type."""
    if size == values.shape[-1]:
        return values
    planes = values.reshape(1, -1, *values.shape[-2:]).float()
    resized = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    if not values.is_floating_point():
        resized = resized.round().clamp(0, 255)
    return resized.to(values.dtype).reshape(*values.shape[:-2], size, size)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601: [3, H, W] -> [1, H, W]."""
    weights = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
    return (pixels * weights).sum(dim=0, keepdim=True)
