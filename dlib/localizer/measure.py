"""What smoothing and tracks do to boxes in videos: frames of a split that are localized, mean IoU, and jitter.

    python -m dlib.localizer.measure --fd_exp EXPERIMENT --dataset my-videos --smooth 5

Complete shots are localized as in dlib.localize: the class is predicted frame by frame. Only frames with a known box
count. A frame is localized if its box has an IoU of at least 50 % with a true one, in pixels of the frame. Jitter is
the mean change of an edge's speed from frame to frame, in percent of the frame's longer side.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from dlib.commands import CommandParser, command, loading
from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, TEST, VAL
from dlib.configure.literals import BoxRule

if TYPE_CHECKING:
    from dlib.datasets.metadata import SplitMetadata
    from dlib.localizer import Localization, Localizer
    from dlib.localizer.source import Frame


@dataclass(frozen=True)
class Measured:
    """How well the boxes of one way follow the true ones; the text above defines the three numbers."""

    localized: int  # frames
    iou: float  # in percent; a frame without a found box has 0
    jitter: float | None  # over frames whose neighbours have a known and a found box too; None: none


Way = Callable[[Iterator[tuple["Frame", "Localization"]]], Iterator[tuple["Frame", "Localization"]]]


def measure(
    localizer: Localizer, data_dir: Path, metadata: SplitMetadata, ways: Mapping[str, Way]
) -> dict[str, Measured]:
    """What each way of joining the boxes of a shot gives.

    Args:
        localizer: without its own smoothing and tracks.
        metadata: frames; those in one folder are one shot, which is localized as one video.
        ways: they get frames with tiny pictures.
    """
    from dlib.localizer.source import open_source

    shots: dict[Path, dict[str, np.ndarray]] = {}
    for frame_id, boxes in metadata.boxes.items():
        path = data_dir / frame_id
        shots.setdefault(path.parent, {})[path.name] = boxes
    ious: dict[str, list[float]] = {name: [] for name in ways}
    changes: dict[str, list[float]] = {name: [] for name in ways}
    for shot, truth in shots.items():
        with open_source(shot) as source:
            video = replace(source, kind="video")
            pairs = [(_without_picture(frame), result) for frame, result in localizer.stream(video)]
        for name, way in ways.items():
            results = [result for _, result in way(iter(pairs))]
            files = [source.files[result.index].name for result in results]
            known = [(truth.get(file), result) for file, result in zip(files, results, strict=True)]
            ious[name] += [_iou(result, boxes) for boxes, result in known if boxes is not None]
            changes[name] += _changes([result if boxes is not None else None for boxes, result in known])
    return {
        name: Measured(
            sum(iou >= 0.5 for iou in ious[name]),
            100 * float(np.mean(ious[name])) if ious[name] else 0.0,
            100 * float(np.mean(changes[name])) if changes[name] else None,
        )
        for name in ways
    }


def _without_picture(frame: Frame) -> Frame:
    """The frame with a picture that is just large enough to find cuts."""
    import cv2

    from dlib.datasets.cuts import SIZE

    small = cv2.resize(frame.image, SIZE, interpolation=cv2.INTER_AREA)
    return replace(frame, image=np.asarray(small, np.uint8))


def _iou(result: Localization, truth: np.ndarray) -> float:
    from dlib.metrics import box_iou

    return 0.0 if result.box is None else float(box_iou([result.box], truth).max())


def _changes(results: list[Localization | None]) -> list[float]:
    """Mean |b(t + 1) - 2 b(t) + b(t - 1)| over the edges, as a share of the longer side, where all three are found."""
    boxes = [None if result is None or result.box is None else np.array(result.box) for result in results]
    return [
        float(np.abs(after - 2 * box + before).mean()) / max(result.size)
        for before, box, after, result in zip(boxes, boxes[1:], boxes[2:], results[1:], strict=False)
        if before is not None and box is not None and after is not None and result is not None
    ]


def parser() -> CommandParser:
    p = CommandParser("measure", __doc__)
    p.add_argument("--fd_exp", type=Path, required=True, help="experiment folder")
    p.add_argument("--dataset", required=True, help="dataset with boxes")
    p.add_argument("--data_root", help="where datasets lie (default: $DATASETSH, else ./datasets)")
    p.add_argument("--metadata_root", default=Config().metadata_root, help="(%(default)s)")
    p.add_argument("--split", choices=(TEST, VAL), default=TEST, help="(%(default)s)")
    p.add_argument("--smooth", type=int, default=5, help="median over so many frames (%(default)s)")
    p.add_argument("--criterion", choices=CRITERIA, default=BEST_LOCALIZATION, help="which best model")
    p.add_argument("--box_rule", choices=get_args(BoxRule), default="colors", help="(%(default)s)")
    p.add_argument("--box_frames", type=int, help="as in dlib.localize (as the model was evaluated with)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    with loading():
        from dlib.datasets.metadata import read_split
        from dlib.localizer import Localizer
        from dlib.localizer.smoothing import smooth_boxes
        from dlib.localizer.tracks import follow

    cfg = Config(dataset=args.dataset, data_root=args.data_root, metadata_root=args.metadata_root)
    data_dir = dataset_dir(cfg)
    metadata = read_split(data_dir, metadata_dir(cfg), args.split)
    localizer = Localizer(args.fd_exp, args.criterion, box_rule=args.box_rule, box_frames=args.box_frames)
    ways: dict[str, Way] = {
        "frame by frame": lambda pairs: pairs,
        f"--smooth {args.smooth}": partial(smooth_boxes, window=args.smooth),
        "--tracks True": follow,
    }
    print(f"{len(metadata.boxes)} frames with a known box in {args.split}")
    for name, found in measure(localizer, data_dir, metadata, ways).items():
        jitter = "unknown" if found.jitter is None else f"{found.jitter:.2f}"
        print(f"{name}: {found.localized} localized, mean IoU {found.iou:.1f}, jitter {jitter}")


if __name__ == "__main__":
    sys.exit(main())
