"""scipy's .mat reader in a process of its own: on a damaged file it can crash, loop or ask for all memory."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import scipy.io

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_MEMORY = 4 << 30  # bytes for the process; files of boxes are small


class MatProcess:
    """Reads one file after another; starts its process with the first, and again after a crash.

    Args:
        patience: seconds after which a file is given up, those of starting the process included.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def load(self, path: Path) -> dict[str, Any]:
        """The file's variables as `scipy.io.loadmat` gives them. Raises ValueError for an unreadable file."""
        with self._lock:
            pipe = self._pipe or self._start()
            try:
                return self._ask(pipe, path)
            except (EOFError, OSError) as error:
                self.close()
                raise ValueError("its content crashes the reader") from error

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _ask(self, pipe: Connection, path: Path) -> dict[str, Any]:
        pipe.send(path)
        if not pipe.poll(self._patience):
            self.close()
            raise ValueError(f"reading it took more than {self._patience:.0f} seconds")
        variables, problem = pipe.recv()
        if problem:
            raise ValueError(problem)
        return dict(variables)

    def _start(self) -> Connection:
        # Forking a process that has PyTorch's threads could leave one of their locks held.
        context = multiprocessing.get_context("spawn")
        pipe, child = context.Pipe()
        process = context.Process(target=_serve, args=(child,), daemon=True)
        process.start()
        child.close()
        self._process, self._pipe = process, pipe
        return pipe


def _serve(pipe: Connection) -> None:
    """Answer each path with (variables, "") or (None, problem) until the other end is closed."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        with suppress(OSError, ValueError):  # macOS knows the limit and refuses it
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            path = pipe.recv()
            answer: tuple[Any, str]
            try:
                answer = scipy.io.loadmat(str(path), appendmat=False), ""
            except Exception as error:  # scipy raises errors of any kind on damaged files
                answer = None, str(error) or type(error).__name__
            try:
                pipe.send(answer)
            except Exception as error:  # of pickling: nothing has been sent then
                pipe.send((None, str(error)))
