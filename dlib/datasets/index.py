"""The frames of every shot, kept small in memory and in a cache file.

A dataset of 700,000 frames takes about 12 MB: all names are in one byte array. It takes long to list 15,000 folders
on network disks. So the result is stored, and read back as long as the folders do not change.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dlib.datasets.metadata import is_plain
from dlib.datasets.names import natural_key
from dlib.utils.errors import UserError
from dlib.utils.files import write_atomically

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
MIN_CACHED_SHOTS = 500  # with fewer shots, listing the folders takes no time
MAX_FILE_NAME = 255  # bytes that file systems allow
_FORMAT = 1
_RACY_NS = 2_000_000_000  # a folder that changed so recently may change again without a new time stamp

log = logging.getLogger(__name__)

PackedNames = tuple[bytes, np.ndarray]  # a shot's frame names one after the other, and their lengths


@dataclass
class ShotIndex:
    """Frame names of S shots, in name order, as flat arrays."""

    shots: Sequence[str]  # S shot ids
    names: np.ndarray  # uint8, all frame names one after the other
    ends: np.ndarray  # int64 [F + 1], frame f's name is names[ends[f]:ends[f + 1]]
    starts: np.ndarray  # int64 [S + 1], shot s has the frames starts[s] … starts[s + 1] - 1

    def __len__(self) -> int:
        return len(self.shots)

    def count(self, shot: int) -> int:
        """Number of frames of one shot."""
        return int(self.starts[shot + 1] - self.starts[shot])

    def name(self, shot: int, frame: int) -> str:
        """File name of a frame."""
        at = int(self.starts[shot]) + frame
        return os.fsdecode(self.names[self.ends[at] : self.ends[at + 1]].tobytes())

    def frame_id(self, shot: int, frame: int) -> str:
        """Path of a frame relative to the dataset's folder."""
        return f"{self.shots[shot]}/{self.name(shot, frame)}"

    def packed(self, shot: int) -> PackedNames:
        """All names of a shot as they are stored."""
        ends = self.ends[self.starts[shot] : self.starts[shot + 1] + 1]
        return self.names[ends[0] : ends[-1]].tobytes(), np.diff(ends)

    def frame_names(self, shot: int) -> list[str]:
        """File names of a shot's frames, in order."""
        return [self.name(shot, frame) for frame in range(self.count(shot))]


def build_index(data_dir: Path, shots: Sequence[str], cache: Path | None = None) -> ShotIndex:
    """Index of the shots' folders; a folder is listed again only if it changed since ``cache`` was written.

    Args:
        data_dir: the dataset's folder.
        shots: shot ids, folders relative to it.
        cache: file to read and to write; None: always list all. A damaged or foreign file is replaced.
    Raises UserError that names the shot if a folder is missing, has no frames, or has a frame that is a link out
    of the dataset's folder.
    """
    key = hashlib.sha256(
        "\n".join([os.path.realpath(data_dir), *shots]).encode("utf-8", "replace")
    ).hexdigest()
    stamps = _time_stamps(data_dir, shots)
    listed: dict[int, PackedNames] = {}  # by shot
    if cache and (old := _read_cache(cache, key, shots)):
        index, old_stamps = old
        same = old_stamps == stamps
        if same.all():
            return index
        listed = {shot: index.packed(shot) for shot in np.flatnonzero(same).tolist()}
    listed |= _list_shots(data_dir, shots, [shot for shot in range(len(shots)) if shot not in listed])
    fresh = _join(shots, [listed[shot] for shot in range(len(shots))])
    if cache:
        stamps[time.time_ns() - stamps < _RACY_NS] = -1
        _write_cache(cache, key, fresh, stamps)
    return fresh


def cache_file(metadata_folder: Path, data_dir: Path) -> Path | None:
    """Where a split's index is kept: beside its metadata, else in the user's cache folder, else nowhere."""
    tag = hashlib.sha256(
        f"{os.path.realpath(metadata_folder)}\n{os.path.realpath(data_dir)}".encode()
    ).hexdigest()
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "colo-cam"
    for path in (metadata_folder.absolute() / ".frame_index.npz", user_cache / f"frame_index-{tag[:16]}.npz"):
        if not path.is_absolute():  # no home folder is known
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(path.parent, os.W_OK):
            return path
    return None


def check_names(index: ShotIndex) -> None:
    """Warn of shots in which the order of names, which training uses, differs from the order of their numbers.

    Raises UserError for a frame whose CAM could not be stored: its id, with ``.pt``, is the name of a file there.
    """
    lengths = np.diff(index.ends)  # [F]
    longest = np.maximum.reduceat(lengths, index.starts[:-1])  # [S]
    for shot in range(len(index)):
        if len(os.fsencode(index.shots[shot])) + len("/.pt") + longest[shot] > MAX_FILE_NAME:
            name = max(index.frame_names(shot), key=lambda name: len(os.fsencode(name)))
            raise UserError(
                f"frame {index.shots[shot]}/{name}: its CAM would need a file name of more than {MAX_FILE_NAME} bytes; "
                "give the video's folder a shorter name"
            )
    unordered = out_of_order(index)
    if unordered:
        log.warning(
            "shot %s: frames are in name order (1, 10, 2), not in number order; %d shots are like this. Fill up the "
            "numbers with zeros",
            unordered[0],
            len(unordered),
        )


def out_of_order(index: ShotIndex) -> list[str]:
    """Shots whose frames have numbers that are not filled up with zeros, so that name order is wrong."""
    lengths = np.diff(index.ends)  # [F]
    uneven = np.maximum.reduceat(lengths, index.starts[:-1]) > np.minimum.reduceat(
        lengths, index.starts[:-1]
    )  # [S]
    found = []
    for shot in np.flatnonzero(uneven).tolist():
        names = index.frame_names(shot)
        if names != sorted(names, key=natural_key):
            found.append(index.shots[shot])
    return found


def _time_stamps(data_dir: Path, shots: Sequence[str]) -> np.ndarray:
    stamps = np.empty(len(shots), dtype=np.int64)
    for i, shot in enumerate(shots):
        try:
            stamps[i] = os.stat(os.path.join(data_dir, shot)).st_mtime_ns
        except OSError as error:
            raise UserError(
                f"shot {shot!r}: {os.path.join(data_dir, shot)}: {error.strerror}; build the dataset again"
            ) from error
    return stamps


def _list_shots(data_dir: Path, shots: Sequence[str], wanted: list[int]) -> dict[int, PackedNames]:
    root = os.path.realpath(data_dir)
    with ThreadPoolExecutor(8) as pool:  # waiting for the disk, not for the processor
        return dict(zip(wanted, pool.map(lambda shot: _list_shot(root, shots[shot]), wanted), strict=True))


def _list_shot(root: str, shot: str) -> PackedNames:
    folder = os.path.join(root, shot)
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.lower().endswith(FRAME_SUFFIXES) or entry.name.startswith("."):
                    continue
                if not is_plain(entry.name):
                    raise UserError(f"shot {shot!r}: file name {entry.name!r} is not plain text; rename it")
                if entry.is_symlink() and os.path.commonpath([os.path.realpath(entry.path), root]) != root:
                    raise UserError(f"{entry.path}: the frame is a link that leaves the data folder")
                if not entry.is_dir():
                    names.append(entry.name)
    except OSError as error:
        raise UserError(f"shot {shot!r}: {folder}: {error.strerror}") from error
    if not names:
        raise UserError(
            f"shot {shot!r}: no frames ({', '.join(FRAME_SUFFIXES)}) in {folder}; leave it out or fix it"
        )
    encoded = [os.fsencode(name) for name in sorted(names)]
    return b"".join(encoded), np.array([len(name) for name in encoded], dtype=np.int64)


def _join(shots: Sequence[str], listed: list[PackedNames]) -> ShotIndex:
    names = np.frombuffer(b"".join(text for text, _ in listed), dtype=np.uint8)
    lengths = np.concatenate([lengths for _, lengths in listed])
    counts = np.array([len(lengths) for _, lengths in listed], dtype=np.int64)
    return ShotIndex(shots, names, np.append(0, np.cumsum(lengths)), np.append(0, np.cumsum(counts)))


def _read_cache(path: Path, key: str, shots: Sequence[str]) -> tuple[ShotIndex, np.ndarray] | None:
    """The index and the folders' time stamps; None if the file is absent, damaged, or of another dataset."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) != f"{_FORMAT} {key}":
                return None
            names, ends, starts, stamps = (file[k] for k in ("names", "ends", "starts", "stamps"))
    except Exception:  # numpy and zipfile raise many types on damaged files; the index is then built again
        return None
    whole = (
        names.dtype == np.uint8
        and all(a.dtype == np.int64 and a.ndim == 1 and len(a) > 0 for a in (ends, starts, stamps))
        and len(starts) - 1 == len(stamps) == len(shots)
        and (starts[0], starts[-1]) == (0, len(ends) - 1)
        and (ends[0], ends[-1]) == (0, len(names))
        and bool((np.diff(starts) > 0).all() and (np.diff(ends) > 0).all())
        and not (names == ord("/")).any()
    )
    return (ShotIndex(shots, names, ends, starts), stamps) if whole else None


def _write_cache(path: Path, key: str, index: ShotIndex, stamps: np.ndarray) -> None:
    def write(file: BinaryIO) -> None:
        np.savez(
            file,
            key=np.array(f"{_FORMAT} {key}"),
            names=index.names,
            ends=index.ends,
            starts=index.starts,
            stamps=stamps,
        )

    with suppress(UserError):  # with a full or read-only disk the folders are listed again next time
        write_atomically(path, write, durable=False)
