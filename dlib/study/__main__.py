"""``python -m dlib.study STUDY.yaml``: run all of it, then print the table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import AGAIN, CommandParser, command, loading
from dlib.study.plan import read_study
from dlib.study.runs import Runner
from dlib.utils.files import write_text


def parser() -> CommandParser:
    p = CommandParser(
        "study",
        "Run every variant of a study with every seed; end with one table.",
        usage="%(prog)s STUDY.yaml [--out DIR] [--jobs N] [--only NAME ...] [-- flags of main.py for every run]",
    )
    p.add_argument("study", type=Path, help="what to run; doc/studies.md describes the file")
    p.add_argument("--out", type=Path, help="folder of the study (exps/studies/<name of the file>)")
    p.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    p.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these variants only")
    return p


@command(stopped=AGAIN)
def main(arguments: Sequence[str]) -> int:
    args, more = parser().read_before_dashes(arguments)
    out = (args.out or Path("exps/studies") / args.study.stem).resolve()
    study = read_study(args.study, more, args.only)
    runner = Runner(study, out, max(1, args.jobs))
    write_text(out / "study.yaml", args.study.read_text(encoding="utf-8"))
    runs = runner.run()
    # PyTorch is imported only once every run is done.
    with loading():
        from dlib.study.table import write_tables
        from dlib.study.timing import frame_cost

    others = [variant.name for variant in read_study(args.study, more, []).variants]
    print(write_tables(runs, out, frame_cost, others))
    print(f"tables: {out / 'table.md'}, .csv and .html; every run: {out / 'models.md'}")
    return 1 if any(run.error for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
