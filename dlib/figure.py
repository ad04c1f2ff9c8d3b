"""A figure for a paper: test frames as rows, trained models as columns.

    python -m dlib.figure EXP1 EXP2 --frames 4 --out figure

Every panel has the frame's own shape. A column has the map of a model, its box (white), the true box (green) and their
IoU. The map is that of the frame's class. Without a suffix, --out gives .png, .pdf and .svg.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlib.commands import CommandParser, command, loading
from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, TEST, VAL
from dlib.utils.errors import UsageError, UserError

if TYPE_CHECKING:
    import argparse

    from dlib.datasets.metadata import SplitMetadata
    from dlib.localizer import Localizer
    from dlib.visualization.figure import Row

BY_VALIDATION, BY_TEST = "val", "test"


def parser() -> CommandParser:
    p = CommandParser("figure", __doc__)
    p.add_argument("experiments", nargs="+", type=Path, metavar="EXP", help="experiment folder: one column")
    p.add_argument(
        "--frames",
        nargs="+",
        default=["4"],
        help="a number of frames to draw at random, or frames: ids of the split (their ends are enough), pictures (4)",
    )
    p.add_argument(
        "--out", type=Path, default=Path("figure"), help="file, or its name without suffix (figure)"
    )
    p.add_argument("--names", nargs="+", help="titles of the columns (the methods)")
    p.add_argument(
        "--criterion",
        nargs="+",
        choices=CRITERIA,
        default=[BEST_LOCALIZATION],
        help="which best model: one for all experiments, or one for each (best_localization)",
    )
    p.add_argument(
        "--tau",
        default=BY_VALIDATION,
        help="threshold of the maps: val: the one of each class that validation chose; test: the best of the test "
        "split, as in papers' tables; or a number (val)",
    )
    p.add_argument(
        "--split", choices=(TEST, VAL), default=TEST, help="where the frames are from (%(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the random frames (%(default)s)")
    p.add_argument("--width", type=float, default=7.0, help="of the figure in inches (%(default)s)")
    p.add_map_flags()
    p.add_argument("--dataset", help="(that of the first experiment)")
    p.add_argument("--data_root", help="where datasets lie (that of the first experiment)")
    p.add_argument("--metadata_root", help="where folds lie (that of the first experiment)")
    return p


def figure(args: argparse.Namespace) -> list[Path]:
    """Write the files of ``args``; returns their paths. Raises UserError for frames or models that are not there."""
    for folder in args.experiments:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; give an experiment's folder or one with weights")
    with loading():
        from dlib.localizer import Localizer
        from dlib.visualization.figure import KINDS, draw_figure, save_figure

    kind = args.out.suffix.lower().removeprefix(".")
    if kind and kind not in KINDS:
        raise UsageError(
            f"--out {args.out}: expected a name that ends in {', '.join(f'.{k}' for k in KINDS)}"
        )
    criteria = args.criterion * len(args.experiments) if len(args.criterion) == 1 else args.criterion
    for flag, given in (("--criterion", criteria), ("--names", args.names)):
        if given is not None and len(given) != len(args.experiments):
            raise UsageError(f"{flag}: {len(given)} values for {len(args.experiments)} experiments")
    if not 1 <= args.width <= 50:
        raise UsageError(f"--width {args.width}: expected 1 to 50 inches")
    tau = None if args.tau in (BY_VALIDATION, BY_TEST) else _threshold(args.tau)
    models = list(zip(args.experiments, criteria, strict=True))
    localizers = [
        Localizer(
            folder, criterion, tau=0.5 if args.tau == BY_TEST else tau, model="own", box_rule="threshold"
        )
        for folder, criterion in models
    ]
    taus = [best_test_taus(*model) if args.tau == BY_TEST else {} for model in models]
    rows = figure_rows(args, localizers, taus)
    names = args.names or column_names(args.experiments, localizers)
    drawn = draw_figure(rows, names, args.width, args.opacity, args.colormap)
    files = [args.out] if kind else [args.out.with_name(f"{args.out.name}.{k}") for k in KINDS]
    return [save_figure(drawn, file) for file in files]


def figure_rows(
    args: argparse.Namespace, localizers: Sequence[Localizer], taus: Sequence[dict[str, float]]
) -> list[Row]:
    """The frames of ``--frames`` with the maps and boxes of every model, at the class's τ where ``taus`` has one."""
    import numpy as np

    from dlib.datasets.images import read_image, read_upright
    from dlib.datasets.metadata import read_split
    from dlib.metrics import box_iou
    from dlib.visualization.figure import Cell, Row

    pictures = [Path(name) for name in args.frames if Path(name).is_file()]
    metadata, data_dir = None, Path()
    if len(pictures) < len(args.frames):
        cfg = _config(args)
        data_dir = dataset_dir(cfg)
        metadata = read_split(data_dir, metadata_dir(cfg), args.split)
    rows = []
    for name in chosen_frames(args.frames, metadata, args.seed):
        if metadata is not None and name in metadata.sizes:
            image = read_image(data_dir / name)
            truth = metadata.boxes.get(name, np.zeros((0, 4)))
            label = metadata.class_names[int(metadata.labels[metadata.ids.index(name)])]
        else:
            image, truth, label = read_upright(Path(name), "give another file"), np.zeros((0, 4)), None
        cells = []
        for localizer, by_class in zip(localizers, taus, strict=True):
            found = localizer.localize_class(image, label, by_class.get(label or ""))
            iou = None
            if len(truth):
                iou = 0.0 if found.box is None else float(box_iou([found.box], truth).max())
            cells.append(Cell(found.map, found.box, iou))
        rows.append(Row(image, truth.tolist(), label or "", cells))
    return rows


def chosen_frames(frames: Sequence[str], metadata: SplitMetadata | None, seed: int) -> list[str]:
    """Ids (or paths of pictures) of the frames that the words of ``--frames`` name.

    A number draws as many frames with a known box, the classes in turn, each from another shot where there are enough.
    Raises UserError for a word that names no frame, or several.
    """
    found = []
    for word in frames:
        if Path(word).is_file():
            found.append(word)
            continue
        assert metadata is not None
        if word.isdecimal():
            found += random_frames(metadata, int(word), seed)
            continue
        alike = [name for name in metadata.ids if name == word or name.endswith(f"/{word}")]
        if len(alike) != 1:
            several = (
                f"{len(alike)} frames end so, such as {alike[0]}"
                if alike
                else "no such picture, and no frame"
            )
            raise UserError(f"--frames {word}: {several} in {metadata.folder}; give more of its id")
        found += alike
    return found


def random_frames(metadata: SplitMetadata, count: int, seed: int) -> list[str]:
    """``count`` frames with a box, the classes in turn; frames of a shot that is drawn already come last."""
    import numpy as np

    boxed = np.array([i for i, name in enumerate(metadata.ids) if name in metadata.boxes], dtype=np.int64)
    if not 1 <= count <= len(boxed):
        raise UserError(f"--frames {count}: {metadata.folder} has {len(boxed)} frames with a box")
    shuffled = np.random.default_rng(seed & 0xFFFFFFFF).permutation(boxed)
    seen: Counter[str] = Counter()
    turns: Counter[int] = Counter()
    keys = []
    for i in shuffled.tolist():
        shot, label = metadata.ids[i].rpartition("/")[0], int(metadata.labels[i])
        seen[shot] += 1
        keys.append((seen[shot], i, label))
    order = []
    for again, i, label in sorted(keys, key=lambda key: key[0]):
        turns[label] += 1
        order.append((turns[label], again, i))
    picked = sorted(i for _, _, i in sorted(order, key=lambda entry: entry[:2])[:count])
    return [metadata.ids[i] for i in picked]


def best_test_taus(folder: Path, criterion: str) -> dict[str, float]:
    """The threshold of each class that is best on the test split, from an experiment's results."""
    from dlib.visualization.measured import best_taus
    from dlib.visualization.records import read_experiment

    report = read_experiment(folder).report(criterion) or {}
    known = {name: tau for name, tau in best_taus(report).items() if tau is not None}
    if not known:
        raise UserError(
            f"--tau {BY_TEST}: {folder} has no test by {criterion}; give --tau {BY_VALIDATION} or a number"
        )
    return known


def column_names(folders: Sequence[Path], localizers: Sequence[Localizer]) -> list[str]:
    """The task where training makes the maps, else the CAM method; the experiments' names if that is not enough."""
    from dlib.visualization.groups import short_names
    from dlib.visualization.records import Experiment, read_experiment

    experiments, names = [], []
    for folder, localizer in zip(folders, localizers, strict=True):
        try:
            experiment = read_experiment(folder)
        except UserError:  # a folder of weights alone
            experiment = Experiment(folder, {"exp_id": folder.name})
        experiments.append(experiment)
        maker = localizer.saved.maps
        names.append(str(experiment.setting("task", "map")) if maker.model.decodes_maps else maker.method)
    return names if len(set(names)) == len(names) else short_names(experiments)


def _config(args: argparse.Namespace) -> Config:
    """Where the frames are: as the flags say, else as the first experiment with a config.yml."""
    saved = next((f / "config.yml" for f in args.experiments if (f / "config.yml").is_file()), None)
    cfg = Config() if saved is None else Config.from_yaml(saved)
    given = {name: getattr(args, name) for name in ("dataset", "data_root", "metadata_root")}
    return cfg.replace(**{name: value for name, value in given.items() if value is not None})


def _threshold(text: str) -> float:
    try:
        tau = float(text)
    except ValueError:
        tau = -1.0
    if not 0 <= tau < 1:
        raise UsageError(f"--tau {text}: expected {BY_VALIDATION}, {BY_TEST}, or a number from 0 up to 1")
    return tau


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    for path in figure(args):
        print(f"written: {path}")
    from dlib.visualization.figure import CAPTION

    chosen = {BY_VALIDATION: "chosen on validation", BY_TEST: "that is best on the test split"}
    print(f"caption: {CAPTION} Threshold of the maps: {chosen.get(args.tau, f'{args.tau} for all')}.")


if __name__ == "__main__":
    sys.exit(main())
