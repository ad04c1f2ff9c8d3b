"""Make a dataset from your own videos: ``python -m dlib.datasets.import_videos --src DIR --dst datasets/NAME``.

``DIR/<class>/`` holds video files, or folders of frames. The videos are cut into shots, each class's videos are split
into train, validation and test, and the folds are written. Run it again to continue after an
interruption, or after you add videos.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import AGAIN, CommandParser, command
from dlib.datasets.build.box_files import read_annotations
from dlib.datasets.build.builder import check_tree
from dlib.datasets.build.folds import FOLDS_ROOT
from dlib.datasets.build.import_dataset import import_videos
from dlib.datasets.build.import_one import Options
from dlib.utils.errors import UsageError, UserError
from dlib.utils.filesystem import check_folder

_SIDE = "larger frames are scaled to this short side, 0: as they are"
_CUT = "a cut changes the picture this many times as much as the frames around it"
# Default, smallest and largest value, help.
_NUMBERS: dict[str, tuple[float, float, float, str]] = {
    "val_share": (0.2, 0, 0.9, "share of each class's videos for validation"),
    "test_share": (0.2, 0, 0.9, "share of each class's videos for test"),
    "seed": (0, -math.inf, math.inf, "seed of the split"),
    "fps": (Options.fps, 0, 1000, "frames kept per second, 0: all"),
    "short_side": (Options.short_side, 0, 10_000, _SIDE),
    "quality": (Options.quality, 1, 100, "quality of the JPEG files"),
    "cut_threshold": (Options.cut_threshold, 1, 100, _CUT),
    "min_shot": (Options.min_shot, 1, 10_000, "smallest number of video frames in a shot"),
    "num_workers": (os.cpu_count() or 1, 1, 256, "videos that are imported at the same time"),
}


def parser() -> CommandParser:
    p = CommandParser("import", __doc__)
    p.add_argument("--src", type=Path, required=True, help="folder with one folder of videos per class")
    p.add_argument("--dst", type=Path, required=True, help="folder of the new dataset; its name is --dataset")
    p.add_argument("--metadata", type=Path, help=f"folder of the folds ({FOLDS_ROOT}/<name of --dst>)")
    p.add_argument("--boxes", type=Path, help="boxes: .csv, COCO .json, or a folder of YOLO .txt files")
    for name, (default, _, _, text) in _NUMBERS.items():
        p.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (%(default)s)")
    return p


def _check_flags(args: argparse.Namespace) -> None:
    for name, (_, low, high, _) in _NUMBERS.items():
        if not low <= getattr(args, name) <= high:
            raise UsageError(f"--{name} {getattr(args, name)}: must lie between {low} and {high}")
    if args.boxes and not args.boxes.exists():
        raise UserError(f"{args.boxes}: no such file or folder; give the right --boxes")
    if args.src.resolve() in (args.dst.resolve(), *args.dst.resolve().parents):
        raise UsageError(f"--dst {args.dst}: must lie outside --src")


@command(stopped=AGAIN)
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    _check_flags(args)
    metadata = args.metadata or FOLDS_ROOT / args.dst.resolve().name
    check_folder("--dst", args.dst)
    check_folder("--metadata", metadata)
    options = Options(args.fps, args.short_side, args.quality, args.cut_threshold, args.min_shot)
    annotations = read_annotations(args.boxes) if args.boxes else None
    shares = (args.val_share, args.test_share)
    notes = import_videos(
        args.src, args.dst, metadata, options, annotations, shares, args.seed, args.num_workers
    )
    for note in notes:
        print(f"Note: {note}")
    check_tree(args.dst, metadata, None, decode=False)
    if annotations is None:
        print("No boxes were given: classification can be measured, localization (CorLoc) cannot.")
    name, root = args.dst.resolve().name, args.dst.resolve().parent
    print(f"Frames: {args.dst}\nFolds:  {metadata}")
    print(f"Train with: --dataset {name} --data_root {root} --metadata_root {metadata}")


if __name__ == "__main__":
    sys.exit(main())
