"""Reading one frame.

Defined behaviour: first picture of animated files; greyscale, palette, CMYK and alpha become RGB (alpha is
dropped); 16-bit greyscale keeps its upper 8 bits; an EXIF rotation mark is ignored, because published boxes
are in stored pixels. Everything else that is not a whole picture of a known format is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from dlib.utils.errors import UserError

# Decoders that may run on a user's file; others (EPS calls an interpreter) are never tried.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000  # an 8K frame has 33 million; more is a decompression bomb or no video frame


def read_image(path: Path) -> Image.Image:
    """The frame at ``path`` as an RGB picture of 8 bits, fully decoded.

    Raises UserError naming the path if it is missing, no regular file, damaged, truncated, of an unknown
    format, or has more than ``MAX_PIXELS`` pixels.
    """
    with open_image(path, "replace it or use --skip_bad_frames True") as image:
        return to_rgb(image)


@contextmanager
def open_image(path: Path, remedy: str) -> Iterator[Image.Image]:
    """The picture at ``path``, its header read and its pixels not yet.

    Raises UserError as ``read_image`` does, also for what goes wrong while the caller decodes it; it ends with
    ``remedy`` where the file is damaged.
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
            reason = f"no picture of the formats {', '.join(FORMATS)}"
        raise UserError(f"{path}: unreadable frame ({reason}); {remedy}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8 bits RGB, decoded. Raises ValueError for floating-point pixels, or what the decoder raises."""
    if image.mode == "RGB":
        image.load()
        return image.copy()
    if image.mode.startswith("I"):  # 16-bit greyscale: converting would clip instead of scaling
        values = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range")
    return image.convert("RGB")
