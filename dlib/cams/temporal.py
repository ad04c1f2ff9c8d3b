"""CAM-TMP: maps of neighbouring frames, pooled over time (TCAM, Belharbi et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from dlib.cams.maps import temper_at, temper_cams
from dlib.configure.literals import WindowMode


def window(frame: int, count: int, n: int, mode: WindowMode) -> range:
    """The frames whose maps are pooled for ``frame`` of a shot of ``count`` frames: up to ``n`` on each side.

    ``instant``: the frame alone; ``before``: it and the n frames before it; ``after``: it and the n after it;
    ``before-after``: both. The window ends where the shot does.

    Raises ValueError for a frame outside of the shot, and for n < 0.
    """
    if not 0 <= frame < count or n < 0:
        raise ValueError(f"frame {frame} of {count} frames, {n} neighbours")
    before = n if mode in ("before", "before-after") else 0
    after = n if mode in ("after", "before-after") else 0
    return range(max(frame - before, 0), min(frame + after, count - 1) + 1)


def pool_over_time(maps: Tensor, heat: float) -> Tensor:
    """The highest value at every place of the maps [k, h, w] of one window -> [h, w]; nothing is aligned.

    With ``heat`` > 0 every map is tempered before (``temper_cams``). A constant map, in which the classifier saw
    nothing, would become 1 everywhere and hide the others: it is left out then. If all maps are constant, the result is
    0 everywhere.
    """
    if heat <= 0:
        return maps.amax(dim=0)
    varies = (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).view(-1, 1, 1)  # [k, 1, 1]
    return (temper_cams(maps, heat) * varies).amax(dim=0)


@dataclass(frozen=True)
class TemporalPool:
    """What a dataset needs to give each train frame the pooled map of its window.

    Attributes:
        n, mode: of the window.
        heat, min_heat, switch_epoch: the heat of an epoch, see ``temper_at``; without neighbours it is 0.
    """

    n: int
    mode: WindowMode
    heat: float = 0.0
    min_heat: float = 0.0
    switch_epoch: int = -1

    def frames(self, frame: int, count: int) -> Sequence[int]:
        """The window of ``frame`` in a shot of ``count`` frames."""
        return window(frame, count, self.n, self.mode)

    def pool(self, maps: Tensor, epoch: int) -> Tensor:
        """The window's maps [k, h, w] as one map [h, w] in ``epoch``; the first epoch is 1."""
        heat = temper_at(epoch, self.heat, self.min_heat, self.switch_epoch) if self.n else 0.0
        return pool_over_time(maps, heat)
