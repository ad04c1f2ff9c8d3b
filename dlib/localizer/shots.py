"""Frames of a stream that belong to one shot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dlib.datasets.cuts import CutDetector

CUT_DELAY = 3  # frames that follow a cut until `CutDetector` knows it

Item = TypeVar("Item")


def in_shots(
    items: Iterable[Item], image: Callable[[Item], NDArray[np.uint8]], size: int
) -> Iterator[list[Item]]:
    """All items in order, in groups of ``size``; a cut ends a group early. Holds ``size`` items, and 3 more.

    Args:
        image: gives an item's picture [H, W, 3].
    """
    detector = CutDetector()
    held: list[Item] = []
    begin = 0  # position of the first that is held

    def groups(needed: int) -> Iterator[list[Item]]:
        """Those that end at a cut, and others while ``needed`` items are held."""
        nonlocal begin
        while held:
            end = next((cut - begin for cut in detector.cuts() if cut > begin), len(held))
            if end == len(held) and len(held) < needed:
                break
            count = min(end, size)
            yield held[:count]
            del held[:count]
            begin += count

    for item in items:
        held.append(item)
        detector.add(image(item))
        yield from groups(size + CUT_DELAY)
    yield from groups(1)
