"""What a localization report says, read from ``results.json``, from a log or from an evaluation's file.

The names in it are those of `LocalizationReport.to_dict`. What is missing there is None or empty here.
"""

from __future__ import annotations

import statistics

from dlib.visualization.records import Record, below, number

# Boxes beside those at the best τ of the split: with τ chosen on validation, and without thresholds. Names in a report.
AT_VAL_TAUS, BOX_RULE = "at_val_taus", "box_rule"


def headline_by(report: Record, boxes: str) -> float | None:
    """The metric of the report's headline with the boxes AT_VAL_TAUS or BOX_RULE."""
    return number(below(report, boxes, "corloc", "mean" if report.get("box_v2_metric") else "50"))


def best_taus(report: Record, sigma: str = "50") -> dict[str, float | None]:
    """{class: its best τ of CorLoc}."""
    classes = report.get("per_class") or {}
    return {name: number(below(numbers, "best_tau", sigma)) for name, numbers in classes.items()}


def class_curves(report: Record, sigma: str = "50") -> tuple[list[float], dict[str, list[float]]]:
    """All τ, and CorLoc at each of them: the mean over the classes under "", then each class that has frames."""
    taus = below(report, "curves", "taus") or []
    classes = below(report, "curves", sigma) or {}
    known = {name: curve for name, curve in classes.items() if curve and len(curve) == len(taus)}
    if not known:
        return taus, {}
    return taus, {"": [statistics.fmean(values) for values in zip(*known.values(), strict=True)], **known}
