"""Measure maps of another program (CLIP-ES, CLIPSeg, SAM, a transformer's attention) as this program's own maps.

    python -m dlib.score_maps --maps FOLDER --dataset NAME --split test

FOLDER has one map per frame of the split, named by the frame's id, as .npy, .pt or .png. Values are in 0..1, high where
the object is. --out gets results.json, so that colocam compare shows the maps beside experiments. If FOLDER has
the maps of the validation split too, they choose thresholds for the test split.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlib.commands import CommandParser, command, loading
from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import BEST_LOCALIZATION, TEST, TRAIN, VAL
from dlib.utils.errors import UsageError

if TYPE_CHECKING:
    from dlib.cams import MapFolder
    from dlib.datasets.metadata import SplitMetadata


def parser() -> CommandParser:
    defaults = Config()
    p = CommandParser("score-maps", __doc__)
    p.add_argument("--maps", type=Path, required=True, help="folder of the maps")
    p.add_argument("--dataset", required=True, help="dataset with boxes")
    p.add_argument("--split", default=TEST, help="split of single frames: test, val, … (%(default)s)")
    p.add_argument("--name", help="name of the maps in tables (the folder's name)")
    p.add_argument("--out", type=Path, help="folder to write to (exps/DATASET/maps/NAME)")
    p.add_argument("--data_root", help="where datasets lie (default: $DATASETSH, else ./datasets)")
    p.add_argument("--metadata_root", default=defaults.metadata_root, help="(%(default)s)")
    p.add_argument(
        "--crop_size",
        type=int,
        default=defaults.crop_size,
        help="maps are resized to this side (%(default)s)",
    )
    p.add_truth("--box_v2_metric", help="MaxBoxAccV2")
    p.add_argument(
        "--cam_curve_interval",
        type=float,
        default=defaults.cam_curve_interval,
        help="step between thresholds (%(default)s)",
    )
    return p


def score(args: argparse.Namespace) -> str:
    """Write the results of ``args`` and return the table of the split. Raises UserError and UsageError."""
    with loading():
        from dlib.cams import MapFolder
        from dlib.learning.evaluation import evaluate_maps
        from dlib.learning.results import as_text
        from dlib.utils.files import write_json
        from dlib.utils.logging import start_logging

    cfg = _config(args)
    start_logging(None, talks=True)
    maps = MapFolder(args.maps, side=cfg.crop_size)
    name = args.name or maps.folder.resolve().name
    out: Path = args.out or Path(cfg.exps_root, cfg.dataset, "maps", name)
    if args.split in (VAL, TEST):
        entry = _as_experiment(args.split, maps, name, out, cfg)
    else:
        metadata = _metadata(cfg, args.split)
        entry = evaluate_maps(maps, metadata, cfg, cfg.cam_curve_interval, args.split).to_dict()
        write_json(out / f"eval_{cfg.dataset}_{args.split}.json", entry)
    return f"{as_text(f'{name} on {cfg.dataset} {args.split}', entry)}written to {out}"


def _as_experiment(split: str, maps: MapFolder, name: str, out: Path, cfg: Config) -> dict[str, Any]:
    """Write what an experiment writes about validation and test; the entry of ``split``."""
    import torch

    from dlib.learning.evaluation import evaluate_maps
    from dlib.learning.folder import command_line
    from dlib.learning.results import Results, as_text
    from dlib.utils import environment
    from dlib.utils.files import write_text

    start = time.perf_counter()
    val, wanted = _metadata(cfg, VAL), _metadata(cfg, split)
    classes = wanted.class_names
    results = Results(out, cfg, classes, environment.describe(torch.device("cpu")), command_line())
    results.content.update(task="maps", method=name, exp_id=name, encoder=None, pooling=None, seed=None)
    absent = len(maps.missing(val.ids))
    if split == VAL or not absent:
        report = evaluate_maps(maps, val, cfg, cfg.val_cam_curve_interval, VAL)
        results.content["val"][BEST_LOCALIZATION] = report.to_dict()
        best = {"epoch": 0, "step": 0, "value": report.headline}
        results.content["best"] = {BEST_LOCALIZATION: best}
    else:
        print(
            f"note: {absent} of {len(val.ids)} validation frames have no map: no thresholds from validation"
        )
    entry: dict[str, Any] = results.content["val"].get(BEST_LOCALIZATION, {})
    if split == TEST:
        report = evaluate_maps(maps, wanted, cfg, cfg.cam_curve_interval, TEST)
        entry = results.add_test(BEST_LOCALIZATION, report)
    results.add_seconds("test_s", time.perf_counter() - start)
    results.write()
    write_text(out / "passed.txt", as_text(BEST_LOCALIZATION, entry))
    return entry


def _config(args: argparse.Namespace) -> Config:
    if args.split == TRAIN:
        raise UsageError(
            "--split train: its shots have no boxes; choose a split of frames, such as test or val"
        )
    names = ("dataset", "data_root", "metadata_root", "crop_size", "box_v2_metric", "cam_curve_interval")
    values = {name: getattr(args, name) for name in names}
    return Config.from_values({**values, "resize_size": max(args.crop_size, Config().resize_size)})


def _metadata(cfg: Config, split: str) -> SplitMetadata:
    from dlib.datasets.metadata import read_split

    return read_split(dataset_dir(cfg), metadata_dir(cfg), split, check_files=False)


@command()
def main(arguments: Sequence[str]) -> None:
    print(score(parser().read(arguments)))


if __name__ == "__main__":
    sys.exit(main())
