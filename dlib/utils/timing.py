"""How much time each part of a training step takes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StepClock:
    """Sums wall seconds per kind of work; nested work does not count for the kind around it.

    On CUDA the numbers are those of the host: a kind that only queues kernels looks fast, and the kind that waits
    for the card looks slow.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._nested = [0.0]

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        start = time.perf_counter()
        self._nested.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            self.seconds[kind] += elapsed - self._nested.pop()
            self._nested[-1] += elapsed

    def take(self) -> dict[str, float]:
        """The sums so far; the clock starts again at zero."""
        taken = dict(self.seconds)
        self.seconds.clear()
        return taken
