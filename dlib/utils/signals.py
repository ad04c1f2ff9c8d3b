"""A polite end: SIGTERM, SIGUSR1 and Ctrl-C ask the run to save and stop; a second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

import torch

from dlib.utils.distributed import largest_over_processes

T = TypeVar("T")


class Interrupted(Exception):
    """The run was asked to stop and did, with everything saved."""


class StopRequest:
    """Remembers that a signal asked the run to stop."""

    signals = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._received = 0  # the signal's number; 0: none
        self._agreed = 0  # the same over all processes
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(number, signal.SIG_DFL)

    def agreed(self) -> bool:
        """Whether any process was asked to stop; every process must call this at the same point."""
        number = torch.tensor(self._received, device=self._device)
        self._agreed = int(largest_over_processes(number))
        return self._agreed > 0

    def watch(self, items: Iterable[T]) -> Iterator[T]:
        """``items`` until a signal asks this process to stop; ``check`` must follow, where the processes meet."""
        for item in items:
            if self._received:
                return
            yield item

    def check(self) -> None:
        """Raise Interrupted in every process if any was asked to stop; nothing is saved."""
        if self.agreed():
            raise Interrupted(self.reason)

    @property
    def reason(self) -> str:
        """The signal's name, also in a process that did not get it; once ``agreed``."""
        return signal.Signals(self._agreed).name
