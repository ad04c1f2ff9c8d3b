"""``python -m dlib.study.gain EXP``: what a decoder adds to the classifier that gives its seeds, as two rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlib.commands import CommandParser, command
from dlib.configure.config import Config
from dlib.configure.constants import BEST_LOCALIZATION, TEST
from dlib.utils.errors import UserError
from dlib.utils.files import read_json
from dlib.utils.text import percent
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, headline_by


def gain_table(experiment: Path) -> str:
    """Test CorLoc of both in the ``results.json`` of a finished run of CoLo-CAM, TCAM or F-CAM, as text.

    Raises UserError if ``experiment`` is no such run.
    """
    path = experiment / "results.json"
    results = read_json(path)
    try:
        classifier, own = results["classifier_test"], results[TEST][BEST_LOCALIZATION]
        found = [_percents(classifier), _percents(own)] if classifier else []
    except (KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path}: not the results of a finished run; start its command again to finish it"
        ) from None
    if not found:
        raise UserError(
            f"{path}: no classifier's CAMs were measured in this run; "
            "name a run of CoLo-CAM, TCAM or F_CL without --seed_maps"
        )
    cfg = Config.from_yaml(experiment / "config.yml")
    method = cfg.seed_cam_method or cfg.method
    rows = list(zip((f"{method} (the classifier that gives the seeds)", cfg.task), found, strict=True))
    width = max(len(name) for name, _ in rows)
    head = f"{'':<{width}}  test CorLoc  at validation's τ  without τ"
    return "\n".join(
        [head, *(f"{name:<{width}}  {best:>11}  {at:>17}  {no:>9}" for name, (best, at, no) in rows)]
    )


def _percents(report: dict[str, Any]) -> tuple[str, str, str]:
    """CorLoc at the best τ of the test split, at the one that validation chose, and of boxes without τ."""
    chosen, by_rule = (percent(headline_by(report, boxes)) for boxes in (AT_VAL_TAUS, BOX_RULE))
    return percent(report["headline"]), chosen, by_rule


def parser() -> CommandParser:
    p = CommandParser(
        "gain",
        "Test CorLoc of a run with a decoder (CoLo-CAM, TCAM, F_CL) and of the classifier that gives its seeds.",
    )
    p.add_argument("experiment", type=Path, metavar="EXP", help="folder of a finished run")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    print(gain_table(parser().read(arguments).experiment))


if __name__ == "__main__":
    sys.exit(main())
