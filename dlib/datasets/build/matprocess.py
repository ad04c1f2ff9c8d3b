"""scipy's .mat reader in its own process: on a damaged file it can crash, loop or use all memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

_MEMORY = 4 << 30  # bytes for the process; files of boxes are small
_PROGRAM = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve({pipe})"


class MatProcess:
    """Reads one file after another; starts its process with the first, and again after a crash.

    The process is a separate program, not a `multiprocessing` one: that would run the caller's script again.

    Args:
        patience: seconds after which the reader gives a file up, including the start of the process.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
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
            self._process.wait()
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
        pipe, child = Pipe()
        with child:
            program = _PROGRAM.format(path=sys.path, module=__name__, pipe=child.fileno())
            self._process = subprocess.Popen([sys.executable, "-c", program], pass_fds=[child.fileno()])
        self._pipe = pipe
        return pipe


def serve(descriptor: int) -> None:
    """Answer each path with (variables, "") or (None, problem) until the other end of the pipe is closed."""
    import scipy.io

    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = _MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard)
        with suppress(OSError, ValueError):  # macOS has the limit but refuses to set it
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    with suppress(EOFError, KeyboardInterrupt), Connection(descriptor) as pipe:
        while True:
            path = pipe.recv()
            answer: tuple[Any, str]
            try:
                answer = scipy.io.loadmat(str(path), appendmat=False), ""
            except Exception as error:  # scipy raises errors of any kind on damaged files
                answer = None, str(error) or type(error).__name__
            try:
                pipe.send(answer)
            except Exception as error:  # from pickling: then nothing has been sent
                pipe.send((None, str(error)))
