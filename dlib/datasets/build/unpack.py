"""Unpacking foreign archives so that no file can get outside the folder meant for it."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from pathlib import Path

from tqdm import tqdm

from dlib.utils.errors import UserError
from dlib.utils.filesystem import free_bytes


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ``archive`` (.tar.gz) so that its content is ``folder``; if that exists, nothing happens.

    If the archive has at its top a folder with the name of ``folder``, the content is what is in it, else all. It is
    unpacked beside ``folder``, and renamed when it is complete and gzip's checksum is right.
    Raises UserError for a damaged archive, for a member that is no plain file or would leave the folder, and where
    the disk is too small; then nothing of it is left.
    """
    if folder.is_dir():
        return
    if not hasattr(tarfile, "data_filter"):
        raise UserError(f"{archive}: this Python cannot unpack safely; use 3.10.12, 3.11.4, 3.12 or newer")
    staging = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _unpack_all(archive, staging)
        os.replace(_content(staging, folder.name), folder)
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: {error}; this archive is not safe, get another one") from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError) as error:
        raise UserError(f"{archive}: damaged ({error}); delete it and download it again") from error
    except OSError as error:
        raise UserError(f"{archive}: cannot be unpacked to {staging}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unpack_all(archive: Path, staging: Path) -> None:
    with (
        gzip.open(archive) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
        tqdm(desc=f"unpack {archive.name}", unit="file") as bar,
    ):
        for member in tar:
            free = free_bytes(staging)
            if free is not None and member.isreg() and member.size > free:
                raise UserError(
                    f"{archive}: {member.name!r} takes {member.size} bytes, {staging.parent} has {free} left; "
                    "free some space"
                )
            tar.extract(member, staging, filter=_plain_member)
            bar.update()
        while stream.read(1 << 18):  # to the end, where gzip's checksum is compared
            pass


def _plain_member(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """`tarfile`'s filter for data, but without links and absolute names, which it allows inside the folder."""
    if not (member.isreg() or member.isdir()):
        raise tarfile.SpecialFileError(member)
    if member.name.startswith("/"):
        raise tarfile.AbsolutePathError(member)
    if not 0 <= member.mtime < 2**33:  # an impossible time is no reason to refuse an archive
        member = member.replace(mtime=0)
    return tarfile.data_filter(member, folder)


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
