"""Every picture, from a file, PIL, an array or a video, as RGB of 8 bits.

Defined behaviour: first picture of animated files; greyscale, palette, CMYK and alpha become RGB (alpha is
dropped); 16 bits keep their upper 8; floats are in 0..1. A dataset's frames ignore an EXIF rotation mark, because
published boxes are in stored pixels; a user's pictures are rotated as it says. Files that are not complete pictures
of a known format are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from dlib.utils.errors import UserError

# Decoders that may run on a user's file; others (EPS calls an interpreter) are never tried.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
Picture = Image.Image | NDArray[np.generic]
_RGB: int | None = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11
MAX_PIXELS = 64_000_000  # an 8K frame has 33 million; more is a decompression bomb or not a video frame


def read_image(path: Path) -> NDArray[np.uint8]:
    """The frame at ``path`` as RGB, uint8 [H, W, 3]; an EXIF rotation mark is ignored.

    Raises UserError naming the path if it is missing, no regular file, damaged, truncated, of an unknown
    format, or has more than ``MAX_PIXELS`` pixels.
    """
    with open_image(path, "replace it or use --skip_bad_frames True") as image:
        pixels = _colour_jpeg(image)
        return np.asarray(to_rgb(image)) if pixels is None else pixels


def _colour_jpeg(image: ImageFile) -> NDArray[np.uint8] | None:
    """The pixels of an open JPEG in colour by OpenCV, whose decoder is Pillow's and makes fewer copies.

    None for all other pictures, and where OpenCV cannot read it. It is not asked if the end is missing: it would make
    up the pixels there, Pillow says that the file is truncated.
    """
    if _RGB is None or (image.format, image.mode) != ("JPEG", "RGB") or image.fp is None:
        return None
    image.fp.seek(0)
    content = image.fp.read()
    if not content[-64:].rstrip(b"\0").endswith(b"\xff\xd9"):
        return None
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), _RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return None if pixels is None else pixels.astype(np.uint8, copy=False)


@contextmanager
def open_image(path: Path, remedy: str) -> Iterator[ImageFile]:
    """The picture at ``path``; its header is read, its pixels are not.

    Raises UserError as ``read_image`` does, also for errors while the caller decodes it; for a damaged file the
    message ends with ``remedy``.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such frame; check the dataset's folder or build it again")
    # Decoders raise errors of many types on damaged input (struct.error, EOFError, SyntaxError, …).
    try:
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UserError(f"{path}: {width}x{height} pixels are more than the {MAX_PIXELS} allowed")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: more than the {MAX_PIXELS} pixels allowed") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = f"not a picture of the formats {', '.join(FORMATS)}"
        raise UserError(f"{path}: unreadable frame ({reason}); {remedy}") from error


def read_upright(path: Path, remedy: str) -> NDArray[np.uint8]:
    """The picture at ``path`` as uint8 [H, W, 3], rotated as its EXIF mark says. Raises UserError as ``open_image``."""
    with open_image(path, remedy) as image:
        return rgb_array(image)


def rgb_array(picture: Picture) -> NDArray[np.uint8]:
    """A PIL picture (rotated as its EXIF mark says) or an array as RGB, uint8 [H, W, 3].

    Args:
        picture: arrays are [H, W], [H, W, 1] (grey), [H, W, 2] (grey, alpha), [H, W, 3] or [H, W, 4] (RGB, alpha) of
            type uint8, uint16 (the upper 8 bits count), bool, or float in 0..1.
    Raises ValueError, TypeError for anything else.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(to_rgb(ImageOps.exif_transpose(picture)))
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"expected a PIL picture or a numpy array, got {type(picture).__name__}")
    values = picture[..., None] if picture.ndim == 2 else picture
    if values.ndim != 3 or values.shape[2] not in (1, 2, 3, 4) or values.size == 0:
        raise ValueError(f"an image is an array [H, W] or [H, W, 1..4], got {list(picture.shape)}")
    values = _eight_bits(values[..., : 1 if values.shape[2] < 3 else 3])
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8 bits RGB, decoded. Raises ValueError for floats outside 0..1, or what the decoder raises."""
    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I"):  # 16 bits, also if PIL keeps them in 32; convert() would clip, not scale
        return Image.fromarray(_eight_bits(np.asarray(image).clip(0, 65535).astype(np.uint16))).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    return image.convert("LA" if image.mode == "La" else image.mode).convert("RGB")


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixel values of any allowed type in 0..255."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype.newbyteorder("=") == np.uint16:
        return (values >> 8).astype(np.uint8)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype.kind == "f":
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("floating-point pixels must lie in 0..1")
        return np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    raise ValueError(f"pixels must be uint8, uint16, bool or float in 0..1, got {values.dtype}")
