"""Boxes that do not flicker: a running median over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dlib.localizer.predict import Localization
    from dlib.localizer.source import Frame


def smooth_boxes(
    results: Iterator[tuple[Frame, Localization]], window: int
) -> Iterator[tuple[Frame, Localization]]:
    """Each box replaced by the median, edge by edge, of the boxes of ``window`` frames centred on it.

    The median follows a jump of the object (a cut) immediately, and removes boxes that are wrong in single frames.
    The window shrinks at the ends of the video; an even window is made one frame longer. Frames without a box still
    have none afterwards, and do not count. Holds ``window`` frames.
    """
    reach = window // 2
    held: deque[tuple[Frame, Localization]] = deque()
    behind = 0  # how many of the held frames are older than the next one to return
    for pair in results:
        held.append(pair)
        if len(held) > behind + reach:
            yield _median(held, behind)
            behind += 1
        if behind > reach:
            held.popleft()
            behind -= 1
    while behind < len(held):
        yield _median(held, behind)
        behind += 1
        if behind > reach:
            held.popleft()
            behind -= 1


def _median(held: deque[tuple[Frame, Localization]], at: int) -> tuple[Frame, Localization]:
    frame, result = held[at]
    boxes = [other.box for _, other in held if other.box is not None and other.size == result.size]
    if result.box is None or len(boxes) < 2:
        return frame, result
    x0, y0, x1, y1 = (int(edge) for edge in np.rint(np.median(np.array(boxes), axis=0)))
    return frame, replace(result, box=(x0, y0, x1, y1))
