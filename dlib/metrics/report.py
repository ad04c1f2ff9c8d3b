"""Tables of the localization metric, computed from per-sample records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray, IntArray, threshold_grid, threshold_levels

NOT_CLASSIFIED = -1  # class and rank of a sample without logits
_HEADLINE_SIGMA = 50  # percent: CorLoc of the literature


@dataclass
class SampleArrays:
    """Records of n samples, sorted by index."""

    index: IntArray  # [n] number in the split
    label: IntArray  # [n] true class
    predicted: IntArray  # [n] class with the highest logit, or NOT_CLASSIFIED
    rank: IntArray  # [n] rank of the true class among the logits, 0: best, or NOT_CLASSIFIED
    peak: IntArray  # [n] highest value of the uint8 map
    boxed: npt.NDArray[np.bool_]  # [n] whether a true box is known
    iou: FloatArray  # [n, 256] best IoU of the mask u > level; 0 without a true box
    box: npt.NDArray[np.int32]  # [n, 256, 4] the box that has it
    rule_iou: FloatArray  # [n] IoU of the box rule's box; NaN: the frame was not given


class LocalizationReport:
    """CorLoc, top-1 and top-5 localization at each IoU threshold σ, classification, per class and as means.

    Each class uses its best threshold τ of the map; CorLoc, top-1 and top-5 have their own best τ. Then comes the mean
    over classes. If several τ are best, the middle one is named: it is farthest from those that are worse, so it is
    the safest for another split. All shares in percent.

    A sample whose true box is unknown counts for classification alone: it cannot be localized, which is not a miss.
    A class without samples (for localization: without boxes) has None in the tables and is left out of the means;
    without any such sample the means are None too. ``boxed``, the number of samples with a box, is beside ``samples``
    if the two differ. If a sample was not classified, top-1, top-5 and classification are None. ``box_rule`` holds
    CorLoc of boxes without thresholds (`rule_boxes`), where frames were given.
    """

    def __init__(
        self,
        samples: SampleArrays,
        classes: Sequence[str],
        interval: float,
        sigmas: Sequence[int],
        multi_iou: bool,
    ) -> None:
        if not classes or len(set(classes)) != len(classes):
            raise ValueError("classes must be a non-empty list of different names")
        if not sigmas or not all(0 < sigma <= 100 for sigma in sigmas):
            raise ValueError(f"sigmas must be percentages in 1..100, got {list(sigmas)}")
        if not multi_iou and _HEADLINE_SIGMA not in sigmas:
            raise ValueError(f"sigmas must contain {_HEADLINE_SIGMA}, the headline's, got {list(sigmas)}")
        self.classes = list(classes)
        self.interval = interval
        self.sigmas = tuple(sigmas)
        self.multi_iou = multi_iou
        self._samples = samples
        self._taus = threshold_grid(interval)  # [T]
        self._rows = [np.flatnonzero(samples.label == c) for c in range(len(classes))]
        self._boxed = [rows[samples.boxed[rows]] for rows in self._rows]
        self._report = self._tables()

    @property
    def headline(self) -> float | None:
        """Mean CorLoc over classes at σ = 50 %, or over all σ too if ``multi_iou`` (MaxBoxAccV2)."""
        return self._report["headline"]

    @property
    def without_thresholds(self) -> float | None:
        """The headline's metric with the boxes of `rule_boxes`; None if frames were not given."""
        corloc = self._report.get("box_rule", {}).get("corloc", {})
        return corloc.get("mean" if self.multi_iou else str(_HEADLINE_SIGMA))

    @property
    def classification(self) -> float | None:
        """Share of samples whose highest logit is the true class."""
        return self._report["classification"]

    def to_dict(self, curves: bool = True) -> dict[str, Any]:
        """The complete report as values for JSON; ``curves=False`` leaves the accuracy curves over τ out."""
        return {key: value for key, value in self._report.items() if curves or key != "curves"}

    def best_taus(self) -> dict[str, dict[str, float | None]]:
        """{σ: {class: best τ of CorLoc}}, the argument that `at_taus` of another split takes."""
        per_class = self._report["per_class"]
        return {
            str(s): {name: per_class[name]["best_tau"][str(s)] for name in self.classes} for s in self.sigmas
        }

    def at_taus(self, taus: Mapping[Any, Mapping[str, float | None]]) -> dict[str, Any]:
        """CorLoc with thresholds that were chosen on other data, such as the validation split.

        Args:
            taus: {σ: {class: τ}}, σ as number or text; a class that is missing or None gets the mean of the
                others.
        Returns: {"corloc": {σ: x, "mean": x}, "per_class": {class: {"samples": n, "corloc": {σ: x}}}}; None
            for a class without boxes.
        Raises ValueError when a σ is missing or has no τ at all.
        """
        given = {str(sigma): by_class for sigma, by_class in taus.items()}
        chosen: dict[int, dict[str, FloatArray]] = {}
        for sigma in self.sigmas:
            known = {name: tau for name, tau in given.get(str(sigma), {}).items() if tau is not None}
            if not known:
                raise ValueError(f"taus has no threshold for sigma {sigma}")
            fallback = float(np.mean(list(known.values())))
            chosen[sigma] = {name: np.array([known.get(name, fallback)]) for name in self.classes}
        return self._corloc(
            lambda name, rows, sigma: self._hits(rows, sigma, chosen[sigma][name])
        )  # [n_c, 1]

    def _corloc(self, hits: Callable[[str, IntArray, int], npt.NDArray[np.bool_]]) -> dict[str, Any]:
        """The value of `at_taus`; ``hits`` says of a class's samples which are localized at a σ."""
        table: dict[str, dict[str, float | None]] = {
            name: {str(sigma): _percent(hits(name, rows, sigma)) for sigma in self.sigmas}
            for name, rows in zip(self.classes, self._boxed, strict=True)
        }
        return {
            "corloc": self._means(table),
            "per_class": {
                name: {**self._counts(rows), "corloc": table[name]}
                for name, rows in zip(self.classes, self._rows, strict=True)
            },
        }

    def _by_rule(self) -> dict[str, Any]:
        """{"box_rule": as `at_taus`}: CorLoc of the boxes of `rule_boxes`; empty if frames were not given."""
        iou = self._samples.rule_iou
        if np.isnan(iou).any():
            return {}
        return {"box_rule": self._corloc(lambda name, rows, sigma: iou[rows] >= sigma / 100)}

    def samples_table(self) -> list[dict[str, Any]]:
        """One entry per sample, by index, at its class's best τ for σ = 50 % (or the σ nearest to it).

        Keys: index, label and predicted (class names), best_iou (0..1), box (x0, y0, x1, y1), tau. best_iou is None
        if the true box is unknown; box and tau are None too in a class that has no box at all.
        """
        sigma = min(self.sigmas, key=lambda s: abs(s - _HEADLINE_SIGMA))
        best = self.best_taus()[str(sigma)]
        s = self._samples
        table = []
        for row in range(len(s.index)):
            name = self.classes[s.label[row]]
            tau = best[name]
            level = 0 if tau is None else int(threshold_levels(np.array([tau]), s.peak[row])[0])
            table.append(
                {
                    "index": int(s.index[row]),
                    "label": name,
                    "predicted": None if s.rank[row] == NOT_CLASSIFIED else self.classes[s.predicted[row]],
                    "best_iou": float(s.iou[row, level]) if s.boxed[row] else None,
                    "box": None if tau is None else s.box[row, level].tolist(),
                    "tau": tau,
                }
            )
        return table

    def _counts(self, rows: IntArray) -> dict[str, int]:
        """The number of samples in ``rows`` and, if some have no box, how many have one."""
        boxed = int(self._samples.boxed[rows].sum())
        return {"samples": len(rows)} if boxed == len(rows) else {"samples": len(rows), "boxed": boxed}

    def _hits(self, rows: IntArray, sigma: int, taus: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether the samples ``rows`` [n] are localized at each threshold: bool [n, T]."""
        levels = threshold_levels(taus, self._samples.peak[rows])  # [n, T]
        levels = np.clip(levels, 0, self._samples.iou.shape[1] - 1)
        return np.take_along_axis(self._samples.iou[rows], levels, axis=1) >= sigma / 100

    def _middle_best(self, counts: IntArray) -> float:
        """The middle one of the thresholds [T] with the highest count."""
        best = np.flatnonzero(counts == counts.max())
        return float(self._taus[best[len(best) // 2]])

    def _tables(self) -> dict[str, Any]:
        samples = self._samples
        right = samples.rank == 0  # [n]
        classified = bool((samples.rank != NOT_CLASSIFIED).all())
        per_class: dict[str, dict[str, Any]] = {}
        curves: dict[str, Any] = {"taus": self._taus.tolist(), **{str(s): {} for s in self.sigmas}}
        for name, all_rows, rows in zip(self.classes, self._rows, self._boxed, strict=True):
            entry: dict[str, Any] = {
                **self._counts(all_rows),
                "corloc": {},
                "top1": {},
                "top5": {},
                "best_tau": {},
            }
            in_top = {"corloc": len(self.classes), "top1": 1, "top5": 5}
            for sigma in self.sigmas:
                key = str(sigma)
                hits = self._hits(rows, sigma, self._taus)  # [n_c, T]
                curves[key][name] = (100 * hits.mean(axis=0)).tolist() if len(rows) else None
                for metric, k in in_top.items():
                    counted = hits & (samples.rank[rows] < k)[:, None]
                    known = len(rows) and (classified or metric == "corloc")
                    entry[metric][key] = 100 * float(counted.mean(axis=0).max()) if known else None
                entry["best_tau"][key] = self._middle_best(hits.sum(axis=0)) if len(rows) else None
            per_class[name] = entry
        means = {m: self._means({n: e[m] for n, e in per_class.items()}) for m in ("corloc", "top1", "top5")}
        return {
            **self._counts(np.arange(len(samples.index))),
            "interval": self.interval,
            "box_v2_metric": self.multi_iou,
            "headline": means["corloc"]["mean" if self.multi_iou else str(_HEADLINE_SIGMA)],
            "classification": _percent(right) if classified else None,
            "classification_per_class": {
                name: _percent(right[rows]) if classified else None
                for name, rows in zip(self.classes, self._rows, strict=True)
            },
            **means,
            **self._by_rule(),
            "per_class": per_class,
            "curves": curves,
        }

    def _means(self, table: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
        """Mean over the classes with samples for every σ, and the mean over all σ."""
        means = {str(s): _mean([table[name][str(s)] for name in self.classes]) for s in self.sigmas}
        return {**means, "mean": _mean(list(means.values()))}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percent(hits: npt.NDArray[np.bool_]) -> float | None:
    return 100 * float(hits.mean()) if hits.size else None
