"""Collects one record per sample of a split and turns them into a `LocalizationReport`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dlib.metrics.box_rule import View, shot_masks
from dlib.metrics.boxes import (
    LEVELS,
    FloatArray,
    IntArray,
    UInt8Map,
    best_matches,
    level_boxes,
    quantize_maps,
)
from dlib.metrics.regions import object_boxes
from dlib.metrics.report import NOT_CLASSIFIED, LocalizationReport, SampleArrays

# What may wait for a worker, if the network is faster than the workers: maps, and bytes of their features, of which a
# frame has from 0.3 MB (mobilenet_v2 at 224²) to 3 MB (resnet50).
_PENDING = 512
_PENDING_FEATURES = 2**28


_Record = tuple[Any, ...]  # one sample's row of these columns
# The fields of `SampleArrays`.
_COLUMNS: list[Any] = [
    ("index", np.int64),
    ("label", np.int64),
    ("predicted", np.int64),
    ("rank", np.int64),
    ("peak", np.int64),
    ("boxed", np.bool_),
    ("iou", np.float64, (LEVELS,)),
    ("box", np.int32, (LEVELS, 4)),
    ("rule_iou", np.float64),
]


class BoxEvaluator:
    """Localization and classification of a split in one pass, in any order of samples.

    Records are kept by sample index, and a repeated index is ignored. So batch size, order, workers and the number
    of processes cannot change the report.

    Args:
        classes: class names, in the order of the logits.
        interval: distance δ of the thresholds.
        multi_contour: boxes of all contours count; False: only the box of the largest.
        multi_iou: headline is the mean over ``sigmas`` (MaxBoxAccV2) instead of σ = 50 %; None: as
            ``multi_contour``.
        sigmas: IoU thresholds in percent.
        workers: threads that search contours while the caller continues; 0: search in the caller's thread.
        groups: indices of samples that the box rule describes together (`shot_masks`), disjoint; it describes all
            others alone. The samples of a group are held until all of them have come, or a report is wanted.
    Raises ValueError for no or repeated classes, no sigmas or sigmas outside 1..100, a bad interval.
    """

    def __init__(
        self,
        classes: Sequence[str],
        interval: float = 0.001,
        multi_contour: bool = False,
        multi_iou: bool | None = None,
        sigmas: Sequence[int] = (30, 50, 70),
        workers: int = 0,
        groups: Iterable[Sequence[int]] = (),
    ) -> None:
        self.classes = list(classes)
        self.interval = interval
        self.multi_contour = multi_contour
        self.multi_iou = multi_contour if multi_iou is None else multi_iou
        self.sigmas = tuple(int(sigma) for sigma in sigmas)
        self._records: dict[int, _Record] = {}
        self._pending: deque[tuple[int, Future[list[_Record]]]] = deque()  # number of samples, their records
        self._groups = {index: tuple(group) for group in groups for index in group}
        self._waiting: dict[tuple[int, ...], list[_Sample]] = {}  # groups of which samples are missing
        self._seen: set[int] = set()
        self._pool = ThreadPoolExecutor(workers) if workers > 0 else None
        self.compute()  # an empty report: checks the settings before any work is done

    def update(
        self,
        cams: Tensor | npt.NDArray[Any],
        labels: Tensor | npt.NDArray[Any],
        logits: Tensor | npt.NDArray[Any] | None,
        boxes: Sequence[npt.ArrayLike],
        indices: Tensor | npt.NDArray[Any] | Sequence[int],
        frames: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            cams: maps [B, H, W] in [0, 1] of the true class, any device; NaN counts as 0.
            labels: true classes int [B].
            logits: class logits [B, C]; NaN counts as the lowest. None: nothing was classified.
            boxes: B arrays [n, 4] of true boxes in the map's pixels (x0, y0, x1, y1 inclusive); n = 0 where
                the box is unknown: such a sample counts for classification alone.
            indices: the samples' numbers in the split, int [B].
            frames: uint8 [B, 3, H, W], RGB, the maps' pixels: then the boxes of `rule_boxes` are measured too.
            features: float [B, C, h, w] of the frames, for that rule; None: it has none.
        Raises ValueError when shapes or labels do not fit.
        """
        u = quantize_maps(cams)  # [B, H, W]
        label, number = _array(labels), _array(indices)
        count = len(label)
        scores = np.zeros((count, len(self.classes))) if logits is None else _array(logits)
        if u.ndim != 3 or not len(u) == len(scores) == len(boxes) == len(number) == count:
            raise ValueError(
                f"cams {list(u.shape)}, labels [{count}], logits {list(scores.shape)}, {len(boxes)} box "
                f"lists and {len(number)} indices do not describe one batch"
            )
        if scores.ndim != 2 or scores.shape[1] != len(self.classes):
            raise ValueError(f"logits must be [B, {len(self.classes)}], got {list(scores.shape)}")
        if count and not 0 <= label.min() <= label.max() < len(self.classes):
            raise ValueError(f"labels must lie in 0..{len(self.classes) - 1}")
        if frames is not None and frames.shape != (count, 3, *u.shape[1:]):
            raise ValueError(f"frames {list(frames.shape)} are not the pixels of maps {list(u.shape)}")
        pixels = None if frames is None else frames.permute(0, 2, 3, 1).cpu().numpy()  # [B, H, W, 3]
        seen = None if features is None else features.float().cpu().numpy()
        ranks, predicted = _ranks(scores.astype(np.float64), label)
        if logits is None:
            ranks, predicted = np.full_like(ranks, NOT_CLASSIFIED), np.full_like(predicted, NOT_CLASSIFIED)
        for b in range(count):
            index = int(number[b])
            if index in self._seen:
                continue
            self._seen.add(index)
            known = (index, label[b], predicted[b], ranks[b])
            truth = np.asarray(boxes[b], dtype=np.float64).reshape(-1, 4)
            sample = _Sample(known, truth, u[b], *(None if v is None else v[b] for v in (pixels, seen)))
            group = self._groups.get(index, (index,))
            waiting = self._waiting.setdefault(group, [])
            waiting.append(sample)
            if len(waiting) == len(group):
                self._search(self._waiting.pop(group))
        each = 0 if seen is None else seen.nbytes // max(count, 1)
        self._drain(min(_PENDING, _PENDING_FEATURES // max(each, 1)))

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All records as plain arrays (`SampleArrays`), sorted by index, to be sent to other processes.

        A group of which samples are missing is described by those that have come.
        """
        for group in list(self._waiting):
            self._search(self._waiting.pop(group))
        self._drain(0)
        table = np.array([self._records[index] for index in sorted(self._records)], dtype=_COLUMNS)
        return {name: table[name] for name, *_ in _COLUMNS}

    def merge(self, states: Iterable[dict[str, npt.NDArray[Any]]]) -> None:
        """Add the records of other evaluators' `state`; an index that is already known is ignored."""
        for state in states:
            for row, index in enumerate(state["index"].tolist()):
                if index not in self._seen:
                    self._seen.add(index)
                    self._records[index] = tuple(state[name][row] for name, *_ in _COLUMNS)

    def compute(self) -> LocalizationReport:
        """The report of all samples so far."""
        return LocalizationReport(
            SampleArrays(**self.state()), self.classes, self.interval, self.sigmas, self.multi_iou
        )

    def close(self) -> None:
        """Wait for the workers and end them; later updates work in the caller's thread."""
        self._drain(0)
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _search(self, samples: list[_Sample]) -> None:
        """Find the boxes of samples that are described together, in the order of their indices."""
        samples.sort(key=lambda sample: sample.known[0])
        if self._pool is None:
            self._keep(_group_records(samples, self.multi_contour))
        else:
            task = self._pool.submit(_group_records, samples, self.multi_contour)
            self._pending.append((len(samples), task))

    def _drain(self, allowed: int) -> None:
        """Wait until no more than ``allowed`` samples are with the workers."""
        left = sum(count for count, _ in self._pending)
        while left > allowed:
            count, future = self._pending.popleft()
            self._keep(future.result())
            left -= count

    def _keep(self, records: list[_Record]) -> None:
        self._records |= {record[0]: record for record in records}


class _Sample(NamedTuple):
    known: _Record  # the first columns of its row
    truth: FloatArray  # [n, 4]
    u: UInt8Map  # [H, W]
    frame: UInt8Map | None  # [H, W, 3]
    features: npt.NDArray[np.float32] | None  # [C, h, w]


def _group_records(samples: list[_Sample], multi_contour: bool) -> list[_Record]:
    """The rows of samples; the box rule is measured for those whose frames are given, and describes them together."""
    seen = [s for s in samples if s.frame is not None]
    masks = shot_masks([View(s.u, s.frame, s.features) for s in seen if s.frame is not None])
    of = {s.known[0]: mask for s, mask in zip(seen, masks, strict=True)}
    return [_record(sample, of.get(sample.known[0]), multi_contour) for sample in samples]


def _record(sample: _Sample, mask: UInt8Map | None, multi_contour: bool) -> _Record:
    """One sample's row; ``mask``: of the box rule."""
    u, truth = sample.u, sample.truth
    boxes, group = level_boxes(u, np.arange(LEVELS), multi_contour)
    iou, box = best_matches(boxes, truth)  # [G], [G, 4]
    rule = np.nan
    if mask is not None:
        rule = best_matches([object_boxes(mask, u, several=multi_contour)], truth)[0][0]
    return (*sample.known, u.max(), len(truth) > 0, iou[group], box[group], rule)


def _ranks(scores: FloatArray, labels: IntArray) -> tuple[IntArray, IntArray]:
    """Rank of the true class among the scores [B, C] (0: best), and the best class, both [B].

    Of equal scores the lower class comes first.
    """
    clean = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-clean, axis=1, kind="stable")  # [B, C]
    return (order == labels[:, None]).argmax(axis=1), order[:, 0]


def _array(values: Tensor | npt.NDArray[Any] | Sequence[int]) -> npt.NDArray[Any]:
    if isinstance(values, Tensor):
        values = values.detach().double() if values.is_floating_point() else values
        return values.cpu().numpy()
    return np.asarray(values)
