"""A page of trained models, made from their result files: numbers, commit, device, time, checksum, command."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence

from dlib.configure.constants import BEST_LOCALIZATION
from dlib.utils.text import duration, percent
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, headline_by
from dlib.visualization.records import Experiment, below, number
from dlib.visualization.tables import TableCell, markdown_table

_HEAD = (
    "model",
    "seed",
    "test CorLoc",
    "at val τ",
    "without τ",
    "commit",
    "device",
    "time",
    "weights' SHA-256",
)
_PROGRAMS = ("main.py", "__main__.py")


def models_page(named: Sequence[tuple[str, Experiment]]) -> str:
    """Markdown: a line for each tested training, then the command of each model's first one, with folders as DIR.

    Args:
        named: experiments with the names of their models; trainings that differ in the seed alone share a name.
    """
    lines: list[list[TableCell]] = []
    commands: dict[str, str] = {}
    for name, experiment in named:
        test = experiment.report(BEST_LOCALIZATION)
        if not test:
            continue
        results = experiment.results
        weights = sorted(experiment.folder.glob(f"*cp_{BEST_LOCALIZATION}*/*_best_model.pth"))
        numbers = (test.get("headline"), headline_by(test, AT_VAL_TAUS), headline_by(test, BOX_RULE))
        cells = (
            name,
            str(results.get("seed", "–")),
            *(percent(number(value)) for value in numbers),
            str(below(results, "environment", "revision") or "–"),
            str(results.get("device", "–")),
            duration(number(below(results, "times", "total_s"))),
            hashlib.sha256(weights[0].read_bytes()).hexdigest() if weights else "–",
        )
        lines.append([TableCell(cell) for cell in cells])
        if command := results.get("command"):
            commands.setdefault(name, repeatable(str(command)))
    table = markdown_table(_HEAD, lines, align="---")
    return "\n".join([table, *(f"- {name}: `{command}`" for name, command in commands.items()), ""])


def repeatable(command: str) -> str:
    """A run's command for another machine: without the paths of Python and the program, other absolute ones as DIR."""
    try:
        words = shlex.split(command)
    except ValueError:  # no shell command: the file was changed by hand
        return "–"
    program = next((i for i, word in enumerate(words) if word.endswith(_PROGRAMS)), None)
    if program is not None:
        launcher = words[:program] if words[0] == "torchrun" else ["python"]
        trains = words[program + 1 : program + 2] == ["train"]  # as in "colocam train"
        words = [*launcher, "main.py", *words[program + 1 + trains :]]
    return shlex.join(re.sub(r"^(--\w+=)?/.*", r"\1DIR", word, flags=re.DOTALL) for word in words)
