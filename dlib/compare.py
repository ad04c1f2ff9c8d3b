"""``python -m dlib.compare EXP1 EXP2 …``: experiments side by side, printed and as html."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dlib.commands import CommandParser, command
from dlib.configure.constants import BEST_LOCALIZATION
from dlib.utils.errors import UsageError, UserError
from dlib.utils.files import write_text
from dlib.visualization.charts import PALETTE, Chart, axes, epoch_chart, line, thinned
from dlib.visualization.frames import same_frames
from dlib.visualization.groups import Entry, entries, seedless_names, short_names
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, class_curves, headline_by
from dlib.visualization.models_page import models_page
from dlib.visualization.page import MAX_PICTURE_BYTES, Pictures, write_page
from dlib.visualization.records import Experiment, Record, below, duration, number, read_experiment, series
from dlib.visualization.report import status_of, title_of
from dlib.visualization.tables import TableCell, latex_table, markdown_table, text_table

KINDS = {".md": markdown_table, ".tex": latex_table}


def _test(experiment: Experiment) -> Record:
    return experiment.report(BEST_LOCALIZATION) or {}


# Numbers of the best model by localization, in percent.
COLUMNS: dict[str, Callable[[Experiment], float | None]] = {
    "test CorLoc": lambda e: number(_test(e).get("headline")),
    "at val τ": lambda e: headline_by(_test(e), AT_VAL_TAUS),
    "without τ": lambda e: headline_by(_test(e), BOX_RULE),
    "classifier": lambda e: number(below(e.results, "classifier_test", "headline")),
    "best val": lambda e: e.best_value(BEST_LOCALIZATION),
    "test accuracy": lambda e: number(_test(e).get("classification")),
}
HEAD = (*COLUMNS, "time")


def refuse_other_lists(experiments: Sequence[Experiment]) -> None:
    """Raises UserError if two runs were measured on different test frames or boxes, as far as their results say so."""
    known = [(e, found) for e in experiments if (found := below(e.results, "data", "test"))]
    for experiment, found in known[1:]:
        if found != known[0][1]:
            raise UserError(
                f"{known[0][0].folder} and {experiment.folder} were measured on different test lists (frames, "
                "classes or boxes): their numbers do not compare; give runs with the same folds"
            )


def marked(rows: Sequence[Entry], value: Callable[[Experiment], float | None]) -> list[TableCell]:
    """A column of percentages; the highest single one is marked, and the highest mean of several."""
    top = {}
    for several in (False, True):
        known = [mean for row in rows if row.several == several and (mean := row.mean(value)) is not None]
        top[several] = max(known) if len(known) > 1 else None
    return [
        TableCell(row.text(value), (mean := row.mean(value)) is not None and mean == top[row.several])
        for row in rows
    ]


def summary(rows: Sequence[Entry]) -> list[list[TableCell]]:
    """The cells of each row in the columns of HEAD."""
    columns = [marked(rows, value) for value in COLUMNS.values()]
    times = [row.mean(lambda e: number(below(e.results, "times", "total_s"))) for row in rows]
    columns.append([TableCell(duration(seconds)) for seconds in times])
    return [list(cells) for cells in zip(*columns, strict=True)]


def class_rows(rows: Sequence[Entry]) -> list[tuple[str, list[TableCell]]]:
    """Test CorLoc (σ = 50, best τ) of each class that any of the experiments has, a column for each row."""
    experiments = [row.members[0] for row in rows if not row.several]
    classes = dict.fromkeys(name for e in experiments for name in _test(e).get("per_class") or {})

    def of_class(name: str) -> Callable[[Experiment], float | None]:
        return lambda e: number(below(_test(e), "per_class", name, "corloc", "50"))

    return [(name, marked(rows, of_class(name))) for name in classes]


def different_flags(experiments: Sequence[Experiment]) -> list[tuple[str, list[str]]]:
    """Flags whose values are not the same in all experiments."""
    flags = sorted({name for e in experiments for name in e.config})
    rows = [(name, [str(e.config.get(name, "–")) for e in experiments]) for name in flags]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def comparison_charts(experiments: Sequence[Experiment], names: Sequence[str]) -> list[Chart]:
    """Validation CorLoc and classification, total loss over epochs; mean test CorLoc against τ."""
    charts: list[Chart] = []
    frames = "% of the frames"
    for chart_id, title, y_title, source, path in (
        ("validation", "Validation CorLoc", frames, "validations", ("report", "headline")),
        ("classification", "Validation accuracy", frames, "validations", ("report", "classification")),
        ("loss", "Training loss", "loss", "epochs", ("train", "loss")),
    ):
        points = [series(getattr(e, source), "epoch", *path) for e in experiments]
        traces = [
            line(x, y, name, PALETTE[i % 10])
            for i, ((x, y), name) in enumerate(zip(points, names, strict=True))
            if x
        ]
        charts += epoch_chart(chart_id, title, "", traces, y_title)
    traces = []
    for i, (experiment, name) in enumerate(zip(experiments, names, strict=True)):
        taus, curves = class_curves(_test(experiment))
        if curves:
            traces.append(line(thinned(taus), thinned(curves[""]), name, PALETTE[i % 10]))
    if traces:
        layout = axes("threshold τ", "CorLoc %", rangemode="tozero")
        charts.append(
            Chart("tau", "Test CorLoc against the threshold", "One τ for all classes.", traces, layout)
        )
    return charts


def compare(
    folders: Sequence[Path], out: Path, tables: Sequence[Path] = (), models: Path | None = None
) -> str:
    """Write the html comparison to ``out``, its table to ``tables``, a page of the trainings to ``models``.

    Returns the table as text.

    Raises UserError on a wrong folder, UsageError for a table that is neither .md nor .tex.
    """
    for table in tables:
        if table.suffix.lower() not in KINDS:
            raise UsageError(f"--table {table}: expected a name that ends in {' or '.join(KINDS)}")
    experiments = [read_experiment(folder) for folder in folders]
    refuse_other_lists(experiments)
    names, rows = short_names(experiments), entries(experiments)
    cells = summary(rows)
    pictures = Pictures(MAX_PICTURE_BYTES)
    try:
        write_page(
            out,
            "compare.html.j2",
            comparison_charts(experiments, names),
            title=f"{len(experiments)} experiments side by side",
            head=HEAD,
            rows=[
                (row, values, "" if row.several else status_of(row.members[0]), title_of(row.members[0]))
                for row, values in zip(rows, cells, strict=True)
            ],
            names=names,
            entries=rows,
            classes=class_rows(rows),
            flags=different_flags(experiments),
            frames=same_frames(experiments, BEST_LOCALIZATION, pictures),
        )
    except UserError as error:
        raise UserError(f"--out {out}: {error}, or give another file") from None
    head = ["experiment", *HEAD]
    named = [[TableCell(row.name), *values] for row, values in zip(rows, cells, strict=True)]
    for table in tables:
        write_text(table, KINDS[table.suffix.lower()](head, named))
    if models:
        write_text(models, models_page(list(zip(seedless_names(experiments), experiments, strict=True))))
    return text_table([head, *([cell.text for cell in row] for row in named)])


def parser() -> CommandParser:
    p = CommandParser(
        "compare", "Experiments side by side; those that differ in the seed alone also as their mean."
    )
    p.add_argument("experiments", nargs="+", type=Path, metavar="EXP", help="experiment folder")
    p.add_argument("--out", type=Path, default=Path("compare.html"), help="report (compare.html)")
    p.add_argument(
        "--table",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="write the table too: .tex (LaTeX, with booktabs) or .md (Markdown); may be given twice",
    )
    p.add_argument(
        "--models",
        type=Path,
        metavar="FILE",
        help="write a page in Markdown with a line for each training: numbers, commit, device, time, SHA-256 of the "
        "weights; and with the commands",
    )
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    print(compare(args.experiments, args.out, args.table, args.models))
    for path in (args.out, *args.table):
        print(f"{'table' if path in args.table else 'report'}: {path}")
    if args.models:
        print(f"models: {args.models}")


if __name__ == "__main__":
    sys.exit(main())
