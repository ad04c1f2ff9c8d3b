"""``python -m dlib.compare EXP1 EXP2 …``: experiments side by side, printed and as html."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlib.commands import CommandParser, command
from dlib.configure.constants import BEST_LOCALIZATION
from dlib.status import text_table
from dlib.utils.errors import UserError
from dlib.visualization.charts import PALETTE, Chart, axes, line, thinned
from dlib.visualization.page import percent, write_page
from dlib.visualization.records import Experiment, duration, number, read_experiment, series
from dlib.visualization.report import headline_at_validation_taus, status_of, title_of

HEAD = ("test CorLoc", "at val τ", "classifier", "best val", "test accuracy", "time")


def short_names(experiments: Sequence[Experiment]) -> list[str]:
    """A name for each experiment: what differs from the others, with a number if nothing differs."""
    facts = [
        ("task", "task"),
        ("method", "method"),
        ("encoder", "encoder_name"),
        ("dataset", "dataset"),
        ("seed", "MYSEED"),
    ]
    parts: list[list[str]] = [[] for _ in experiments]
    for result, flag in facts:
        values = [e.setting(result, e.setting(flag)) for e in experiments]
        if result == "task" or len(set(map(str, values))) > 1:
            for part, value in zip(parts, values, strict=True):
                if value is not None:
                    part.append(f"seed {value}" if result == "seed" else str(value))
    names = [" · ".join(part) for part in parts]
    return [
        f"{name} ({names[: i + 1].count(name)})" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def summary_values(experiment: Experiment) -> list[float | None]:
    """The numbers for the columns of HEAD, of the best model by localization; all except the time in percent."""
    test = experiment.report(BEST_LOCALIZATION) or {}
    best = experiment.best(BEST_LOCALIZATION)
    return [
        number(test.get("headline")),
        headline_at_validation_taus(test),
        number((experiment.results.get("classifier_test") or {}).get("headline")),
        number(best["value"]) if best else None,
        number(test.get("classification")),
        number((experiment.results.get("times") or {}).get("total_s")),
    ]


def marked(values: Sequence[float | None]) -> list[dict[str, Any]]:
    """Percentages as text; if there are two or more, the highest is marked."""
    known = [v for v in values if v is not None]
    top = max(known) if len(known) > 1 else None
    return [{"text": percent(v), "top": v is not None and v == top} for v in values]


def class_rows(experiments: Sequence[Experiment]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Test CorLoc (σ = 50, best τ) of each class that any of the experiments has."""
    tables = [(e.report(BEST_LOCALIZATION) or {}).get("per_class") or {} for e in experiments]
    classes = dict.fromkeys(name for table in tables for name in table)
    return [
        (name, marked([number(((t.get(name) or {}).get("corloc") or {}).get("50")) for t in tables]))
        for name in classes
    ]


def different_flags(experiments: Sequence[Experiment]) -> list[tuple[str, list[str]]]:
    """Flags whose values are not the same in all experiments."""
    flags = sorted({name for e in experiments for name in e.config})
    rows = [(name, [str(e.config.get(name, "–")) for e in experiments]) for name in flags]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def comparison_charts(experiments: Sequence[Experiment], names: Sequence[str]) -> list[Chart]:
    """Validation CorLoc and classification, total loss over epochs; mean test CorLoc against τ."""
    charts = []
    for chart_id, title, source, path in (
        ("validation", "Validation CorLoc", "validations", ("report", "headline")),
        ("classification", "Validation accuracy", "validations", ("report", "classification")),
        ("loss", "Training loss", "epochs", ("train", "loss")),
    ):
        points = [series(getattr(e, source), "epoch", *path) for e in experiments]
        traces = [
            line(x, y, name, PALETTE[i % 10])
            for i, ((x, y), name) in enumerate(zip(points, names, strict=True))
            if x
        ]
        if traces:
            charts.append(
                Chart(chart_id, title, "", traces, axes("epoch", "" if chart_id == "loss" else "%"))
            )
    traces = []
    for i, (experiment, name) in enumerate(zip(experiments, names, strict=True)):
        curves = (experiment.report(BEST_LOCALIZATION) or {}).get("curves") or {}
        taus = curves.get("taus") or []
        per_class = [y for y in (curves.get("50") or {}).values() if y and len(y) == len(taus)]
        if per_class:
            keep = thinned(len(taus))
            mean = [sum(y[k] for y in per_class) / len(per_class) for k in keep]
            traces.append(line([taus[k] for k in keep], mean, name, PALETTE[i % 10]))
    if traces:
        layout = axes("threshold τ", "CorLoc %", rangemode="tozero")
        charts.append(
            Chart("tau", "Test CorLoc against the threshold", "One τ for all classes.", traces, layout)
        )
    return charts


def compare(folders: Sequence[Path], out: Path) -> str:
    """Write the html comparison to ``out``; returns the text table. Raises UserError on a wrong folder."""
    experiments = [read_experiment(folder) for folder in folders]
    names = short_names(experiments)
    values = [summary_values(e) for e in experiments]
    columns = [marked(column) for column in list(zip(*values, strict=True))[:-1]]
    columns.append([{"text": duration(v[-1]), "top": False} for v in values])
    rows = list(zip(names, zip(*columns, strict=True), experiments, strict=True))
    try:
        write_page(
            out,
            "compare.html.j2",
            comparison_charts(experiments, names),
            title=f"{len(experiments)} experiments side by side",
            head=HEAD,
            rows=[(name, cells, status_of(e), title_of(e), e.name) for name, cells, e in rows],
            names=names,
            classes=class_rows(experiments),
            flags=different_flags(experiments),
        )
    except UserError as error:
        raise UserError(f"--out {out}: {error}, or give another file") from None
    return text_table(
        [["experiment", *HEAD], *([name, *(c["text"] for c in cells)] for name, cells, _ in rows)]
    )


def parser() -> CommandParser:
    p = CommandParser("compare", "Experiments side by side.")
    p.add_argument("experiments", nargs="+", type=Path, metavar="EXP", help="experiment folder")
    p.add_argument("--out", type=Path, default=Path("compare.html"), help="report (compare.html)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    print(compare(args.experiments, args.out))
    print(f"report: {args.out}")


if __name__ == "__main__":
    sys.exit(main())
