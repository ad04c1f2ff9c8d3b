"""The table of a study: one row per variant, mean ± standard deviation over its seeds."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlib.configure.constants import BEST_LOCALIZATION, TEST, VAL
from dlib.study.runs import Run
from dlib.utils.errors import UserError
from dlib.utils.files import read_json, write_text
from dlib.utils.text import percent

Numbers = dict[str, float | None]  # of one run, by column, in percent
Cost = Callable[[Path, str], dict[str, float]]

VALIDATION, DIFFERENCE = "val CorLoc", "difference"
_NOTE = "Percent; mean ± standard deviation over seeds. Bold: best on validation; choose by this. Difference: test "
_NOTE += "CorLoc minus that of the CAMs of the classifier that gave the seeds, in () for each seed."


def numbers_of(run: Run) -> Numbers:
    """The results of a finished run; CorLoc of single classes under "class NAME". Raises UserError."""
    if run.variant.evaluates_only:
        validation, test = (
            read_json(next(run.folder.glob(f"eval_*_{split}_*.json"))) for split in (VAL, TEST)
        )
        chosen, classifier = _at_thresholds(test, validation), None
    else:
        results = read_json(run.folder / "results.json")
        validation, test = (results[split][BEST_LOCALIZATION] for split in (VAL, TEST))
        chosen = test["at_val_taus"]["corloc"]["mean" if test["box_v2_metric"] else "50"]
        classifier = (results["classifier_test"] or {}).get("headline")
    return {
        VALIDATION: validation["headline"],
        "test CorLoc": test["headline"],
        "test at val τ": chosen,
        "classifier's CAM": classifier,
        DIFFERENCE: None if classifier is None else test["headline"] - classifier,
        "accuracy": test["classification"],
        **{f"class {name}": report["corloc"]["50"] for name, report in test["per_class"].items()},
    }


def _at_thresholds(test: dict[str, Any], validation: dict[str, Any]) -> float | None:
    """CorLoc of ``test`` if every class has the τ that ``validation`` chose for it."""
    taus, found = test["curves"]["taus"], []
    for sigma in ("30", "50", "70") if test["box_v2_metric"] else ("50",):
        for name, curve in test["curves"][sigma].items():
            tau = validation["per_class"][name]["best_tau"][sigma]
            if tau is not None and curve:
                found.append(curve[min(range(len(taus)), key=lambda i: abs(taus[i] - tau))])
    return statistics.fmean(found) if found else None


class Row:
    """A variant's numbers over its finished seeds."""

    def __init__(self, runs: Sequence[Run], cost: Cost) -> None:
        self.name, self.runs, self.errors = runs[0].variant.name, len(runs), list[str]()
        self.by_seed: dict[int, Numbers] = {}
        self.cost: dict[str, float] = {}
        for run in runs:
            try:
                if run.error:
                    raise UserError(run.error)
                self.by_seed[run.seed] = numbers_of(run)
                method = str(run.variant.flags.get("method", "")) if run.variant.evaluates_only else ""
                self.cost = self.cost or cost(run.folder, method)
            except UserError as error:
                self.errors.append(f"{self.name}, seed {run.seed}: {error}")

    def values(self, column: str) -> list[float]:
        found = (numbers.get(column) for numbers in self.by_seed.values())
        return [value for value in found if value is not None]

    def mean_and_spread(self, column: str) -> tuple[float | None, float | None]:
        """Mean and sample standard deviation over seeds; None where there are too few."""
        values = self.values(column)
        spread = statistics.stdev(values) if len(values) > 1 else None
        return statistics.fmean(values) if values else None, spread

    def text(self, column: str) -> str:
        mean, spread = self.mean_and_spread(column)
        if mean is None or spread is None:
            return percent(mean)
        each = ", ".join(f"{value:+.1f}" for value in self.values(column))
        return f"{mean:.1f} ± {spread:.1f}" + (f" ({each})" if column == DIFFERENCE else "")


def write_tables(runs: Sequence[Run], out: Path, cost: Cost) -> str:
    """Write ``table.md`` and ``table.csv`` into ``out``; returns the Markdown. ``cost`` as ``frame_cost``."""
    names = dict.fromkeys(run.variant.name for run in runs)
    rows = [Row([run for run in runs if run.variant.name == name], cost) for name in names]
    columns = list(dict.fromkeys(c for row in rows for numbers in row.by_seed.values() for c in numbers))
    columns = [column for column in columns if any(row.values(column) for row in rows)]
    whole = [row for row in rows if len(row.by_seed) == row.runs and row.values(VALIDATION)]
    best = max(whole, key=lambda row: statistics.fmean(row.values(VALIDATION)), default=None)
    markdown = _markdown(rows, columns, best)
    write_text(out / "table.md", markdown)
    write_text(out / "table.csv", _csv(rows, columns, best))
    return markdown


def _markdown(rows: Sequence[Row], columns: Sequence[str], best: Row | None) -> str:
    head = ["variant", *(c.removeprefix("class ") for c in columns), "ms per frame", "parameters", "runs"]
    table = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row.name, *(row.text(column) for column in columns)]
        if row is best:
            bold = (0, 1 + list(columns).index(VALIDATION))
            cells = [f"**{cell}**" if at in bold else cell for at, cell in enumerate(cells)]
        cost = [f"{row.cost['seconds'] * 1e3:.1f}", f"{row.cost['parameters']:,}"] if row.cost else ["–", "–"]
        table.append([*cells, *cost, f"{len(row.by_seed)}/{row.runs}"])
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in table]
    return "\n".join([*lines, "", _NOTE, *(f"- failed: {e}" for row in rows for e in row.errors)]) + "\n"


def _csv(rows: Sequence[Row], columns: Sequence[str], best: Row | None) -> str:
    """Per column the mean, the standard deviation and each finished seed's value, separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [c.removeprefix("class ") + kind for c in columns for kind in ("", " std", " per seed")]
    writer.writerow(["variant", "best", "seeds", "failed", *titles, "seconds per frame", "parameters"])
    for row in rows:
        cells: list[Any] = [row.name, int(row is best), " ".join(map(str, row.by_seed)), len(row.errors)]
        for column in columns:
            cells += [*row.mean_and_spread(column), " ".join(f"{v:.4f}" for v in row.values(column))]
        writer.writerow([*cells, row.cost.get("seconds"), row.cost.get("parameters")])
    return text.getvalue()
