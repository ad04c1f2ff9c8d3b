"""What the dataset commands share."""

from __future__ import annotations

from pathlib import Path

from dlib.utils.errors import UserError


def check_folder(flag: str, path: Path) -> None:
    """Raises UserError if ``path`` cannot become a folder, because it or a part of it is a file."""
    for part in (path, *path.parents):
        if part.is_dir():
            return
        if part.exists():
            raise UserError(f"{flag} {path}: {part} is a file; give a folder")
