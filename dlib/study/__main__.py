"""``python -m dlib.study STUDY.yaml``: run all of it, then print the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dlib.study.plan import read_study
from dlib.study.runs import Runner
from dlib.utils.errors import UserError
from dlib.utils.files import write_text


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(
        prog="python -m dlib.study",
        usage="%(prog)s STUDY.yaml [--out DIR] [--jobs N] [--only NAME ...] [-- flags of main.py for every run]",
        description="Run every variant of a study with every seed; end with one table.",
    )
    parser.add_argument("study", type=Path, help="what to run; doc/studies.md describes the file")
    parser.add_argument("--out", type=Path, help="folder of the study (exps/studies/<name of the file>)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time (1)")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these variants only")
    given = parser.parse_args(words[:at])
    out = (given.out or Path("exps/studies") / given.study.stem).resolve()
    try:
        study = read_study(given.study, words[at + 1 :], given.only)
        runner = Runner(study, out, max(1, given.jobs))
        write_text(out / "study.yaml", given.study.read_text(encoding="utf-8"))
        runs = runner.run()
        # PyTorch is imported only once every run is done.
        from dlib.study.table import write_tables
        from dlib.study.timing import frame_cost

        print(write_tables(runs, out, frame_cost))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; start the study again to go on", file=sys.stderr)
        return 130
    print(f"tables: {out / 'table.md'} and {out / 'table.csv'}")
    return 1 if any(run.error for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
