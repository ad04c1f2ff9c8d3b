"""Maps that another program has made: a folder with one file per frame, ``.npy``, ``.pt`` or ``.png``."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dlib.cams.store import other_size
from dlib.utils.errors import UserError
from dlib.utils.tensors import load_tensors

SUFFIXES = (".npy", ".pt", ".png")
_BEYOND = 1e-4  # by how much rounding may carry values out of 0..1
_FULL = {np.dtype(np.bool_): 1, np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # the value that means 1


class MapFolder:
    """Maps by frame id. The map of the frame ``a/b/7.jpg`` is in ``a/b/7.jpg.npy``, ``a/b/7.npy``, ``a_b_7.jpg.npy`` or
    ``a_b_7.npy`` (or ``.pt``, ``.png``) below the folder.

    A map is [h, w] of any size, in 0..1: high where the object is. Whole numbers of 8 or 16 bits are divided by 255 or
    65535.

    Args:
        folder: of the files; it is listed once.
        side: larger maps are reduced to this side, with antialiasing, as frames are; None: as they are.
    Raises UserError if the folder is missing or holds no such file.
    """

    def __init__(self, folder: Path, side: int | None = None) -> None:
        self.folder = Path(folder)
        self.side = side
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder of maps")
        self._files: dict[str, list[str]] = {}  # path below the folder without its suffix -> suffixes
        for root, _, names in os.walk(self.folder):
            below = Path(root).relative_to(self.folder).as_posix()
            for name in names:
                stem, suffix = os.path.splitext(name)
                if suffix in SUFFIXES:
                    self._files.setdefault(stem if below == "." else f"{below}/{stem}", []).append(suffix)
        if not self._files:
            raise UserError(f"{self.folder}: no file there ends in {', '.join(SUFFIXES)}")

    def path(self, frame_id: str) -> Path | None:
        """The file of a frame, None if there is none. Raises UserError if there are several."""
        plain = str(PurePosixPath(frame_id).with_suffix(""))
        stems = dict.fromkeys((frame_id, plain, frame_id.replace("/", "_"), plain.replace("/", "_")))
        found = [self.folder / (stem + suffix) for stem in stems for suffix in self._files.get(stem, ())]
        if len(found) > 1:
            raise UserError(f"frame {frame_id!r} has two maps, {found[0]} and {found[1]}: remove one of them")
        return found[0] if found else None

    def missing(self, ids: Iterable[str]) -> list[str]:
        """The ids without a file, in their order. Raises UserError if two ids would share a file."""
        owner: dict[Path, str] = {}
        absent = []
        for frame_id in ids:
            path = self.path(frame_id)
            if path is None:
                absent.append(frame_id)
            elif owner.setdefault(path, frame_id) != frame_id:
                both = f"{owner[path]!r} and {frame_id!r}"
                raise UserError(
                    f"frames {both} would share the map {path}: name maps by the whole id, with folders"
                )
        return absent

    def check_complete(self, ids: Sequence[str]) -> None:
        """Raises UserError that names the first of the ids without a file."""
        absent = self.missing(ids)
        if absent:
            raise UserError(
                f"{self.folder}: {len(absent)} of {len(ids)} frames have no map, the first is {absent[0]!r}: write "
                f"{self.folder / (absent[0] + '.npy')}"
            )

    def read(self, frame_id: str, frame_size: tuple[int, int] | None = None) -> Tensor:
        """The map of a frame, float32 [h, w] in 0..1.

        Args:
            frame_size: (width, height) of the frame, if it is known: a map with these sides exchanged is refused.
        Raises UserError that names the file and what is wrong with it.
        """
        path = self.path(frame_id)
        if path is None:
            raise UserError(f"{self.folder}: the frame {frame_id!r} has no map there")
        try:
            values = _values(path)
        except Exception as error:  # decoders raise errors of many types on damaged files
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"map {path}: not readable ({reason}): write it again") from error
        found = _checked(values, path)
        height, width = found.shape
        if frame_size == (height, width) and height != width:
            raise UserError(
                f"map {path}: its shape [{height}, {width}] is [width, height] of the frame: exchange its sides"
            )
        size = (min(height, self.side or height), min(width, self.side or width))
        if size != (height, width):
            found = functional.interpolate(found[None, None], size, mode="bilinear", antialias=True)[0, 0]
        return found.clamp_(0, 1)

    def read_together(self, frame_ids: Sequence[str]) -> Tensor:
        """The maps of several frames, float32 [n, h, w]. Raises UserError as ``read``, and if their sizes differ."""
        maps = [self.read(frame_id) for frame_id in frame_ids]
        if other := other_size(maps):
            raise UserError(
                f"maps {self.path(frame_ids[0])} and {self.path(frame_ids[other])} of one shot have the sizes "
                f"{list(maps[0].shape)} and {list(maps[other].shape)}: write them in one size"
            )
        return torch.stack(maps)


def _values(path: Path) -> Tensor:
    """What the file holds, as floats; whole numbers are divided by the value that means 1."""
    data = path.read_bytes()
    if path.suffix == ".pt":
        tensor = load_tensors(io.BytesIO(data), old_format=True)
        if not isinstance(tensor, Tensor):
            raise ValueError(f"a {type(tensor).__name__} instead of a tensor")
        if tensor.is_floating_point():
            return tensor.float()
        array = tensor.numpy()
    elif path.suffix == ".npy":
        array = np.load(io.BytesIO(data), allow_pickle=False)
    else:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode not in ("1", "L", "I;16", "I"):
                raise ValueError(f"colours of mode {image.mode} instead of grey values")
            array = np.asarray(image)
            array = array.astype(np.uint16) if image.mode.startswith("I") else array
    if np.issubdtype(array.dtype, np.floating):
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype not in _FULL:
        raise ValueError(f"values of type {array.dtype} instead of floats in 0..1 or uint8")
    return torch.from_numpy(array.astype(np.float32) / _FULL[array.dtype])


def _checked(values: Tensor, path: Path) -> Tensor:
    """The map [h, w]. Raises UserError for another shape and for values outside of 0..1."""
    found = values
    while found.dim() > 2 and found.shape[0] == 1:
        found = found[0]
    if found.dim() != 2 or found.numel() == 0:
        raise UserError(f"map {path}: its shape is {list(values.shape)} instead of [h, w]")
    if not bool(torch.isfinite(found).all()):
        raise UserError(f"map {path}: it holds NaN or infinity")
    low, high = float(found.min()), float(found.max())
    if low < -_BEYOND or high > 1 + _BEYOND:
        raise UserError(
            f"map {path}: its values are {low:.4g} to {high:.4g} instead of 0 to 1: write (m - m.min()) / "
            "(m.max() - m.min())"
        )
    return found
