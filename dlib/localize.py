"""Find objects in a video, a folder of frames, a picture or a camera's view.

    python -m dlib.localize --fd_exp EXPERIMENT --input VIDEO --out FOLDER

FOLDER gets overlay.mp4 (overlay.png for a picture), boxes.json, boxes.csv and, with --masks True, masks/*.png.
Boxes are x0, y0, x1, y1 in pixels of the original frame, both corners inside the box.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from dlib.commands import CommandParser, command, loading
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, MODELS
from dlib.configure.flag import str2bool
from dlib.utils.errors import UsageError


def parser() -> CommandParser:
    p = CommandParser("localize", __doc__)
    p.add_argument("--fd_exp", type=Path, required=True, help="experiment folder, or a folder of its weights")
    p.add_argument("--input", required=True, help="video, folder of frames, picture, or number of a camera")
    p.add_argument("--out", type=Path, required=True, help="folder to write to")
    p.add_argument("--criterion", choices=CRITERIA, default=BEST_LOCALIZATION, help="which best model")
    p.add_argument(
        "--model",
        choices=MODELS,
        default=MODELS[0],
        help="the trained model (own), or the classifier that it builds on; default: the better one on validation",
    )
    p.add_argument("--label", help="class in the video, if it is known; else it is predicted for each frame")
    p.add_argument(
        "--tau", type=float, help="threshold of the map; else the one that validation chose for the class"
    )
    p.add_argument("--masks", type=_truth, default=False, metavar="BOOL", help="write masks too (False)")
    p.add_argument(
        "--smooth",
        type=int,
        default=0,
        help="replace each box by the median of the boxes of so many frames (0: off)",
    )
    p.add_argument("--fps", type=_rate, help="frames per second of a folder of frames (10)")
    p.add_argument("--max_frames", type=int, default=0, help="stop after so many frames (0: all)")
    p.add_argument("--batch_size", type=int, default=8, help="frames in one pass (8); 1 for a camera")
    p.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)"
    )
    return p


def localize(args: argparse.Namespace) -> dict[str, Any]:
    """Write all files of ``args``; returns frames, seconds, classes (with counts), damaged frames and notes.

    Ctrl-C ends the files properly with the frames so far.
    """
    if args.max_frames < 0:
        raise UsageError(f"--max_frames {args.max_frames}: expected a number of frames, or 0 for all")
    with loading():
        from dlib.localizer import Localizer
        from dlib.localizer.output import Writer
        from dlib.localizer.source import open_source
        from dlib.utils.logging import logger, progress, start_logging

    start_logging(None, talks=True)
    localizer = Localizer(
        args.fd_exp,
        args.criterion,
        args.device,
        args.batch_size,
        args.tau,
        args.smooth,
        args.label,
        args.model,
    )
    if localizer.is_classifier and args.model == "better":
        logger.info("the classifier localizes: it is better on validation; --model own uses the trained maps")
    classes: Counter[str] = Counter()
    frames, writer, start = 0, None, time.perf_counter()
    with open_source(args.input, args.fps) as source:
        head = {
            "input": source.name,
            "model": str(localizer.saved.weights),
            "classes": localizer.classes,
            "fps": float(source.rate),
            "smooth": args.smooth,
        }
        total = min((n for n in (source.count, args.max_frames) if n), default=None)
        try:
            with progress(localizer.stream(source), "localizing", total=total) as results:
                for frame, result in results:
                    if writer is None:
                        # Opened here, so that an unreadable input leaves nothing behind.
                        writer = Writer(args.out, head, source, args.masks)
                    writer.write(frame, result)
                    classes[result.label] += 1
                    frames += 1
                    if frames == args.max_frames:
                        break
        except KeyboardInterrupt:
            print("stopped by Ctrl-C; the frames so far are written", file=sys.stderr)
        finally:
            if writer is not None:
                writer.close()
        done = {"damaged": source.reader.damaged, "notes": source.reader.notes()}
    return {"frames": frames, "seconds": time.perf_counter() - start, "classes": classes, **done}


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    done = localize(args)
    if done["damaged"]:
        print(f"warning: {done['damaged']} damaged frames were left out", file=sys.stderr)
    for note in done["notes"]:
        print(f"note: {note}", file=sys.stderr)
    named = ", ".join(
        f"{name} {count / done['frames']:.0%}" for name, count in done["classes"].most_common(3)
    )
    rate = done["frames"] / max(done["seconds"], 1e-9)
    print(f"{done['frames']} frames in {done['seconds']:.1f}s ({rate:.1f} frames per second): {named}")
    print(f"written to {args.out}")


def _truth(text: str) -> bool:
    try:
        return str2bool(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False") from error


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames per second") from error
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: expected above 0 and at most 1000")
    return rate


if __name__ == "__main__":
    sys.exit(main())
