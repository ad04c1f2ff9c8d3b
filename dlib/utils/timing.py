"""How much time some work takes, and each part of a training step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from dlib.utils.device import finish

HOST_KINDS = frozenset({"data"})  # waiting for data is the host's time on every device


def _is_profiling() -> bool:
    return torch.autograd.profiler._is_profiler_enabled


def _now(on_card: bool) -> float | torch.cuda.Event:
    if not on_card:
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(start: Any, end: Any) -> float:
    """Between two results of ``_now``; on a card the host waits for the later one."""
    if isinstance(start, float):
        return end - start
    end.synchronize()
    return start.elapsed_time(end) / 1e3


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
        self._spans: list[tuple[str, str | None, Any, Any]] = []  # kind, the kind around it, start, end
        self._around: list[str] = []

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        on_card = self._on_card and kind not in HOST_KINDS
        around = self._around[-1] if self._around else None
        self._around.append(kind)
        start = _now(on_card)
        # A profiler that runs (--profile) shows the parts by name.
        named = torch.profiler.record_function(f"step: {kind}") if _is_profiling() else nullcontext()
        try:
            with named:
                yield
        finally:
            self._around.pop()
            self._spans.append((kind, around, start, _now(on_card)))

    def take(self) -> dict[str, float]:
        """The sums so far; the clock starts again at zero. On CUDA the host waits for the work that was measured."""
        seconds: dict[str, float] = defaultdict(float)
        for kind, around, start, end in self._spans:
            elapsed = _seconds(start, end)
            seconds[kind] += elapsed
            if around is not None:
                seconds[around] -= elapsed
        self._spans = []
        return dict(seconds)
