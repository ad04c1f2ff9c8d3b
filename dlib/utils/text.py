"""Numbers as text."""

from __future__ import annotations

DASH = "–"  # what could not be measured


def duration(seconds: float | None) -> str:
    """Seconds in their two largest units: 42 s, 3 min 05 s, 2 h 10 min, 1 d 4 h; a dash for None."""
    if seconds is None:
        return DASH
    s = int(seconds + 0.5)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def percent(value: float | None) -> str:
    """A percentage with one digit, without its sign; a dash for None."""
    return DASH if value is None else f"{value:.1f}"
