"""Geometry and colour of a sample: resize, random crop, flip (the same for a frame and its CAM), colours."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

_EXACT = 2**24  # whole numbers up to here are exact in float32


class CropFlip(NamedTuple):
    """A square window of ``size`` pixels at (``top``, ``left``), mirrored left to right if ``flip``."""

    top: int
    left: int
    size: int
    flip: bool

    def apply(self, values: Tensor, size: int) -> Tensor:
        """The window of ``values`` [C, R, R] or [R, R], contiguous, resized to ``size``."""
        window = values[..., self.top : self.top + self.size, self.left : self.left + self.size]
        return self._finished(window, size)

    def of_picture(self, picture: Image.Image, side: int, size: int) -> Tensor:
        """``apply(resize_image(picture, side), size)``, bit by bit, uint8 [3, size, size].

        Where the numbers allow it, the pixels outside of the window are not computed. Pillow then places the window
        as it would place the whole only if all places are exact: they are multiples of 1/``side``, in float32.
        """
        if side & (side - 1) or max(picture.size) * side > _EXACT:
            return self.apply(resize_image(picture, side), size)
        across, down = picture.width / side, picture.height / side
        left, top = self.left, self.top
        box = (left * across, top * down, (left + self.size) * across, (top + self.size) * down)
        resized = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box)
        return self._finished(_planes(resized), size)

    def _finished(self, window: Tensor, size: int) -> Tensor:
        """The window's values, mirrored, contiguous, resized."""
        window = (window.flip(-1) if self.flip else window).contiguous()
        return window if size == self.size else _resize_square(window, size)


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


def resize_image(image: Image.Image, size: int) -> Tensor:
    """RGB picture -> uint8 [3, size, size]; bilinear with antialiasing, aspect ratio not kept."""
    return _planes(image.resize((size, size), Image.Resampling.BILINEAR))


def resize_cam(cam: Tensor, size: int) -> Tensor:
    """CAM [h, w] -> float32 [size, size], bilinear."""
    cam = cam.to(torch.float32)[None, None]  # [1, 1, h, w]
    return F.interpolate(cam, (size, size), mode="bilinear", align_corners=False)[0, 0]


def _planes(picture: Image.Image) -> Tensor:
    """RGB picture -> uint8 [3, H, W]."""
    planes = np.empty((3, picture.height, picture.width), np.uint8)
    cv2.split(np.asarray(picture), tuple(planes))  # ten times as fast as a transposed copy
    return torch.from_numpy(planes)


def _resize_square(values: Tensor, size: int) -> Tensor:
    """[C, S, S] or [S, S] -> the same kind at ``size``; bilinear with antialiasing, of the same type."""
    planes = values.reshape(1, -1, *values.shape[-2:]).float()
    resized = F.interpolate(planes, (size, size), mode="bilinear", antialias=True)
    if not values.is_floating_point():
        resized = resized.round().clamp(0, 255)
    return resized.to(values.dtype).reshape(*values.shape[:-2], size, size)


def _grey(pixels: Tensor) -> Tensor:
    """Luma of ITU-R BT.601: [3, H, W] -> [1, H, W]."""
    weights = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
    return (pixels * weights).sum(dim=0, keepdim=True)
