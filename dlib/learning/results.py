"""What a run measured, in files: ``results.json``, ``thresholds-*.yaml``, ``performance_log_*.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from dlib.configure.config import Config
from dlib.metrics import LocalizationReport
from dlib.utils.files import write_json, write_text
from dlib.utils.text import percent
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, best_taus

Report = dict[str, Any]


class Results:
    """The results so far; the complete file is written after every change."""

    def __init__(
        self, folder: Path, cfg: Config, classes: list[str], environment: dict[str, str], command: str
    ) -> None:
        self._folder = folder
        self.content: dict[str, Any] = {
            "task": cfg.task,
            "dataset": cfg.dataset,
            "encoder": cfg.encoder_name,
            "method": cfg.method,
            "pooling": cfg.spatial_pooling,
            "seed": cfg.seed,
            "exp_id": cfg.exp_id,
            "box_v2_metric": cfg.box_v2_metric,
            "classes": classes,
            "command": command,
            "epochs": [],
            "best": {},
            "val": {},
            "test": {},
            "classifier_val": None,
            "classifier_test": None,
            "times": {},
            "parameters": 0,
            "data": {},
            "peak_memory_mib": None,
            "environment": environment,
            "device": environment["device"],
        }

    @property
    def times(self) -> dict[str, float]:
        return self.content["times"]

    def add_seconds(self, kind: str, seconds: float) -> None:
        self.times[kind] = self.times.get(kind, 0.0) + seconds
        self.times["total_s"] = self.times.get("total_s", 0.0) + seconds

    def history(self) -> dict[str, Any]:
        """The part that a checkpoint keeps."""
        return {name: self.content[name] for name in ("epochs", "best", "val", "times")}

    def restore(self, history: dict[str, Any]) -> None:
        self.content.update(history)

    def add_validation(
        self, epoch: int, step: int, report: LocalizationReport, train: dict[str, Any], best: dict[str, Any]
    ) -> None:
        self.content["epochs"].append(
            {"epoch": epoch, "step": step, "val": report.to_dict(curves=False), "train": train}
        )
        self.content["best"] = best

    def add_test(self, criterion: str, report: LocalizationReport) -> Report:
        """The test of the best weights, also at validation's thresholds; returns the complete entry."""
        entry = with_validation_thresholds(report, self.content["val"].get(criterion))
        self.content["test"][criterion] = entry
        write_text(self._folder / f"performance_log_{criterion}.txt", as_text(criterion, entry))
        write_thresholds(self._folder, criterion, self.content["val"].get(criterion, entry))
        return entry

    def add_reference(self, name: str, validation: Report, test: LocalizationReport) -> Report:
        """Validation and test of other maps, such as the classifier's CAMs; returns the test's entry."""
        self.content[f"{name}_val"] = validation
        entry = self.content[f"{name}_test"] = with_validation_thresholds(test, validation)
        return entry

    def write(self) -> None:
        write_json(self._folder / "results.json", self.content)


def write_thresholds(folder: Path, criterion: str, report: Report) -> None:
    """Write the best τ of each class at IoU 50, which localizing new videos uses."""
    taus = yaml.safe_dump(best_taus(report), allow_unicode=True)
    write_text(folder / f"thresholds-{criterion}.yaml", taus)


def with_validation_thresholds(report: LocalizationReport, validation: Report | None) -> Report:
    """The report's numbers, and CorLoc at the thresholds that ``validation`` chose, if there is one.

    A validation without any box chose none: CorLoc at its thresholds is then None.
    """
    entry = report.to_dict()
    if validation is not None:
        taus = {sigma: best_taus(validation, sigma) for sigma in ("30", "50", "70")}
        chose = all(any(tau is not None for tau in by_class.values()) for by_class in taus.values())
        entry[AT_VAL_TAUS] = report.at_taus(taus) if chose else _unknown(entry)
    return entry


def _unknown(entry: Report) -> Report:
    """The result of `LocalizationReport.at_taus`, with None for every CorLoc of ``entry``."""
    per_class = {
        name: {"samples": numbers["samples"], "corloc": dict.fromkeys(numbers["corloc"])}
        for name, numbers in entry["per_class"].items()
    }
    return {"corloc": dict.fromkeys(entry["corloc"]), "per_class": per_class}


def as_text(title: str, report: Report) -> str:
    """A report as a table to read: percentages with one digit, "–" for what could not be measured."""
    lines = [f"{title}: {report['samples']} frames, CorLoc headline {percent(report['headline'])}"]
    boxed = report.get("boxed", report["samples"])
    if report["samples"] and not boxed:
        lines.append("no boxes: localization is not measured")
    elif boxed < report["samples"]:
        lines.append(f"{report['samples'] - boxed} frames without a box count for classification alone")
    lines += ["", f"{'class':<16}{'frames':>7}" + _row(("CorLoc30", "50", "70", "top-1", "top-5", "class."))]
    right = [*report["classification_per_class"].values(), report["classification"]]
    rows = [*report["per_class"].items(), ("mean", report)]
    for (name, numbers), share in zip(rows, right, strict=True):
        cells = [numbers["corloc"][sigma] for sigma in ("30", "50", "70")]
        cells += [numbers["top1"]["50"], numbers["top5"]["50"], share]
        lines.append(f"{name:<16}{numbers['samples']:>7}" + _row(map(percent, cells)))
    for key, title in ((AT_VAL_TAUS, "at validation's thresholds"), (BOX_RULE, "without thresholds")):
        if key in report:
            corloc = report[key]["corloc"]
            lines.append(title.ljust(23) + _row(percent(corloc[s]) for s in ("30", "50", "70")))
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "".join(map(str.rjust, cells, (10, 7, 7, 8, 8, 8)))
