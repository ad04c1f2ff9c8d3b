"""A command's first line: said before slow imports, during which Ctrl-C ends the program immediately."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from dlib.commands.door import BY_SIGINT, STOPPED, rank, say


@contextmanager
def loading() -> Iterator[None]:
    """Say on stderr that PyTorch is loaded, unless it already is; inside the context are only imports.

    An interrupted import can raise any error, or leave a library half loaded. So Ctrl-C prints its line and ends the
    process itself, unless the program has its own handler already.
    """
    if rank() == "0" and "torch" not in sys.modules:
        say("loading PyTorch …")
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    if rank() == "0":
        say(STOPPED)
    with suppress(OSError, AttributeError):
        sys.stdout.flush()
    os._exit(BY_SIGINT)
