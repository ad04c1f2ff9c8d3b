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
from dlib.visualization.groups import mean_text
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, best_taus, class_curves, headline_by
from dlib.visualization.models_page import models_page
from dlib.visualization.page import write_page
from dlib.visualization.records import below, read_experiment
from dlib.visualization.tables import TableCell, markdown_table

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
        chosen = headline_by(test, AT_VAL_TAUS)
        classifier = (results["classifier_test"] or {}).get("headline")
    return {
        VALIDATION: validation["headline"],
        "test CorLoc": test["headline"],
        "test at val τ": chosen,
        "val without τ": headline_by(validation, BOX_RULE),
        "test without τ": headline_by(test, BOX_RULE),
        "classifier's CAM": classifier,
        DIFFERENCE: None if classifier is None else test["headline"] - classifier,
        "accuracy": test["classification"],
        **{f"class {name}": report["corloc"]["50"] for name, report in test["per_class"].items()},
    }


def _at_thresholds(test: dict[str, Any], validation: dict[str, Any]) -> float | None:
    """CorLoc of ``test`` if every class has the τ that ``validation`` chose for it."""
    found = []
    for sigma in ("30", "50", "70") if test["box_v2_metric"] else ("50",):
        taus, curves = class_curves(test, sigma)
        for name, tau in best_taus(validation, sigma).items():
            if tau is not None and name in curves:
                found.append(curves[name][min(range(len(taus)), key=lambda i: abs(taus[i] - tau))])
    return statistics.fmean(found) if found else None


class Row:
    """A variant's numbers over its finished seeds."""

    def __init__(self, runs: Sequence[Run], cost: Cost) -> None:
        self.name, self.runs, self.errors = runs[0].variant.name, len(runs), list[str]()
        self.by_seed: dict[int, Numbers] = {}
        self.cost: dict[str, float] = {}
        self.hours: list[float] = []
        self.memory: list[float] = []
        for run in runs:
            try:
                if run.error:
                    raise UserError(run.error)
                self.by_seed[run.seed] = numbers_of(run)
                if not run.variant.evaluates_only:
                    results = read_json(run.folder / "results.json")
                    seconds, memory = below(results, "times", "total_s"), results.get("peak_memory_mib")
                    self.hours += [seconds / 3600] if seconds else []
                    self.memory += [memory] if memory else []
                method = str(run.variant.flags.get("method", "")) if run.variant.evaluates_only else ""
                self.cost = self.cost or cost(run.folder, method)
            except UserError as error:
                self.errors.append(f"{self.name}, seed {run.seed}: {error}")

    def values(self, column: str) -> list[float]:
        found = (numbers.get(column) for numbers in self.by_seed.values())
        return [value for value in found if value is not None]

    def text(self, column: str) -> str:
        values = self.values(column)
        each = ", ".join(f"{value:+.1f}" for value in values)
        return mean_text(values) + (f" ({each})" if column == DIFFERENCE and len(values) > 1 else "")


def write_tables(runs: Sequence[Run], out: Path, cost: Cost, names: Sequence[str] = ()) -> str:
    """Write ``table.md``, ``table.csv``, ``table.html`` and ``models.md`` into ``out``; returns the table in Markdown.

    Args:
        runs: with their results.
        cost: as ``frame_cost``.
        names: of all variants of the study, in its order; the table says of which nothing was run.
    """
    found = dict.fromkeys(run.variant.name for run in runs)
    rows = [Row([run for run in runs if run.variant.name == name], cost) for name in found]
    columns = list(dict.fromkeys(c for row in rows for numbers in row.by_seed.values() for c in numbers))
    columns = [column for column in columns if any(row.values(column) for row in rows)]
    whole = [row for row in rows if len(row.by_seed) == row.runs and row.values(VALIDATION)]
    best = max(whole, key=lambda row: statistics.fmean(row.values(VALIDATION)), default=None)
    titles = [column.removeprefix("class ") for column in columns]
    head = ["variant", *titles, "ms per frame", "parameters", "hours", "peak MiB", "runs"]
    by_name = {row.name: _cells(row, columns, row is best) for row in rows}
    blank = ["–"] * (len(head) - 2)
    table = [
        by_name.get(name) or [TableCell(text) for text in (name, *blank, "not run")]
        for name in dict.fromkeys([*names, *found])
    ]
    notes = [_NOTE, *(f"- failed: {error}" for row in rows for error in row.errors)]
    markdown = "\n".join([markdown_table(head, table), *notes]) + "\n"
    write_text(out / "table.md", markdown)
    write_text(out / "table.csv", _csv(rows, columns, best))
    write_page(out / "table.html", "study.html.j2", (), head=head, rows=table, notes=notes)
    models = [
        (run.variant.name, read_experiment(run.folder, max_steps=1))
        for run in runs
        if not run.error and not run.variant.evaluates_only and (run.folder / "results.json").is_file()
    ]
    write_text(out / "models.md", models_page(models))
    return markdown


def _cells(row: Row, columns: Sequence[str], is_best: bool) -> list[TableCell]:
    cost = [f"{row.cost['seconds'] * 1e3:.1f}", f"{row.cost['parameters']:,}"] if row.cost else ["–", "–"]
    hours = f"{statistics.fmean(row.hours):.2f}" if row.hours else "–"
    memory = f"{statistics.fmean(row.memory):.0f}" if row.memory else "–"
    return [
        TableCell(row.name, is_best),
        *(TableCell(row.text(column), is_best and column == VALIDATION) for column in columns),
        *map(TableCell, (*cost, hours, memory, f"{len(row.by_seed)}/{row.runs}")),
    ]


def _csv(rows: Sequence[Row], columns: Sequence[str], best: Row | None) -> str:
    """Per column the mean, the sample standard deviation and each finished seed's value, separated by spaces."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [c.removeprefix("class ") + kind for c in columns for kind in ("", " std", " per seed")]
    writer.writerow(["variant", "best", "seeds", "failed", *titles, "seconds per frame", "parameters"])
    for row in rows:
        cells: list[Any] = [row.name, int(row is best), " ".join(map(str, row.by_seed)), len(row.errors)]
        for column in columns:
            values = row.values(column)
            mean = statistics.fmean(values) if values else None
            spread = statistics.stdev(values) if len(values) > 1 else None
            cells += [mean, spread, " ".join(f"{value:.4f}" for value in values)]
        writer.writerow([*cells, row.cost.get("seconds"), row.cost.get("parameters")])
    return text.getvalue()
