"""Calls that some operating systems and file systems do not have, and what is done without them.

Network file systems, shared folders of virtual machines and sticks lack locks, links, flushing of folders or
permissions. A run continues without such a call, and logs it once if the loss can matter.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from contextlib import suppress
from pathlib import Path

from dlib.utils.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}
LOCK = ".lock"  # a run's folder has this file; the run that writes there holds its lock
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN}
_LOST = FULL | {errno.EIO}  # a flush that fails with one of these has lost data
_said: set[str] = set()


def warn_once(what: str, message: str) -> None:
    """Log ``message`` if this is the first message about ``what`` in this process."""
    if what not in _said:
        _said.add(what)
        log.warning(message)


def check_folder(flag: str, path: Path) -> None:
    """Raises UserError if ``path`` cannot become a folder, because it or a part of it is a file."""
    for part in (path, *path.parents):
        if part.is_dir():
            return
        if part.exists():
            raise UserError(f"{flag} {path}: {part} is a file; give a folder")


def try_lock(descriptor: int, place: Path, shared: bool = False) -> bool:
    """Lock an open file as long as it is open, without waiting; False if another process holds it.

    If the system or the file system has no locks, the file counts as locked, and one warning says so. A lock that
    this descriptor has already changes to the new kind.
    """
    if fcntl is None:
        reason = "this system has none"
    else:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in _HELD:
                return False
            reason = error.strerror or str(error)
    warn_once(
        f"lock {place.parent}",
        f"{place} cannot be locked ({reason}): nothing keeps two runs from writing there at the same time",
    )
    return True


def is_locked(place: Path) -> bool | None:
    """Whether a process holds the lock of a file; None if that cannot be known. Waits for nothing."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return True if error.errno in _HELD else None
    finally:
        os.close(descriptor)


def flush(descriptor: int, place: Path) -> None:
    """Flush an open file or folder to the disk. Raises OSError when the disk is full or has failed.

    If the file system cannot do that, one warning says so: a power cut may then lose files.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _LOST:
            raise
        _no_flush(place, error)


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename in it survives a power cut; see ``flush``."""
    if os.name == "nt":  # does so by itself, and cannot open folders
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        _no_flush(folder, error)
        return
    try:
        flush(descriptor, folder)
    finally:
        os.close(descriptor)


def _no_flush(place: Path, error: OSError) -> None:
    warn_once(
        "flush",
        f"{place} cannot be flushed to the disk ({error.strerror}): files may be lost if the power is cut",
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``source``, or a copy if links are not possible; replaces ``target``.

    The copy has the time of ``source`` if the file system allows it. Raises OSError if neither is possible.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno in {*FULL, errno.ENOENT}:
            raise
        copy(source, target)


def link_folder(source: Path, target: Path) -> None:
    """Make ``target`` a symbolic link to the folder ``source``, or a copy of it; replaces ``target``."""
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    target.unlink(missing_ok=True)
    try:
        target.symlink_to(source.resolve(), target_is_directory=True)
    except (OSError, NotImplementedError):  # Windows lets only some users make links
        shutil.copytree(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file's content and, if the file system allows it, its time; ``target`` is complete or absent."""
    part = target.with_name(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        shutil.copyfile(source, part)
        with suppress(OSError, OverflowError, ValueError):  # no such call, or an impossible time
            os.utime(part, ns=(source.stat().st_mtime_ns,) * 2)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def free_bytes(folder: Path) -> int | None:
    """Free space, in bytes, on the disk of ``folder``; None if the file system does not say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return None if usage.free == 0 and usage.total == 0 else usage.free


def reason(error: BaseException) -> str:
    """The system's error text, with a remedy: "No space left on device; free some space"."""
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        # A library's own error hides the error of the disk: look for that one.
        cause = cause.__cause__ or cause.__context__
    if not isinstance(cause, OSError):
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    if cause.errno in FULL:
        return f"{cause.strerror}; free some space"
    if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{cause.strerror}; check its permissions"
    return str(cause.strerror)
