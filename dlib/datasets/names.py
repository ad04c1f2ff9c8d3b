"""Names of users' files: their order, and files that are there by accident."""

from __future__ import annotations

import re

_LITTER = {"@eadir", "__macosx", "$recycle.bin", "system volume information", "lost+found", "thumbs.db"}


def natural_key(name: str) -> tuple[list[tuple[bool, int, str]], str]:
    """Sorts numbers in names by their value: 1, 2, 10 (and not 1, 10, 2)."""
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return [(False, int(p), "") if p[0] in "0123456789" else (True, 0, p) for p in parts], name


def is_litter(name: str) -> bool:
    """Whether it is a hidden file or folder, or one that the system put beside the user's files."""
    return name.startswith(".") or name.lower() in _LITTER
