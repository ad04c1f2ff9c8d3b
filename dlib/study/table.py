"""The table of a study: one row per variant, mean ± standard deviation over its seeds."""

from __future__ import annotations

import csv
import hashlib
import io
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dlib.configure.constants import BEST_LOCALIZATION, TEST, VAL
from dlib.study.runs import Run
from dlib.utils.errors import UserError
from dlib.utils.files import read_json, write_text
from dlib.utils.text import duration, percent

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
        chosen = _of_headline(test, "at_val_taus")
        classifier = (results["classifier_test"] or {}).get("headline")
    return {
        VALIDATION: validation["headline"],
        "test CorLoc": test["headline"],
        "test at val τ": chosen,
        "val without τ": _of_headline(validation, "box_rule"),
        "test without τ": _of_headline(test, "box_rule"),
        "classifier's CAM": classifier,
        DIFFERENCE: None if classifier is None else test["headline"] - classifier,
        "accuracy": test["classification"],
        **{f"class {name}": report["corloc"]["50"] for name, report in test["per_class"].items()},
    }


def _of_headline(report: dict[str, Any], boxes: str) -> float | None:
    """The headline's metric with the boxes that ``boxes`` names in a report; None in reports without them."""
    corloc = (report.get(boxes) or {}).get("corloc") or {}
    return corloc.get("mean" if report["box_v2_metric"] else "50")


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
        self.hours: list[float] = []
        self.memory: list[float] = []
        for run in runs:
            try:
                if run.error:
                    raise UserError(run.error)
                self.by_seed[run.seed] = numbers_of(run)
                if not run.variant.evaluates_only:
                    results = read_json(run.folder / "results.json")
                    seconds, memory = (
                        (results.get("times") or {}).get("total_s"),
                        results.get("peak_memory_mib"),
                    )
                    self.hours += [seconds / 3600] if seconds else []
                    self.memory += [memory] if memory else []
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
    table = _cells(rows, columns, best)
    by_name = {row.name: cells for row, cells in zip(rows, table[1:], strict=True)}
    order = dict.fromkeys([*names, *found])
    blank = ["–"] * (len(table[0]) - 2)
    table[1:] = [by_name.get(name, [name, *blank, "not run"]) for name in order]
    notes = [_NOTE, *(f"- failed: {error}" for row in rows for error in row.errors)]
    markdown = "\n".join([*_markdown(table), "", *notes]) + "\n"
    write_text(out / "table.md", markdown)
    write_text(out / "table.csv", _csv(rows, columns, best))
    write_text(out / "table.html", _html(table, notes))
    write_text(out / "models.md", models_page(runs))
    return markdown


def _cells(rows: Sequence[Row], columns: Sequence[str], best: Row | None) -> list[list[str]]:
    """The table's text, head first."""
    costs = ["ms per frame", "parameters", "hours", "peak MiB", "runs"]
    table = [["variant", *(c.removeprefix("class ") for c in columns), *costs]]
    for row in rows:
        cells = [row.name, *(row.text(column) for column in columns)]
        if row is best:
            bold = (0, 1 + list(columns).index(VALIDATION))
            cells = [f"**{cell}**" if at in bold else cell for at, cell in enumerate(cells)]
        cost = [f"{row.cost['seconds'] * 1e3:.1f}", f"{row.cost['parameters']:,}"] if row.cost else ["–", "–"]
        hours = f"{statistics.fmean(row.hours):.2f}" if row.hours else "–"
        memory = f"{statistics.fmean(row.memory):.0f}" if row.memory else "–"
        table.append([*cells, *cost, hours, memory, f"{len(row.by_seed)}/{row.runs}"])
    return table


def _markdown(table: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first row is its head."""
    rows = [table[0], ["---"] * len(table[0]), *table[1:]]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows]


def _html(table: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """A page with the table alone, for a browser or a word processor."""

    def row(cells: Sequence[str], tag: str) -> str:
        texts = [
            f"<b>{escape(cell.strip('*'))}</b>" if cell.startswith("**") else escape(cell) for cell in cells
        ]
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    style = (
        "body{font-family:sans-serif}td,th{padding:.2em .6em;text-align:right}td:first-child{text-align:left}"
    )
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>study</title><style>{style}</style>',
            "<table>",
            row(table[0], "th"),
            *(row(cells, "td") for cells in table[1:]),
            "</table>",
            *(f"<p>{escape(note)}</p>" for note in notes),
            "</html>",
            "",
        ]
    )


def models_page(runs: Sequence[Run]) -> str:
    """Every finished training: how it was made, what it reaches, and its best weights by localization."""
    head = [
        "variant",
        "seed",
        "test CorLoc",
        "at val τ",
        "commit",
        "device",
        "time",
        "weights' SHA-256",
        "command",
    ]
    table = [head]
    for run in runs:
        path = run.folder / "results.json"
        if run.error or run.variant.evaluates_only or not path.is_file():
            continue
        results, numbers = read_json(path), numbers_of(run)
        weights = sorted(run.folder.glob(f"*cp_{BEST_LOCALIZATION}*/*_best_model.pth"))
        table.append(
            [
                run.variant.name,
                str(run.seed),
                percent(numbers["test CorLoc"]),
                percent(numbers["test at val τ"]),
                str((results.get("environment") or {}).get("revision", "–")),
                str(results.get("device", "–")),
                duration((results.get("times") or {}).get("total_s")),
                hashlib.sha256(weights[0].read_bytes()).hexdigest() if weights else "–",
                f"`{results.get('command', '–')}`",
            ]
        )
    return "\n".join(_markdown(table)) + "\n"


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
