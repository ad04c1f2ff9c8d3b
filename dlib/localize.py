"""Find objects in a video, a folder of videos, a folder of frames, a picture or a camera's view.

    python -m dlib.localize --fd_exp EXPERIMENT --input VIDEO --out FOLDER

FOLDER gets overlay.mp4 (overlay.png for a picture), boxes.json, boxes.csv and, with --masks True, masks/*.png. Of a
folder of videos, each video gets such a folder, FOLDER/<video>.
Boxes are x0, y0, x1, y1 in pixels of the original frame, both corners inside the box. boxes.csv has a row for each box,
or one with empty columns for a frame without.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from dlib.commands import CommandParser, command, loading
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, MIN_PRESENCE, MODELS
from dlib.configure.literals import BoxRule
from dlib.utils.errors import UsageError, UserError

if TYPE_CHECKING:
    from dlib.localizer import Localizer


def parser() -> CommandParser:
    p = CommandParser("localize", __doc__)
    p.add_argument("--fd_exp", type=Path, required=True, help="experiment folder, or a folder of its weights")
    p.add_argument(
        "--input", required=True, help="video, folder of videos or of frames, picture, or number of a camera"
    )
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
        "--box_rule",
        choices=get_args(BoxRule),
        help="boxes from the frame alone (its map, its colours, and its features if the model was trained with "
        "--box_features True), or from a threshold of the map (colors; with --tau: threshold)",
    )
    p.add_argument(
        "--tau", type=float, help="threshold of the map; else the one that validation chose for the class"
    )
    p.add_switch(
        "--multi", "a box for each clear region of the map: for frames with several objects of a class"
    )
    p.add_argument(
        "--min_presence",
        type=float,
        default=MIN_PRESENCE,
        help="a frame whose presence score is less has no box: raise it if boxes appear where no object is; 0: every "
        "frame has a box (%(default)s)",
    )
    p.add_switch(
        "--tracks", "follow the objects: smooth boxes without gaps, each with the number of its track"
    )
    p.add_argument(
        "--box_frames",
        type=int,
        help="so many frames of a shot together say what object and background look like and what moves, for boxes "
        "from the frame; for a video as the model was evaluated with, else 1: each frame alone",
    )
    p.add_switch(
        "--fast",
        "see each frame once, at the size of the training crops: weaker maps, about ten times as fast with the "
        "small-data recipe",
    )
    p.add_switch("--masks", "write masks too")
    p.add_switch("--boxes_only", "draw the boxes without the maps")
    p.add_map_flags()
    p.add_argument(
        "--smooth",
        type=int,
        default=0,
        help="replace each box by the median of the boxes of so many frames (0: off); with --tracks: frames that a "
        "track's box depends on (0: 9)",
    )
    p.add_argument("--fps", type=_rate, help="frames per second of a folder of frames (10)")
    p.add_argument("--max_frames", type=int, default=0, help="stop after so many frames (0: all)")
    p.add_argument("--batch_size", type=int, default=8, help="frames in one pass (8); 1 for a camera")
    p.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to compute (auto)"
    )
    return p


@dataclass
class Done:
    """What the localization of one input, or of several, has written."""

    frames: int = 0
    empty: int = 0  # frames in which nothing was found
    damaged: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    stopped: bool = False  # by Ctrl-C; the files are complete up to there

    def add(self, other: Done) -> None:
        self.frames += other.frames
        self.empty += other.empty
        self.damaged += other.damaged
        self.classes += other.classes
        self.notes += other.notes
        self.stopped |= other.stopped


def localize(localizer: Localizer, source_name: str, out: Path, args: argparse.Namespace) -> Done:
    """Write all files of one input into ``out``. Ctrl-C ends them properly with the frames so far."""
    from dlib.localizer.output import Look, Writer
    from dlib.localizer.source import open_source
    from dlib.utils.logging import progress

    done, writer = Done(), None
    with open_source(source_name, args.fps) as opened:
        source = opened.first(args.max_frames)
        head = {
            "input": source.name,
            "model": str(localizer.saved.weights),
            "classes": localizer.classes,
            "fps": float(source.rate),
            "smooth": args.smooth,
            "box_rule": localizer.box_rule,
            "multi": localizer.multi,
            "min_presence": localizer.min_presence,
            "box_frames": localizer.frames_together(source.kind),
            "fast": args.fast,
        }
        try:
            with progress(localizer.stream(source), "localizing", total=source.count) as results:
                for frame, result in results:
                    if writer is None:
                        # Opened here, so that an unreadable input leaves nothing behind.
                        look = Look(args.opacity, args.colormap, args.boxes_only)
                        writer = Writer(out, head, source, args.masks, look)
                    writer.write(frame, result)
                    done.classes[result.label] += 1
                    done.frames += 1
                    done.empty += result.box is None
        except KeyboardInterrupt:
            done.stopped = True
        finally:
            if writer is not None:
                writer.close()
        done.damaged = source.reader.damaged
        done.notes = source.reader.notes() + (writer.notes if writer else [])
    return done


def localize_all(localizer: Localizer, videos: dict[str, Path], args: argparse.Namespace) -> Done:
    """Every video into its own folder below ``--out``. One that cannot be read is named at the end.

    Raises UserError if none of them can be read, and when the output cannot be written.
    """
    from dlib.localizer.output import CannotWrite

    whole, failed = Done(), []
    for name, path in videos.items():
        try:
            done = localize(localizer, str(path), args.out / name, args)
        except CannotWrite:
            raise
        except UserError as error:
            failed.append(str(error))
            continue
        print(f"{name}: {_summary(done)}")
        whole.add(done)
        if done.stopped:
            break
    if failed and not whole.frames:
        raise UserError(f"{args.input}: none of {len(videos)} videos can be used; the first: {failed[0]}")
    whole.notes += [f"left out: {reason}" for reason in failed]
    return whole


def _summary(done: Done) -> str:
    if not done.frames:
        return "no frame"
    named = ", ".join(f"{name} {count / done.frames:.0%}" for name, count in done.classes.most_common(3))
    nothing = f"; nothing found in {done.empty}" if done.empty else ""
    return f"{done.frames} frames: {named}{nothing}"


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    if args.max_frames < 0:
        raise UsageError(f"--max_frames {args.max_frames}: expected a number of frames, or 0 for all")
    with loading():
        from dlib.localizer import Localizer
        from dlib.localizer.source import videos_of
        from dlib.utils.logging import logger, start_logging

    start_logging(None, talks=True)
    localizer = Localizer(
        args.fd_exp,
        args.criterion,
        args.device,
        args.batch_size,
        tau=args.tau,
        smooth=args.smooth,
        label=args.label,
        model=args.model,
        box_rule=args.box_rule,
        multi=args.multi,
        min_presence=args.min_presence,
        tracks=args.tracks,
        fast=args.fast,
        box_frames=args.box_frames,
    )
    if localizer.is_classifier and args.model == "better":
        logger.info("the classifier localizes: it is better on validation; --model own uses the trained maps")
    start = time.perf_counter()
    videos = videos_of(Path(args.input))
    done = (
        localize_all(localizer, videos, args) if videos else localize(localizer, args.input, args.out, args)
    )
    seconds = time.perf_counter() - start
    if done.stopped:
        print("stopped by Ctrl-C; the frames so far are written", file=sys.stderr)
    if done.damaged:
        print(f"warning: {done.damaged} damaged frames were left out", file=sys.stderr)
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    rate = done.frames / max(seconds, 1e-9)
    print(f"{_summary(done)}; {seconds:.1f} s, {rate:.1f} frames per second")
    print(f"written to {args.out}")


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
