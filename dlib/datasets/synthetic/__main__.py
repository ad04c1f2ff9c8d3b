"""``python -m dlib.datasets.synthetic --dst DIR --seed 0``: write the synthetic dataset."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dlib.commands import CommandParser, command
from dlib.datasets.synthetic.write import Plan, generate
from dlib.utils.filesystem import check_folder

_HELP = {
    "classes": "number of classes",
    "videos": "videos per class, a quarter of them but at most 5 for test",
    "shots": "shots per video",
    "frames": "frames per shot",
    "size": "height of the frames in pixels (the width is 4/3 of it)",
    "seed": "the same seed gives the same bytes",
}


def parser() -> CommandParser:
    p = CommandParser("synthetic", __doc__)
    p.add_argument("--dst", type=Path, required=True, help="folder to write the classes to")
    for name, text in _HELP.items():
        p.add_argument(f"--{name}", type=int, default=getattr(Plan(), name), help=f"{text} (%(default)s)")
    workers = min(os.cpu_count() or 1, 8)
    p.add_argument("--num_workers", type=int, default=workers, help="processes (%(default)s)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    check_folder("--dst", args.dst)
    generate(args.dst, Plan(**{name: getattr(args, name) for name in _HELP}), workers=args.num_workers)
    print(f"Synthetic dataset written to {args.dst}")


if __name__ == "__main__":
    sys.exit(main())
