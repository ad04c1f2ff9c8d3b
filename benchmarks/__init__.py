"""Speed against plain implementations, measured in the same process: `python -m benchmarks [names]`.

A benchmark is a module of this package that is named in `MODULES` and has `run(rounds=...)`, which gives rows: dicts
with `plain_ms`, `ours_ms`, `ratio` where they apply, words under any other keys.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

MODULES = ("filters", "cams", "evaluation", "step", "precision", "loading")
Row = dict[str, object]


@dataclass
class Times:
    """Milliseconds of each round: by the clock, and of the processor (all threads; other load disturbs it less)."""

    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def alternate(*functions: Callable[[], object], rounds: int) -> list[Times]:
    """Times of each function: they run in turn, after one warm-up each."""
    times = [Times() for _ in functions]
    for function in functions:
        function()
    for _ in range(rounds):
        for function, mine in zip(functions, times, strict=True):
            clock, processor = time.perf_counter(), time.process_time()
            function()
            mine.clock.append((time.perf_counter() - clock) * 1e3)
            mine.processor.append((time.process_time() - processor) * 1e3)
    return times


def compare(what: str, plain: Times, ours: Times, note: str = "") -> Row:
    """Row of two measurements: medians; in the note the medians of processor time and the best runs."""
    plain_ms, ours_ms = statistics.median(plain.clock), statistics.median(ours.clock)
    busy, our_busy = statistics.median(plain.processor), statistics.median(ours.processor)
    words = [note] if note else []
    words.append(f"processor {busy:.2f} / {our_busy:.2f} = {busy / our_busy:.2f}×")
    best, our_best = min(plain.clock), min(ours.clock)
    words.append(f"best {best:.2f} / {our_best:.2f} = {best / our_best:.2f}×")
    return {
        "what": what,
        "plain_ms": plain_ms,
        "ours_ms": ours_ms,
        "ratio": plain_ms / ours_ms,
        "note": "; ".join(words),
    }
