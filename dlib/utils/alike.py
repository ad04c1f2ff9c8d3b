"""Many small files by ``torch.save`` that differ in their values alone, such as the CAMs of a store."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlib.utils.tensors import load_tensors

_SIGNATURE = b"PK\3\4"  # of a part's header
_NAMES = 26  # place of the lengths of name and extra field in a part's header
_HEADER = 30  # its length without these two


class AlikeTensors:
    """Reads such files: the first of a kind as any file, the others by their values alone.

    A file of one float32 tensor has a description of the tensor and its values. PyTorch needs ten times as long for
    the description as for the values. Files with the same description have the same type and shape.
    """

    def __init__(self) -> None:
        self._shapes: dict[bytes, torch.Size] = {}  # by description

    def load(self, content: bytes) -> Any:
        """What ``load_tensors`` gives for a file with this content, with the same checks and errors."""
        parts = _intact_parts(content)
        kind, values = parts.get("data.pkl", b""), parts.get("data/0", b"")
        shape = self._shapes.get(kind)
        if shape is not None and parts.get("byteorder") == b"little" and len(values) == 4 * shape.numel():
            return torch.from_numpy(np.frombuffer(values, np.float32).reshape(shape).copy())
        loaded = load_tensors(io.BytesIO(content), old_format=True)
        if _is_whole(loaded, values) and sys.byteorder == "little":
            self._shapes[kind] = loaded.shape
        return loaded


def _is_whole(loaded: Any, values: bytes) -> bool:
    """Whether a tensor has exactly these values, in their order."""
    return (
        type(loaded) is Tensor
        and loaded.dtype == torch.float32
        and loaded.layout == torch.strided
        and not loaded.requires_grad
        and loaded.is_contiguous()
        and loaded.numpy().tobytes() == values
    )


def _intact_parts(content: bytes) -> dict[str, bytes]:
    """The parts of an archive by ``torch.save`` without their folder; none if anything about it is unusual.

    All parts are uncompressed and have the checksums that the archive says.
    """
    parts = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for part in archive.infolist():
                header = part.header_offset
                length, extra = struct.unpack_from("<HH", content, header + _NAMES)
                name = content[header + _HEADER : header + _HEADER + length]
                start = header + _HEADER + length + extra
                found = content[start : start + part.file_size]
                usual = (
                    content[header : header + 4] == _SIGNATURE and part.compress_type == zipfile.ZIP_STORED
                )
                if not usual or name != part.orig_filename.encode() or zlib.crc32(found) != part.CRC:
                    return {}
                parts[part.filename.partition("/")[2]] = found
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, OSError):
        return {}
    return parts
