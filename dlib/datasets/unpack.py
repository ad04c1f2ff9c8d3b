"""Unpacking archives from elsewhere so that nothing can land outside the folder meant for it."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from dlib.utils.errors import UserError
from dlib.utils.filesystem import free_bytes, keep_time


def unpack(archive: Path, folder: Path, progress: bool = True) -> bool:
    """Unpack ``archive`` (.tar.gz) so that its content is ``folder``; done already: nothing happens.

    The content is what lies in the archive's folder of the name of ``folder``, if there is one at its top, else
    all. It is unpacked beside ``folder`` and renamed when complete and when gzip's checksum has proven right.
    Returns: whether it was unpacked now.
    Raises UserError for a damaged archive, for a member that is no plain file or would leave the folder, and where
    the disk is too small; then nothing of it is left.
    """
    if folder.is_dir():
        return False
    staging = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _unpack_all(archive, staging, progress)
        os.replace(_content(staging, folder.name), folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
        raise UserError(f"{archive}: damaged ({error}); delete it and download it again") from error
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked to {staging}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return True


def _unpack_all(archive: Path, staging: Path, progress: bool) -> None:
    with (
        gzip.open(archive) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
        tqdm(desc=f"unpack {archive.name}", unit="file", disable=not progress) as bar,
    ):
        for member in tar:
            _unpack_member(archive, tar, member, staging)
            bar.update()
        while stream.read(1 << 18):  # to the end, where gzip's checksum is compared
            pass


def _unpack_member(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, staging: Path) -> None:
    name = PurePosixPath(member.name)
    parts = [part for part in name.parts if part != "."]
    if name.is_absolute() or ".." in parts or "\\" in member.name or "\0" in member.name:
        raise UserError(
            f"{archive}: member {member.name!r} would leave the folder; the archive is not to be trusted"
        )
    target = staging.joinpath(*parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isreg() else None
    if source is None or not parts:
        raise UserError(
            f"{archive}: member {member.name!r} is no plain file; the archive is not to be trusted"
        )
    free = free_bytes(staging)
    if free is not None and member.size > free:
        raise UserError(
            f"{archive}: {member.name!r} takes {member.size} bytes, {staging.parent} has {free} left; free some space"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 18)
    keep_time(target, member.mtime * 1e9)


def _content(staging: Path, name: str) -> Path:
    """The folder ``name`` at the end of a chain of single folders, else all that was unpacked."""
    folder = staging
    while True:
        entries = list(folder.iterdir())
        if len(entries) != 1 or not entries[0].is_dir():
            return staging
        folder = entries[0]
        if folder.name == name:
            return folder
