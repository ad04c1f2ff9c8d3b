"""CAMs on disk: one small file per frame, ``data_cams/<tag>_cams_train/<frame id with / replaced by
_>.pt``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from dlib.utils.alike import AlikeTensors
from dlib.utils.errors import UserError
from dlib.utils.filesystem import try_lock
from dlib.utils.tensors import save_tensors

_POLL = 0.1  # seconds
_SMALLEST = 256  # bytes; a map of one value is larger in every format of torch.save


class CamStore:
    """A folder of low-resolution CAMs. Several threads and processes may use it at the same time.

    A file gets its name only when it is complete: an interrupted run leaves complete files or none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._lock: IO[bytes] | None = None
        self._files = AlikeTensors()

    def __getstate__(self) -> dict[str, object]:
        # Data loading processes only read; the lock belongs to this process.
        return {**vars(self), "_lock": None}

    def hold_alone(self) -> bool:
        """Lock the store for this process alone; False if another one uses it. The lock ends with the process."""
        return self._flock(shared=False)

    def hold(self, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Share the store, and wait if a process has it alone; ``while_waiting`` is called during the wait."""
        while not self._flock(shared=True):
            while_waiting()
            time.sleep(_POLL)

    def release(self) -> None:
        """Release the store."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _flock(self, shared: bool) -> bool:
        try:
            if self._lock is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = (self.folder / ".lock").open("ab")
        except OSError:
            return True  # a folder that cannot be written to cannot be cleared either
        return try_lock(self._lock.fileno(), self.folder / ".lock", shared)

    def path(self, frame_id: str) -> Path:
        """The file of a frame. Raises ValueError for an empty id."""
        return self.folder / _file_name(frame_id)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """The ids without a file, in their order; the folder is listed once, no file is opened.

        A file that is too small for a map counts as missing: a power cut can leave such files.

        Raises UserError if two ids would share a file.
        """
        present: set[str] = set()
        if self.folder.is_dir():
            with os.scandir(self.folder) as entries:
                present = {entry.name for entry in entries if entry.stat().st_size >= _SMALLEST}
        owner: dict[str, str] = {}
        absent = []
        for frame_id in ids:
            name = _file_name(frame_id)
            first = owner.setdefault(name, frame_id)
            if first != frame_id:
                both = f"{first!r} and {frame_id!r}"
                raise UserError(
                    f"frames {both} would share the file {self.folder / name}: rename one of them"
                )
            if name not in present:
                absent.append(frame_id)
        return absent

    def clear(self) -> None:
        """Remove all stored maps."""
        for path in self.folder.glob("*.pt"):
            path.unlink()

    def write(self, frame_id: str, cam: Tensor) -> None:
        """Store one map, float [h, w], as float32; an older file is replaced in one step.

        Raises ValueError for anything but a finite two-dimensional float tensor, UserError if the disk
        refuses.
        """
        fault = _fault(cam)
        if fault:
            raise ValueError(f"CAM of {frame_id!r}: {fault}")
        path = self.path(frame_id)
        # A copy: a view would be saved with the storage of its whole batch.
        save_tensors(path, cam.detach().to("cpu", torch.float32, copy=True).contiguous(), durable=False)

    def read(self, frame_id: str) -> Tensor:
        """The stored map, float32 [h, w]. Raises UserError, naming the file, if it is missing, damaged or
        foreign."""
        path = self.path(frame_id)
        try:
            cam = self._files.load(path.read_bytes())
        except FileNotFoundError as error:
            raise UserError(f"CAM file {path} is missing: start the run again to compute it") from error
        except (OSError, ValueError) as error:
            raise UserError(f"CAM file {path} is damaged ({error}): delete it to compute it again") from error
        fault = _fault(cam)
        if fault:
            raise UserError(f"CAM file {path} is not usable ({fault}): delete it to compute it again")
        return cam.float()

    def read_together(self, frame_ids: Sequence[str]) -> Tensor:
        """The stored maps of frames that are pooled, float32 [k, h, w].

        Raises UserError as ``read`` does, and for maps of different size.
        """
        maps = [self.read(frame_id) for frame_id in frame_ids]
        if other := other_size(maps):
            named = [
                f"{self.path(frame_ids[i])} ({maps[i].shape[0]} x {maps[i].shape[1]})" for i in (0, other)
            ]
            raise UserError(
                f"CAM files {named[0]} and {named[1]} differ in size, but their maps are pooled: "
                "delete those of the wrong size to compute them again"
            )
        return torch.stack(maps)


def other_size(maps: Sequence[Tensor]) -> int:
    """Index of the first map whose size is not that of the map 0; 0 if all have one size."""
    return next((i for i, found in enumerate(maps) if found.shape != maps[0].shape), 0)


def _file_name(frame_id: str) -> str:
    if not frame_id:
        raise ValueError("a frame id must not be empty")
    return frame_id.replace("/", "_") + ".pt"


def _fault(cam: object) -> str:
    """What is wrong with a map, or an empty text."""
    if not isinstance(cam, Tensor):
        return f"a {type(cam).__name__} instead of a tensor"
    if cam.dim() != 2 or not cam.is_floating_point() or cam.numel() == 0:
        return f"{cam.dtype} of shape {list(cam.shape)} instead of float [h, w]"
    if not np.isfinite(cam.detach().float().cpu().numpy()).all():
        return "it holds NaN or infinity"
    return ""
