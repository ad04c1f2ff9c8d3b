"""From a folder of videos to videos with boxes, in one command:

    python -m dlib.pipeline VIDEOS --out found

VIDEOS holds one folder of videos for each class. The videos become a dataset, a classifier and CoLo-CAM are trained on
it with the recipe for little data (doc/small_data.md), and some videos are drawn with their boxes: those of --clips, or
else shots of the test split, which were not used for training. Everything is in the folder --out. Each command is
printed, so that you can repeat it alone. If you start this command again, it resumes. With --dataset instead of VIDEOS
it begins with a dataset that you have already. Flags of main.py for both trainings follow after "--".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from dlib.commands import AGAIN, CommandParser, command
from dlib.configure.config import Config, dataset_dir, metadata_dir, model_folder, parse_args
from dlib.configure.constants import CRITERIA, ENCODERS, TEST
from dlib.pipeline.recipe import COLOCAM_SHARE, Recipe
from dlib.pipeline.stages import Stage, run_stages
from dlib.utils.errors import UsageError, UserError
from dlib.utils.files import read_json

_OVERLAYS = "overlays"


def parser() -> CommandParser:
    p = CommandParser(
        "run",
        __doc__,
        usage="%(prog)s [VIDEOS] --out DIR [--flag value ...] [-- flags of main.py for both trainings]",
    )
    p.add_argument("videos", type=Path, nargs="?", help="folder with one folder of videos for each class")
    p.add_argument("--out", type=Path, required=True, help="folder of all results")
    p.add_argument(
        "--dataset",
        help="dataset to use instead of VIDEOS; its --data_root and --metadata_root follow after --",
    )
    p.add_argument("--boxes", type=Path, help="boxes of VIDEOS, as in colocam import")
    p.add_argument("--encoder_name", choices=tuple(ENCODERS), default="mobilenet_v2", help="(%(default)s)")
    p.add_argument("--seed", type=int, default=0, help="seed of both trainings (%(default)s)")
    p.add_argument("--clips", nargs="+", default=[], metavar="CLIP", help="videos to draw boxes in")
    p.add_argument("--overlays", type=int, default=4, help="test shots to draw without --clips (%(default)s)")
    return p


def preparation(args: argparse.Namespace) -> list[Stage]:
    """The stages from videos to a checked dataset."""
    data, folds = _places(args)
    words = ["import", "--src", args.videos, "--dst", data, "--metadata", folds]
    words += ["--boxes", args.boxes] if args.boxes else []
    sheets = args.out / "inspect"
    check = ["inspect", "--dataset", data.name, "--data_root", data.parent, "--metadata_root", folds.parent]
    return [
        Stage("import the videos", _texts(words)),
        Stage(
            f"check the dataset, sheets in {sheets}",
            _texts([*check, "--out", sheets]),
            lambda: any(sheets.glob("*.jpg")),
        ),
    ]


def trainings(recipe: Recipe) -> list[Stage]:
    """The stages from a dataset to a trained CoLo-CAM and its numbers."""
    first, second = recipe.classifier(), recipe.colocam()
    classifier, colocam = recipe.folder(first), recipe.folder(second)
    promoted = [model_folder(recipe.pretrained, parse_args(first), criterion) for criterion in CRITERIA]
    return [
        Stage(
            "train the classifier",
            ("train", *first),
            (classifier / "passed.txt").exists,
            classifier,
            COLOCAM_SHARE,
        ),
        Stage(
            "promote it",
            _texts(["promote", classifier, recipe.pretrained]),
            lambda: all(folder.is_dir() for folder in promoted),
        ),
        Stage("train CoLo-CAM", ("train", *second), (colocam / "passed.txt").exists, colocam),
        Stage("what CoLo-CAM adds", ("gain", str(colocam))),
    ]


def overlays(args: argparse.Namespace, cfg: Config, colocam: Path) -> list[Stage]:
    """A stage for each clip."""
    clips = args.clips or held_out(cfg, args.overlays)
    stages = []
    for number, clip in enumerate(clips, 1):
        out = args.out / _OVERLAYS / f"{number:02d}-{Path(clip).stem}"
        words = ["localize", "--fd_exp", colocam, "--input", clip]
        # A shot of the dataset is a folder of frames that are one video, which localization cannot know.
        words += [] if args.clips else ["--box_frames", cfg.box_frames]
        words += ["--out", out]
        stages.append(Stage(f"boxes in {clip}", _texts(words), partial(_is_whole, out)))
    return stages


def held_out(cfg: Config, count: int) -> list[str]:
    """Shots of the test split, folders of frames: of each class in turn."""
    lines = (metadata_dir(cfg) / TEST / "image_ids.txt").read_text(encoding="utf-8").split("\n")
    by_class: dict[str, list[str]] = {}
    for shot in dict.fromkeys(str(Path(line).parent) for line in lines if line):
        by_class.setdefault(shot.split("/")[0], []).append(str(dataset_dir(cfg) / shot))
    turns = [shot for turn in zip_longest(*by_class.values()) for shot in turn if shot]
    return turns[:count]


def _is_whole(folder: Path) -> bool:
    """Whether localization has written its files to their end."""
    try:
        read_json(folder / "boxes.json")
    except (UserError, OSError):
        return False
    return True


def _places(args: argparse.Namespace) -> tuple[Path, Path]:
    name = args.videos.resolve().name
    return args.out / "datasets" / name, args.out / "folds" / name


def _texts(words: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, words))


def _check(args: argparse.Namespace) -> None:
    if (args.videos is None) == (args.dataset is None):
        raise UsageError("give a folder of videos, or --dataset")
    if args.videos is not None and not args.videos.is_dir():
        raise UserError(f"{args.videos}: no such folder; it must hold one folder of videos for each class")
    if args.seed < 0 or args.overlays < 0:
        raise UsageError("--seed and --overlays: expected a number >= 0")
    for clip in args.clips:
        if not Path(clip).exists():
            raise UserError(f"--clips {clip}: no such file or folder")


@command(stopped=AGAIN)
def main(arguments: Sequence[str]) -> None:
    args, rest = parser().read_before_dashes(arguments)
    _check(args)
    dataset, more = args.dataset, tuple(rest)
    if args.videos is not None:
        data, folds = _places(args)
        dataset = data.name
        more = ("--data_root", str(data.parent), "--metadata_root", str(folds.parent), *more)
    out: Path = args.out
    recipe = Recipe(
        dataset, args.encoder_name, args.seed, out / "exps", out / "pretrained", out / "data_cams", more
    )
    cfg = parse_args(recipe.colocam())
    before = preparation(args) if args.videos is not None else []
    run_stages([*before, *trainings(recipe)])
    colocam = recipe.folder(recipe.colocam())
    run_stages(overlays(args, cfg, colocam))
    print(f"\nreport: {colocam / 'report.html'}\nvideos with boxes: {out / _OVERLAYS}")


if __name__ == "__main__":
    sys.exit(main())
