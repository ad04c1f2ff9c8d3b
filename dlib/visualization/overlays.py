"""Frames with heat map, boxes, seeds: pure functions from arrays to RGB pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from dlib.configure.constants import SEED_IGNORE
from dlib.configure.literals import Colormap

TRUE_COLOR = (80, 255, 120)
PREDICTED_COLOR = (255, 255, 255)
FG_COLOR = (255, 70, 90)
BG_COLOR = (60, 150, 255)
ROI_COLOR = (255, 215, 64)
OPACITY = 0.6  # of a map where its value is 1
_HALO = (10, 12, 20)
_CAPTION = (18, 22, 32)
_TEXT = (235, 239, 245)
# Anchors of the heat map at 0, 1/4 … 1: from night blue over purple and orange to light yellow.
_HEAT = np.array([[8, 8, 40], [87, 16, 110], [188, 55, 84], [249, 142, 8], [252, 255, 164]], dtype=np.float64)


def heat_map(cam: ArrayLike, colormap: Colormap = "heat") -> NDArray[np.uint8]:
    """Colours of a map.

    Args:
        cam: [H, W], 0..1; values outside are clipped, NaN is 0.
        colormap: heat: this project's own; the others are those of matplotlib and OpenCV.
    Returns: [H, W, 3] uint8.
    Raises ValueError if ``cam`` is not two-dimensional.
    """
    values = np.clip(np.nan_to_num(np.asarray(cam, dtype=np.float64)), 0.0, 1.0)
    if values.ndim != 2:
        raise ValueError(f"cam must be [H, W], got shape {values.shape}")
    if colormap == "gray":
        return np.repeat(np.rint(255 * values).astype(np.uint8)[..., None], 3, axis=2)
    if colormap != "heat":
        import cv2  # commands that draw nothing do without it

        code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
        colored = cv2.applyColorMap(np.rint(255 * values).astype(np.uint8), code)  # [H, W, 3], blue first
        return np.ascontiguousarray(colored[..., ::-1])
    at = np.linspace(0.0, 1.0, len(_HEAT))
    colors = np.stack([np.interp(values, at, _HEAT[:, c]) for c in range(3)], axis=-1)  # [H, W, 3]
    return np.rint(colors).astype(np.uint8)


def blend(
    frame: NDArray[np.uint8], cam: ArrayLike, opacity: float = OPACITY, colormap: Colormap = "heat"
) -> NDArray[np.uint8]:
    """Frame under its heat map, whose opacity at each pixel is ``opacity`` times its value.

    Args:
        frame: [H, W, 3] uint8; cam: [H, W] in 0..1, same size.
        opacity: 0 (only the frame) to 1.
    Returns: [H, W, 3] uint8.
    """
    values = np.clip(np.nan_to_num(np.asarray(cam, dtype=np.float64)), 0.0, 1.0)
    _check_frame(frame, values.shape)
    alpha = (opacity * values)[..., None]  # [H, W, 1]
    mixed = (1.0 - alpha) * frame + alpha * heat_map(values, colormap)
    return np.rint(mixed).astype(np.uint8)


def overlay(
    frame: NDArray[np.uint8],
    cam: ArrayLike | None,
    predicted: ArrayLike | None = None,
    truth: Iterable[ArrayLike] = (),
    caption: str = "",
    scale: int | None = None,
) -> Image.Image:
    """One panel: frame, heat map, true boxes (green), predicted box (white), caption below.

    Args:
        frame: [H, W, 3] uint8. cam: [H, W] in 0..1, or None for the bare frame.
        predicted: box x0,y0,x1,y1 in frame pixels, inclusive, or None. truth: boxes of the same kind.
        caption: one line below the picture, for example "LayerCAM  IoU 0.71".
        scale: integer magnification; None: so that the shorter side has at least 224 pixels.
    Returns: RGB picture [H·scale + caption, W·scale].
    """
    picture = frame if cam is None else blend(frame, cam)
    _check_frame(picture, frame.shape[:2])
    scale = scale or max(1, -(-224 // min(frame.shape[:2])))
    image = Image.fromarray(picture).resize(
        (frame.shape[1] * scale, frame.shape[0] * scale), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(image)
    for box in truth:
        _draw_box(draw, box, scale, TRUE_COLOR)
    if predicted is not None:
        _draw_box(draw, predicted, scale, PREDICTED_COLOR)
    return _with_caption(image, caption) if caption else image


def side_by_side(panels: Sequence[Image.Image], gap: int = 4) -> Image.Image:
    """Panels (at least one) from left to right in one picture, tops aligned."""
    width = sum(panel.width for panel in panels) + gap * (len(panels) - 1)
    strip = Image.new("RGB", (width, max(panel.height for panel in panels)), _CAPTION)
    x = 0
    for panel in panels:
        strip.paste(panel, (x, 0))
        x += panel.width + gap
    return strip


def seeds_picture(
    frame: NDArray[np.uint8], seeds: ArrayLike, roi_box: ArrayLike, caption: str = ""
) -> Image.Image:
    """Pseudo-labels on their frame: foreground red, background blue, ignored pixels dimmed, ROI box yellow.

    Args:
        frame: [H, W, 3] uint8. seeds: [H, W] with 1 foreground, 0 background, SEED_IGNORE elsewhere.
        roi_box: x0,y0,x1,y1 inclusive.
    """
    labels = np.asarray(seeds)
    _check_frame(frame, labels.shape)
    unknown = np.setdiff1d(np.unique(labels), [0, 1, SEED_IGNORE])
    if unknown.size:
        raise ValueError(f"seeds must be 0, 1 or {SEED_IGNORE}; found {unknown[:3].tolist()}")
    picture = (frame * 0.55).astype(np.uint8)
    for label, color in ((1, FG_COLOR), (0, BG_COLOR)):
        picture[labels == label] = color
    image = overlay(picture, None, caption=caption)
    _draw_box(ImageDraw.Draw(image), roi_box, image.width // frame.shape[1], ROI_COLOR)
    return image


def _check_frame(frame: NDArray[np.uint8], size: tuple[int, ...]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame must be [H, W, 3] uint8, got {frame.dtype} {frame.shape}")
    if tuple(frame.shape[:2]) != tuple(size):
        raise ValueError(f"frame is {frame.shape[:2]}, its map is {tuple(size)}")


def _draw_box(draw: ImageDraw.ImageDraw, box: ArrayLike, scale: int, color: tuple[int, int, int]) -> None:
    # A box may reach far beyond the picture: lines just outside look the same and take no time.
    limit = max(draw.im.size) // scale + 20
    x0, y0, x1, y1 = (int(v) for v in np.clip(np.asarray(box).reshape(4), -20, limit))
    if x1 < x0 or y1 < y0:
        return  # an empty box, as of a map without any region
    corners = (x0 * scale, y0 * scale, (x1 + 1) * scale - 1, (y1 + 1) * scale - 1)  # inclusive pixels
    width = max(2, min(draw.im.size) // 90)
    draw.rectangle(corners, outline=color, width=width)
    halo = (corners[0] - 1, corners[1] - 1, corners[2] + 1, corners[3] + 1)
    draw.rectangle(halo, outline=_HALO)


def _with_caption(image: Image.Image, caption: str) -> Image.Image:
    font = ImageFont.load_default(size=14)
    framed = ImageOps.expand(image, (0, 0, 0, 24), _CAPTION)
    while caption and font.getlength(caption) > image.width - 12:
        caption = caption[:-2].rstrip("…") + "…" if len(caption) > 2 else ""
    ImageDraw.Draw(framed).text((6, image.height + 4), caption, fill=_TEXT, font=font)
    return framed
