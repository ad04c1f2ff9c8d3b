"""``python -m dlib.status``: one line for each experiment below a folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import CommandParser, command
from dlib.configure.constants import BEST_LOCALIZATION
from dlib.utils.errors import UserError
from dlib.visualization.records import Experiment, duration, read_experiment
from dlib.visualization.tables import text_table

QUIET_S = 600  # a log without a new line for so many seconds belongs to a run that has stopped


def find_experiments(root: Path) -> list[Path]:
    """Experiment folders below ``root``, by path. Raises UserError if ``root`` is no folder."""
    if not root.is_dir():
        raise UserError(f"--exps_root {root}: no such folder; give the folder that runs write to.")
    files = [path for name in ("log.jsonl", "results.json") for path in root.rglob(name)]
    found = {path.parent for path in files if path.is_file()}
    return sorted(found)


def state_of(experiment: Experiment, now: float) -> str:
    """passed, running (the log is fresh) or unfinished."""
    if experiment.finished:
        return "passed"
    log = experiment.folder / "log.jsonl"
    return "running" if log.is_file() and now - log.stat().st_mtime < QUIET_S else "unfinished"


def status_rows(root: Path, now: float) -> list[list[str]]:
    """Cells of the table, head first: state, epochs, time left, best CorLoc, task, method, experiment.

    One that cannot be read has a line too, with the reason.
    """
    rows = [["state", "epoch", "time left", "best CorLoc", "task", "method", "experiment"]]
    for folder in find_experiments(root):
        name = str(folder.relative_to(root))
        try:
            rows.append([*_cells(read_experiment(folder, max_steps=1), now), name])
        except UserError as error:
            reason = str(error).removeprefix(f"{folder}{os.sep}")
            rows.append(["unreadable", *["–"] * (len(rows[0]) - 2), f"{name}, unreadable: {reason}"])
    return rows


def _cells(experiment: Experiment, now: float) -> list[str]:
    state = state_of(experiment, now)
    best = experiment.best(BEST_LOCALIZATION)
    return [
        state,
        f"{experiment.epoch}/{experiment.max_epochs or '?'}",
        "–" if state == "passed" else duration(experiment.seconds_left),
        f"{best['value']:.1f} @ {best['epoch']}" if best else "–",
        str(experiment.setting("task", "–")),
        str(experiment.setting("method", "–")),
    ]


def parser() -> CommandParser:
    p = CommandParser("status", "List experiments.")
    p.add_argument("--exps_root", type=Path, default=Path("exps"), help="folder of experiments (exps)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    root: Path = parser().read(arguments).exps_root
    rows = status_rows(root, time.time())
    print(text_table(rows) if len(rows) > 1 else f"{root}: no experiments yet.")


if __name__ == "__main__":
    sys.exit(main())
