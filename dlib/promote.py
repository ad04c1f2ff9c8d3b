"""Copy the best weights of a finished experiment to where the other tasks look for them.

python -m dlib.promote EXPERIMENT [PRETRAINED_FOLDER]
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import CommandParser, command
from dlib.configure.constants import EARLIER_SPELLINGS
from dlib.utils.errors import UserError
from dlib.utils.files import read_json
from dlib.utils.text import percent


def promote(experiment: Path, target: Path) -> list[Path]:
    """Copy the folders of best weights from ``experiment`` to ``target``; returns the copies.

    A copy is complete before it replaces an older one. Raises UserError for an experiment that is not finished, or
    that has no best weights.
    """
    if not experiment.is_dir():
        raise UserError(f"{experiment}: no such folder; give the folder of an experiment")
    if not (experiment / "passed.txt").is_file():
        raise UserError(
            f"{experiment} is not finished (no passed.txt): start its command again, which finishes it"
        )
    folders = sorted(path for path in experiment.glob("*-cp_best_*-boxv2_*") if path.is_dir())
    if not folders:
        raise UserError(
            f"{experiment} has no best weights (folders named *-cp_best_*): train again with another --exp_id"
        )
    return [_copy(folder, target) for folder in folders]


def _copy(folder: Path, target: Path) -> Path:
    name = folder.name
    for now, earlier in EARLIER_SPELLINGS.items():
        name = name.replace(f"-{earlier}-", f"-{now}-")
    new, final = target / f".{name}.new", target / name
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for path in (*folder.glob("*_best_model.pth"), folder / "config_model.yaml"):
        shutil.copyfile(path, new / path.name)
    shutil.rmtree(final, ignore_errors=True)
    new.rename(final)
    return final


def _describe(experiment: Path, criterion: str) -> tuple[str, bool]:
    """Epoch and scores of the best weights, as text, and whether they are untrained."""
    try:
        results = read_json(experiment / "results.json")
        epoch = int(results["best"][criterion]["epoch"])
        report = results["val"][criterion]
        scores = percent(report["headline"]), percent(report["classification"])
    except (OSError, UserError, ValueError, KeyError, TypeError):
        return "its results.json does not say of which epoch", False
    return f"epoch {epoch}, validation CorLoc {scores[0]} %, accuracy {scores[1]} %", epoch == 0


def parser() -> CommandParser:
    p = CommandParser("promote", __doc__)
    p.add_argument("experiment", type=Path, help="folder of a finished experiment")
    p.add_argument("target", type=Path, nargs="?", default=Path("pretrained"), help="(%(default)s)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    for copied in promote(args.experiment, args.target):
        criterion = copied.name.partition("-cp_")[2].partition("-boxv2_")[0]
        text, untrained = _describe(args.experiment, criterion)
        print(f"promoted {copied}: {text}", flush=True)
        if untrained:
            print(
                f"warning: these weights by {criterion.removeprefix('best_')} are from before training (epoch 0). Maps "
                "of an untrained network can localize by chance; seeds from the other weights: "
                "--colocam_pretrained_seeder_ch_pt best_classification, or train again with --best_start_ep 1",
                file=sys.stderr,
            )


if __name__ == "__main__":
    sys.exit(main())
