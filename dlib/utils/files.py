"""Files that are either complete or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from dlib.utils.errors import UserError
from dlib.utils.filesystem import flush, flush_folder, reason


def write_atomically(path: Path, write: Callable[[BinaryIO], Any], durable: bool = True) -> None:
    """Let ``write`` fill a temporary file, then put it at ``path`` in one step.

    Args:
        path: its folder is made where it is missing.
        write: gets the open file.
        durable: afterwards the file survives a power cut. Use False for what can be computed again: it takes
            minutes to flush thousands of small files.
    Raises UserError (disk full, no permission) with the old file at ``path`` intact.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            if durable:
                flush(stream.fileno(), path)
        # mkstemp makes files private, but colleagues read a user's folder.
        with suppress(OSError):  # a file system without permissions
            temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        if durable:
            flush_folder(path.parent)
    except (OSError, RuntimeError) as error:
        # torch.save reports a full disk as a RuntimeError of its zip writer.
        raise UserError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` atomically."""
    write_atomically(path, lambda stream: stream.write(text.encode("utf-8")))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON to ``path`` atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file. Raises UserError naming the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
