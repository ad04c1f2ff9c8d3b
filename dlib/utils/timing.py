"""How much time some work takes, and each part of a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch

from dlib.utils.device import finish

HOST_KINDS = frozenset({"data"})  # waiting for data is the host's time on every device


def _is_profiling() -> bool:
    return torch.autograd.profiler._is_profiler_enabled


class _Mark(Protocol):
    """A point in time."""

    def seconds_to(self, later: Any) -> float:
        """From this mark to a later one of the same kind; on a card the host waits for the later one."""


class _HostMark:
    def __init__(self) -> None:
        self._at = time.perf_counter()

    def seconds_to(self, later: _HostMark) -> float:
        return later._at - self._at


class _CudaMark:
    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)
        self._event.record()

    def seconds_to(self, later: _CudaMark) -> float:
        later._event.synchronize()
        return self._event.elapsed_time(later._event) / 1e3


def seconds_of(device: torch.device, work: Callable[[], Any]) -> float:
    """Wall time of ``work``; on CUDA it includes the kernels that are still queued at its end."""
    start = time.perf_counter()
    work()
    finish(device)
    return time.perf_counter() - start


class StepClock:
    """Sums seconds per kind of work; nested work does not count for the kind around it.

    On CUDA the seconds are the card's own, by events: the host only queues the work. Waiting for data is measured on
    the host. Events are read in ``take`` alone, when the step's work is done.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._on_card = device is not None and device.type == "cuda"
        self._spans: list[tuple[str, str | None, _Mark, _Mark]] = []  # kind, the kind around it, start, end
        self._around: list[str] = []

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        mark: type[_Mark] = _CudaMark if self._on_card and kind not in HOST_KINDS else _HostMark
        around = self._around[-1] if self._around else None
        self._around.append(kind)
        start = mark()
        # A profiler that runs (--profile) shows the parts by name.
        named = torch.profiler.record_function(f"step: {kind}") if _is_profiling() else nullcontext()
        try:
            with named:
                yield
        finally:
            self._around.pop()
            self._spans.append((kind, around, start, mark()))

    def take(self) -> dict[str, float]:
        """The sums so far; the clock starts again at zero. On CUDA the host waits for the work that was measured."""
        seconds: dict[str, float] = defaultdict(float)
        for kind, around, start, end in self._spans:
            elapsed = start.seconds_to(end)
            seconds[kind] += elapsed
            if around is not None:
                seconds[around] -= elapsed
        self._spans = []
        return dict(seconds)
