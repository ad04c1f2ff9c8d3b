"""Stop signals: SIGTERM, SIGUSR1 and Ctrl-C ask the run to save and stop; a second one ends it immediately."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import FrameType
from typing import TypeVar

import torch

from dlib.utils.distributed import largest_over_processes, world_size

T = TypeVar("T")

# Windows has no SIGUSR1.
STOP_SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)
)
SAME = 1.0  # seconds in which a second signal counts as the first: a launcher repeats what all processes got
PATIENCE = 10.0  # seconds that one of several processes waits for its data, so that all can stop together
STUCK = 120.0  # seconds in one call outside of Python, such as a wait for another process, after which the process ends


class Interrupted(Exception):
    """The run was asked to stop and stopped."""


class StopRequest:
    """Remembers that a signal asked the run to stop.

    Python runs a signal's handler only between two of its own instructions: not while it waits inside of PyTorch for
    another process, or for a disk that does not answer. A thread sees the signal there too: a second signal then
    ends the process immediately, and a first one after ``STUCK`` seconds.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._received = 0  # the signal's number; 0: none
        self._received_at = 0.0
        self._agreed = 0  # the same over all processes
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                signal.signal(number, self._receive)
            _watchman.serve(self)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received, self._received_at = number, time.monotonic()
        signal.signal(number, signal.SIG_DFL)

    @property
    def noticed(self) -> bool:
        """Whether a signal's handler has run."""
        return self._received > 0

    def agreed(self) -> bool:
        """Whether any process was asked to stop; every process must call this at the same point.

        A single process does not ask the device, for which it would wait.
        """
        self._agreed = self._received
        if world_size() > 1:
            number = torch.tensor(self._received, device=self._device)
            self._agreed = int(largest_over_processes(number))
        return self._agreed > 0

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """``items`` until a signal asks this process to stop; then every process must call ``check``."""
        for item in items:
            if self._received:
                return
            yield item

    def while_waiting(self) -> None:
        """Call this again and again while you wait for something that may never come.

        Raises Interrupted if this process was asked to stop: immediately if it is the only one, else after
        ``PATIENCE`` seconds, since the others cannot stop without this one before.
        """
        if not self._received:
            return
        if world_size() == 1 or time.monotonic() - self._received_at > PATIENCE:
            name = signal.Signals(self._received).name
            raise Interrupted(
                f"{name} while waiting for data; the same command resumes from the last checkpoint"
            )

    def check(self) -> None:
        """Raise Interrupted in every process if any was asked to stop; what is saved already stays."""
        if self.agreed():
            raise Interrupted(f"{self.reason}; what is finished is saved, the same command resumes")

    @property
    def reason(self) -> str:
        """The signal's name, also in a process that did not get it; once ``agreed``."""
        return signal.Signals(self._agreed or self._received).name


class _Watchman:
    """One thread that gets signals from Python's own handler in C, which runs immediately."""

    def __init__(self) -> None:
        self._request: StopRequest | None = None
        self._first: tuple[int, float] | None = None  # number and time of a signal that nobody has noticed
        self._wake: socket.socket | None = None

    def serve(self, request: StopRequest) -> None:
        """Watch for ``request`` from now on; called in the main thread."""
        self._request, self._first = request, None
        if self._wake is None:
            reader, self._wake = socket.socketpair()
            self._wake.setblocking(False)
            threading.Thread(target=self._watch, args=(reader,), daemon=True).start()
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def _watch(self, reader: socket.socket) -> None:
        reader.settimeout(1.0)
        while True:
            try:
                for number in reader.recv(64):
                    self._hear(number)
            except TimeoutError:
                self._look()

    def _hear(self, number: int) -> None:
        request = self._request
        if number not in STOP_SIGNALS or request is None:
            return
        if self._first is None:
            self._first = (number, time.monotonic())
        elif not request.noticed and time.monotonic() - self._first[1] > SAME:
            _end(self._first[0], "a second signal came while it waited")

    def _look(self) -> None:
        request = self._request
        if self._first is None or request is None:
            return
        number, since = self._first
        if request.noticed:
            self._first = None
        elif time.monotonic() - since > STUCK:
            _end(number, f"it waited {STUCK:.0f} s for another process or a disk")


def _end(number: int, reason: str) -> None:
    """End this process immediately, as the signal itself would do."""
    with suppress(OSError):
        os.write(2, f"stopped by {signal.Signals(number).name}: {reason}\n".encode())
    os._exit(128 + number)


_watchman = _Watchman()
