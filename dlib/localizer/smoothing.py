"""Boxes that do not flicker: a running median over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dlib.localizer.result import Localization
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
    held: deque[tuple[Frame, Localization] | None] = deque(maxlen=2 * reach + 1)
    for pair in chain(results, repeat(None, reach)):  # what follows the last frame brings it into the middle
        held.append(pair)
        middle = held[-1 - reach] if len(held) > reach else None
        if middle is not None:
            yield _median(*middle, [other for _, other in filter(None, held)])


def _median(frame: Frame, result: Localization, around: list[Localization]) -> tuple[Frame, Localization]:
    boxes = [other.box for other in around if other.box is not None and other.size == result.size]
    if result.box is None or len(boxes) < 2:
        return frame, result
    x0, y0, x1, y1 = (int(edge) for edge in np.rint(np.median(np.array(boxes), axis=0)))
    return frame, replace(result, box=(x0, y0, x1, y1))
