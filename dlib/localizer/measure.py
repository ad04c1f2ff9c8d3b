"""What smoothing does to boxes in videos: how many frames of a split it localizes, with and without.

    python -m dlib.localizer.measure --fd_exp EXPERIMENT --dataset my-videos --smooth 5

Complete shots are localized as in dlib.localize: the class is predicted frame by frame. Only frames with a known box
count. A frame is localized if its box has an IoU of at least 50 % with a true one, in pixels of the frame.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from dlib.commands import CommandParser, command, loading
from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, TEST, VAL
from dlib.configure.literals import BoxRule

if TYPE_CHECKING:
    from dlib.datasets.metadata import SplitMetadata
    from dlib.localizer import Localizer


def localized(
    localizer: Localizer, data_dir: Path, metadata: SplitMetadata, windows: Sequence[int]
) -> dict[int, int]:
    """{window: number of frames localized}, for smoothing over each of ``windows`` (0: none).

    Args:
        localizer: without its own smoothing.
        metadata: frames; those in one folder are one shot, which is localized as one video.
    """
    from dlib.localizer.smoothing import smooth_boxes
    from dlib.localizer.source import open_source
    from dlib.metrics import box_iou

    shots: dict[Path, dict[str, np.ndarray]] = {}
    for frame_id, boxes in metadata.boxes.items():
        path = data_dir / frame_id
        shots.setdefault(path.parent, {})[path.name] = boxes
    hits = dict.fromkeys(windows, 0)
    for shot, truth in shots.items():
        with open_source(shot) as source:
            nothing = np.zeros((0, 0, 3), np.uint8)  # pictures are not needed any more
            pairs = [(replace(frame, image=nothing), result) for frame, result in localizer.stream(source)]
        for window in hits:
            for _, result in smooth_boxes(iter(pairs), window):
                name = source.files[result.index].name
                if name in truth and result.box is not None:
                    hits[window] += bool(box_iou([result.box], truth[name]).max() >= 0.5)
    return hits


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
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    with loading():
        from dlib.datasets.metadata import read_split
        from dlib.localizer import Localizer

    cfg = Config(dataset=args.dataset, data_root=args.data_root, metadata_root=args.metadata_root)
    data_dir = dataset_dir(cfg)
    metadata = read_split(data_dir, metadata_dir(cfg), args.split)
    localizer = Localizer(args.fd_exp, args.criterion, box_rule=args.box_rule)
    hits = localized(localizer, data_dir, metadata, (0, args.smooth))
    print(
        f"{len(metadata.boxes)} frames with a known box in {args.split}: {hits[0]} localized, "
        f"{hits[args.smooth]} with --smooth {args.smooth}"
    )


if __name__ == "__main__":
    sys.exit(main())
