"""How many random inputs a test tries."""

from __future__ import annotations

from hypothesis import settings


def cases(short: int) -> int:
    """How many random inputs to try: ``short``, with the long profile as many as it says."""
    return max(short, settings.default.max_examples)
