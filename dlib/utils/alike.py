"""Many small files by ``torch.save`` that differ in their values alone, such as the CAMs of a store."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlib.utils.tensors import load_tensors

_PARTS = ("data.pkl", "byteorder", "data/0")  # description, order of bytes, values of the only tensor


class AlikeTensors:
    """Reads such files: the first of a kind as any file, the others by their values alone.

    A file of one float32 tensor has a description of the tensor and its values. PyTorch needs ten times as long for
    the description as for the values. Files with the same description have the same type and shape.
    """

    def __init__(self) -> None:
        self._shapes: dict[bytes, torch.Size] = {}  # by description

    def load(self, content: bytes) -> Any:
        """What ``load_tensors`` gives for a file with this content, with the same checks and errors."""
        parts = _parts(content)
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


def _parts(content: bytes) -> dict[str, bytes]:
    """Description, order of bytes and values of an archive by ``torch.save``, with their checksums tested.

    None of them if the archive is damaged or unusual.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            folder = archive.namelist()[0].partition("/")[0]
            found = {name: archive.getinfo(f"{folder}/{name}") for name in _PARTS}
            if any(part.compress_type != zipfile.ZIP_STORED for part in found.values()):
                return {}
            return {name: archive.read(part) for name, part in found.items()}
    except (zipfile.BadZipFile, struct.error, LookupError, RuntimeError, EOFError, ValueError, OSError):
        return {}
