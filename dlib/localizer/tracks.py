"""Objects followed through a video: boxes of neighbouring frames become tracks, smooth and without gaps (ours).

A box belongs to a track if it overlaps the track's last box. A track's box in a frame is a straight line through its
boxes in the frames around, edge by edge (local linear regression, Cleveland 1979). So boxes do not lag behind an object
that moves, gaps are filled, and a box that is wrong in a single frame does not count. doc/boxes.md has measurements.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dlib.datasets.cuts import CutDetector
from dlib.localizer.shots import CUT_DELAY
from dlib.metrics.boxes import box_iou

if TYPE_CHECKING:
    from dlib.localizer.result import Box, Localization
    from dlib.localizer.source import Frame

TRACK_WINDOW = 9  # frames
LINK_IOU = 0.3  # with the last box of a track
SURE = 3  # boxes in a window that make a track worth showing


def follow(
    results: Iterator[tuple[Frame, Localization]], window: int = TRACK_WINDOW, multi: bool = False
) -> Iterator[tuple[Frame, Localization]]:
    """Each frame with the boxes of the tracks that pass through it, and their numbers.

    A frame's class becomes the one with the highest sum of scores in the window. A frame through which no sure track
    passes keeps its boxes as they are. A cut ends all tracks. Holds half a window of frames, and 4 more.

    Args:
        window: frames; an even number is made one larger, less than 3 becomes 3.
        multi: all tracks count; False: only the one that most of the window's boxes belong to.
    """
    reach = max(window // 2, 1)
    delay = reach + CUT_DELAY
    tracks = _Tracks(reach, multi)
    held: deque[tuple[Frame, Localization] | None] = deque(maxlen=delay + 1)
    for position, pair in enumerate(chain(results, repeat(None, delay))):  # None: the last frames are settled
        held.append(pair)
        if pair is not None:
            tracks.add(position, *pair)
        if len(held) > delay and (oldest := held[0]) is not None:
            frame, result = oldest
            yield frame, tracks.settled(position - delay, result)


class TrackTable:
    """All tracks of a video, from its results one after the other."""

    def __init__(self) -> None:
        # By number: the frames that a track passes through, and the sum of their scores for each class.
        self._frames: defaultdict[int, list[int]] = defaultdict(list)
        self._scores: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, result: Localization) -> None:
        for number in result.tracks:
            self._frames[number].append(result.index)
            self._scores[number][result.label] += result.score

    def rows(self) -> list[dict[str, Any]]:
        """One dict a track, by number: track, class, first and last (indices of frames), frames (their count)."""
        return [
            {
                "track": number,
                "class": max(self._scores[number], key=self._scores[number].__getitem__),
                "first": frames[0],
                "last": frames[-1],
                "frames": len(frames),
            }
            for number, frames in sorted(self._frames.items())
        ]


@dataclass
class _Track:
    number: int
    boxes: dict[int, Box] = field(default_factory=dict)  # {position of the frame: box}, oldest first

    def since(self, position: int) -> _Track:
        """The track from the frame ``position`` on."""
        return _Track(self.number, {p: box for p, box in self.boxes.items() if p >= position})

    def until(self, position: int) -> _Track:
        """The track up to the frame ``position``."""
        return _Track(self.number, {p: box for p, box in self.boxes.items() if p <= position})

    def weight(self, at: int, reach: int) -> float:
        return float(_kernel(np.array(list(self.boxes)) - at, reach).sum())

    def box(self, at: int, reach: int, size: tuple[int, int]) -> Box:
        """The line through the boxes, at one frame; inside the frame's (width, height)."""
        offset = np.array(list(self.boxes)) - at  # [n]
        edges = np.array(list(self.boxes.values()), np.float64)  # [n, 4]
        weight = _kernel(offset, reach)
        total, first, second = ((weight * offset**k).sum() for k in range(3))
        spread = total * second - first**2
        if spread > 1e-9:
            weight = weight * (second - first * offset) * total / spread
        x0, y0, x1, y1 = (int(value) for value in np.rint(weight @ edges / total))
        left, top = min(max(x0, 0), size[0] - 1), min(max(y0, 0), size[1] - 1)
        return left, top, min(max(x1, left), size[0] - 1), min(max(y1, top), size[1] - 1)


class _Tracks:
    """All tracks of the frames that are not settled yet, and of ``reach`` frames before."""

    def __init__(self, reach: int, multi: bool) -> None:
        self._reach, self._multi = reach, multi
        self._tracks: list[_Track] = []
        self._made = 0
        self._votes: dict[int, tuple[str, float]] = {}  # {position: class and its score}
        self._cuts = CutDetector()
        self._starts = [0]  # of shots, as positions
        self._size: tuple[int, int] | None = None

    def add(self, position: int, frame: Frame, result: Localization) -> None:
        """The next frame, at ``position``."""
        if self._size not in (None, result.size):
            self._begin_shot(position)
        self._size = result.size
        self._votes[position] = (result.label, result.score)
        self._link(position, result.boxes)
        self._cuts.add(frame.image)
        for cut in self._cuts.cuts():
            if cut > self._starts[-1]:
                self._begin_shot(cut)

    def settled(self, at: int, result: Localization) -> Localization:
        """``result``, of the frame at position ``at``, with its tracks' boxes. Frames are settled in order."""
        first, last = at - self._reach, at + self._reach
        self._tracks = [later for track in self._tracks if (later := track.since(first)).boxes]
        self._votes = {position: vote for position, vote in self._votes.items() if position >= first}
        around = [p for p in self._votes if p <= last and self._shot(p) == self._shot(at)]
        result = self._voted(result, around)
        seen = [inside for track in self._tracks if (inside := track.until(last)).boxes]
        needed = min(SURE, len(around))
        sure = [t for t in seen if len(t.boxes) >= needed and min(t.boxes) <= at <= max(t.boxes)]
        if not sure:
            owners = {track.boxes[at]: track.number for track in seen if at in track.boxes}
            return replace(result, tracks=tuple(owners[box] for box in result.boxes))
        sure.sort(key=lambda track: -track.weight(at, self._reach))
        if not self._multi:
            del sure[1:]
        box, *others = (track.box(at, self._reach, result.size) for track in sure)
        return replace(result, box=box, others=tuple(others), tracks=tuple(track.number for track in sure))

    def _voted(self, result: Localization, around: list[int]) -> Localization:
        """``result`` with the class that has the highest sum of scores, and that class's mean score."""
        scores: dict[str, list[float]] = {}
        for position in around:
            label, score = self._votes[position]
            scores.setdefault(label, []).append(score)
        best = max(scores, key=lambda label: (sum(scores[label]), label == result.label))
        if best == result.label:
            return result
        return replace(result, label=best, score=float(np.mean(scores[best])))

    def _link(self, position: int, boxes: tuple[Box, ...]) -> None:
        """Give each box to the track whose last box it overlaps most, or to a new one."""
        recent = [track for track in self._tracks if self._shot(max(track.boxes)) == self._shot(position)]
        recent = [track for track in recent if position - max(track.boxes) <= self._reach]
        left = set(range(len(boxes)))
        if boxes and recent:
            lasts = [track.boxes[max(track.boxes)] for track in recent]
            iou = box_iou(np.array(boxes), np.array(lasts))  # [boxes, tracks]
            for flat in np.argsort(-iou, axis=None, kind="stable"):
                row, column = divmod(int(flat), len(recent))
                if iou[row, column] < LINK_IOU:
                    break
                track = recent[column]
                if row in left and position not in track.boxes:
                    track.boxes[position] = boxes[row]
                    left.remove(row)
        for row in sorted(left):
            self._tracks.append(self._new({position: boxes[row]}))

    def _begin_shot(self, start: int) -> None:
        """A shot begins at the frame ``start``: tracks that pass through it end, and new ones begin."""
        self._starts.append(start)
        ended = [track for track in self._tracks if min(track.boxes) < start <= max(track.boxes)]
        for track in ended:
            self._tracks.append(self._new(track.since(start).boxes))
            track.boxes = track.until(start - 1).boxes

    def _new(self, boxes: dict[int, Box]) -> _Track:
        self._made += 1
        return _Track(self._made, boxes)

    def _shot(self, position: int) -> int:
        return bisect_right(self._starts, position)


def _kernel(offset: NDArray[np.int64], reach: int) -> NDArray[np.float64]:
    """Tricube weights of frames by their distance."""
    return np.asarray((1 - (np.abs(offset) / (reach + 1)) ** 3).clip(0) ** 3)
