"""The screen: an output error never ends a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tqdm import tqdm

# A closed pipe or terminal; a closed file, and characters that the screen does not have.
_CANNOT_SHOW = (OSError, ValueError)


def make_screen_safe() -> None:
    """From now on, characters that the screen cannot show (``LC_ALL=C``, Latin-1) are shown as "?".

    Without this, Python raises an error when it prints them. Every command calls it first.
    """
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def show(text: str, on_error_stream: bool = False) -> None:
    """Print a line above a running progress bar; a line that cannot be shown is left out."""
    with suppress(*_CANNOT_SHOW):
        tqdm.write(text, file=sys.stderr if on_error_stream else sys.stdout)
        sys.stdout.flush()


class Bar(tqdm):
    """A progress bar that is left out if it cannot be drawn."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        draw = tqdm.status_printer(file)

        def draw_if_possible(text: str) -> None:
            with suppress(*_CANNOT_SHOW):
                draw(text)

        return draw_if_possible

    def close(self) -> None:
        with suppress(*_CANNOT_SHOW):
            super().close()
