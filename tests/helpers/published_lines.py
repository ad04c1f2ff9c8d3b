"""The commands in the shell blocks of the documentation; the README's published command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from helpers.paths import ROOT

README = ROOT / "README.md"
VARIABLES = {"freeport": "29500", "cudaid": "0", "seed": "1"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def split(line: str) -> list[str]:
    """Words of a command as a shell splits them, variables replaced, comments dropped."""
    for name, value in VARIABLES.items():
        line = line.replace(f"${name}", value)
    return shlex.split(line, comments=True)


def commands(page: Path) -> list[list[str]]:
    """Words of every single command in the page's shell blocks."""
    lines = [line for block in blocks(page, "shell") for line in block.replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in re.split(r"; *(?:do +)?|&& *", line.split("  #")[0])]
    return [words for part in parts if (words := split(part))]


def published_flags(task: str) -> list[str]:
    """What follows ``main.py`` in the README's line that trains ``task``, which existing users' scripts hold too."""
    (line,) = (
        words
        for words in commands(README)
        if words[:2] == ["python", "main.py"] and words[-2:-1] == ["--exp_id"] and task in words
    )
    return line[2:]
