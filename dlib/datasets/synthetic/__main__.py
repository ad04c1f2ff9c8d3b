"""``python -m dlib.datasets.synthetic --dst DIR --seed 0``: write the synthetic dataset."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dlib.datasets.build.commands import check_folder, run_command
from dlib.datasets.synthetic.write import Plan, generate


def main() -> None:
    plan = Plan()
    parser = argparse.ArgumentParser(prog="python -m dlib.datasets.synthetic", description=__doc__)
    parser.add_argument("--dst", type=Path, required=True, help="folder to write the classes to")
    helps = {
        "classes": "number of classes",
        "videos": "videos per class, a quarter of them but at most 5 for test",
        "shots": "shots per video",
        "frames": "frames per shot",
        "size": "height of the frames in pixels (the width is 4/3 of it)",
        "seed": "the same seed gives the same bytes",
    }
    for name, text in helps.items():
        parser.add_argument(f"--{name}", type=int, default=getattr(plan, name), help=f"{text} (%(default)s)")
    workers = min(os.cpu_count() or 1, 8)
    parser.add_argument("--num_workers", type=int, default=workers, help="processes (%(default)s)")
    args = parser.parse_args()
    check_folder("--dst", args.dst)
    generate(args.dst, Plan(**{name: getattr(args, name) for name in helps}), workers=args.num_workers)
    print(f"Synthetic dataset written to {args.dst}")


if __name__ == "__main__":
    run_command(main)
