"""Many small files by ``torch.save`` that differ in their values alone, such as the CAMs of a store."""

from __future__ import annotations

import io
import re
import struct
import sys
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dlib.utils.tensors import load_tensors

_KINDS = 8  # kept for one length of file; a folder usually has one
_VALUES = "/data/0"  # the values of the only tensor
_CHANGING = (_VALUES, "/.data/serialization_id")  # the second is a number that follows from the values


class AlikeTensors:
    """Reads such files: the first of a kind as any file, the others by their values alone.

    A file of one float32 tensor has its values, and for PyTorch a description, checksums and directory around them,
    for which PyTorch and the checks need thirty times as long. Of two files of a kind, all this is the same but for the
    checksums.
    """

    def __init__(self) -> None:
        self._kinds: dict[int, list[_Kind]] = defaultdict(list)  # by length in bytes

    def load(self, content: bytes) -> Any:
        """What ``load_tensors`` gives for a file with this content, with the same checks and errors."""
        kinds = self._kinds[len(content)]
        for kind in kinds:
            if kind.has(content):
                return kind.tensor(content)
        loaded = load_tensors(io.BytesIO(content), old_format=True)
        if len(kinds) < _KINDS and (new := _kind_of(content, loaded)) is not None:
            kinds.append(new)
        return loaded


@dataclass(frozen=True)
class _Part:
    """Bytes ``start`` to ``end`` of a file, which differ between files of a kind; their checksum is at ``sums``."""

    start: int
    end: int
    sums: tuple[int, ...]


@dataclass(frozen=True)
class _Kind:
    """A file, and what differs in other files of its kind."""

    example: bytes
    values: _Part
    parts: tuple[_Part, ...]  # the values too
    shape: torch.Size

    def has(self, content: bytes) -> bool:
        """Whether a file of the same length is the example but for its parts, whose checksums are right."""
        expected = bytearray(self.example)
        for part in self.parts:
            own = content[part.start : part.end]
            expected[part.start : part.end] = own
            for place in part.sums:
                expected[place : place + 4] = _checksum(own)
        return expected == content

    def tensor(self, content: bytes) -> Tensor:
        """The tensor of a file of this kind."""
        values = np.frombuffer(content, "<f4", self.shape.numel(), self.values.start)
        return torch.from_numpy(values.reshape(self.shape).copy())


def _kind_of(content: bytes, loaded: object) -> _Kind | None:
    """The kind of a file that holds one whole float32 tensor and was loaded; None for all other files."""
    if not isinstance(loaded, Tensor) or not _is_plain(loaded) or sys.byteorder != "little":
        return None
    parts = _changing_parts(content)
    values = parts.get(_VALUES)
    if values is None or content[values.start : values.end] != loaded.numpy().tobytes():
        return None
    return _Kind(content, values, tuple(parts.values()), loaded.shape)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is nothing but its values, in their order."""
    return (
        type(tensor) is Tensor
        and tensor.dtype == torch.float32
        and tensor.layout == torch.strided
        and not tensor.requires_grad
        and tensor.is_contiguous()
    )


def _changing_parts(content: bytes) -> dict[str, _Part]:
    """The parts of an archive that files of its kind may have differently, by the end of their names."""
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                name = next((end for end in _CHANGING if info.filename.endswith(end)), None)
                if name is not None and info.compress_type == zipfile.ZIP_STORED:
                    lengths = struct.unpack_from("<HH", content, info.header_offset + 26)  # name, extra field
                    start = info.header_offset + 30 + sum(lengths)
                    found[name] = (start, start + info.file_size)
    except (zipfile.BadZipFile, struct.error):
        return {}
    inside = list(found.values())
    return {name: _Part(*span, _places_of_checksum(content, span, inside)) for name, span in found.items()}


def _places_of_checksum(
    content: bytes, span: tuple[int, int], inside: list[tuple[int, int]]
) -> tuple[int, ...]:
    """Where the checksum of a span is written, outside of all spans."""
    found = (match.start() for match in re.finditer(re.escape(_checksum(content[slice(*span)])), content))
    return tuple(at for at in found if not any(start - 4 < at < end for start, end in inside))


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")
