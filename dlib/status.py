"""``python -m dlib.status``: one line for each experiment below a folder."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import CommandParser, command
from dlib.configure.constants import BEST_LOCALIZATION
from dlib.utils.errors import UserError
from dlib.utils.filesystem import LOCK, is_locked
from dlib.visualization.records import Experiment, duration, read_experiment
from dlib.visualization.tables import text_table

QUIET_S = 600  # a log without a new line for so many seconds belongs to a run that has stopped


def find_experiments(root: Path) -> list[Path]:
    """Experiment folders below ``root``, by path. Raises UserError if ``root`` is no folder."""
    if not root.is_dir():
        raise UserError(f"--exps_root {root}: no such folder; give the folder that runs write to.")
    files = [path for name in ("log.jsonl", "results.json") for path in root.rglob(name)]
    # A run that still computes its CAMs has written only its flags.
    files += [path for path in root.rglob(LOCK) if (path.parent / "config.yml").is_file()]
    found = {path.parent for path in files if path.is_file()}
    return sorted(found)


def state_of(experiment: Experiment, now: float) -> str:
    """passed, running (a process holds the folder's lock) or stopped.

    If locks say nothing (none on this file system, or a run on another machine), a fresh log means running.
    """
    if experiment.finished:
        return "passed"
    lock = experiment.folder / LOCK
    held = is_locked(lock)
    if held is None or (not held and _is_of_another_machine(lock)):
        log = experiment.folder / "log.jsonl"
        held = log.is_file() and now - log.stat().st_mtime < QUIET_S
    return "running" if held else "stopped"


def _is_of_another_machine(lock: Path) -> bool:
    """Whether the last run that held a lock was on another machine, whose locks may not be seen here."""
    try:
        holder = lock.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return not holder.endswith(f" on {socket.gethostname()}")


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
        duration(experiment.seconds_left) if state == "running" else "–",
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
