"""Putting many frames into a dataset's tree by hard link or copy: in parallel, resumable, repeatable."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from dlib.utils import filesystem
from dlib.utils.errors import UserError


def place_files(
    pairs: Iterable[tuple[Path, Path]], copy: bool = False, workers: int = 8, title: str = "frames"
) -> int:
    """Link or copy each source file to its destination.

    Frames that are there already are not changed. Copies get their name only when complete, so that the call may be
    interrupted and repeated. Links are hard links (a dataset may not point out of its folder); if the file system
    cannot make them, the file is copied.
    Returns: the number of files that were missing.
    Raises UserError naming the file that cannot be read or written.
    """
    folders: dict[Path, list[tuple[Path, Path]]] = defaultdict(list)
    for source, target in pairs:
        if source != target:
            folders[target.parent].append((source, target))
    total = sum(map(len, folders.values()))
    placed = 0
    with (
        ThreadPoolExecutor(max(workers, 1)) as pool,
        tqdm(total=total, desc=title, unit="frame", disable=not total, smoothing=0.05) as bar,
    ):
        for count, missing in pool.map(lambda job: _place_folder(job[0], job[1], copy), folders.items()):
            placed += missing
            bar.update(count)
    return placed


def _place_folder(folder: Path, pairs: list[tuple[Path, Path]], copy: bool) -> tuple[int, int]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose a --dst that can be written") from error
    missing = 0
    for source, target in pairs:
        try:
            there = present.get(target.name)
            if there is None or not _same(source.stat(), there):
                _place(source, target, copy)
                missing += 1
        except OSError as error:
            raise UserError(f"{error.filename or source}: {error.strerror}") from error
    return len(pairs), missing


def _same(source: os.stat_result, target: os.stat_result) -> bool:
    return source.st_size == target.st_size and source.st_mtime_ns == target.st_mtime_ns


def _place(source: Path, target: Path, copy: bool) -> None:
    if source.is_symlink():  # a hard link to it would be a symbolic link that leaves the dataset's folder
        source = source.resolve()
    if copy:
        filesystem.copy(source, target)
    else:
        filesystem.link_or_copy(source, target)
