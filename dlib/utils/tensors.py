"""Files of tensors, by ``torch.save``: complete or absent, compared with their checksums, never run as code."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from dlib.utils.files import write_atomically


def save_tensors(path: Path, value: Any, durable: bool = True) -> None:
    """``torch.save`` to a file that is either complete or absent. Raises UserError when the disk is full."""
    write_atomically(path, lambda stream: torch.save(value, stream), durable)


def load_tensors(file: Path | BinaryIO, old_format: bool = False) -> Any:
    """Content of a file by ``torch.save``, on the CPU, after checking its checksums; runs no code from it.

    Args:
        file: path, or a stream in which one can seek.
        old_format: accept files of PyTorch before 1.6 too, which are plain pickles without checksums.
    Raises ValueError that says what is wrong with the file (empty, truncated, changed bits, not by ``torch.save``),
    FileNotFoundError if there is none.
    """
    try:
        if not old_format or zipfile.is_zipfile(file):
            check_archive(file)
        if not isinstance(file, Path):
            file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except zipfile.BadZipFile as error:
        raise ValueError(f"{error}".lower()) from error
    except Exception as error:  # a damaged file can make the reader raise anything
        lines = str(error).strip().splitlines()
        raise ValueError(lines[0][:160] if lines else type(error).__name__) from error


def check_archive(file: Path | BinaryIO) -> None:
    """Compare every part of a zip archive, which is what ``torch.save`` writes, with its checksum.

    ``torch.load`` does not: a flipped bit would become another weight. Raises ValueError for a part that differs, and
    the errors of ``zipfile`` for a file that is not an archive.
    """
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"its part {broken} fails the checksum")


def not_finite(value: Any) -> str | None:
    """Where in nested dicts and lists of tensors the first NaN or infinity is ("encoder.conv1.weight"); else None."""
    named = [
        (name, tensor)
        for name, tensor in _tensors(value, "")
        if tensor.is_floating_point() and tensor.numel()
    ]
    if not named:
        return None
    # One wait for the device for all of them: the largest magnitude is finite only if all values are.
    device = named[0][1].device
    largest = torch.stack([tensor.detach().abs().amax().to(device, torch.float64) for _, tensor in named])
    bad = (~largest.isfinite()).nonzero().flatten().tolist()
    return named[bad[0]][0] if bad else None


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name or "it", value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(item, f"{name}.{key}" if name else str(key))
