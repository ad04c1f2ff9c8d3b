"""Datasets in the format of the folds: one to measure on, one with faults to inspect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from dlib.datasets.build.folds import Item, write_folds
from dlib.datasets.synthetic.scenes import Video, VideoKey
from helpers.clips import scene

BOX = (5.0, 4.0, 30.0, 20.0)


def write_dataset(root: Path, classes: list[str], name: str = "other") -> list[str]:
    """Four test frames of 48x36 pixels per class in the folds' format, and the flags that name them."""
    folds = root / "folds" / name
    (folds / "test").mkdir(parents=True)
    (folds / "class_id.yaml").write_text(yaml.safe_dump({c: i for i, c in enumerate(classes)}))
    ids = [(f"{c}/{i}.png", k) for k, c in enumerate(classes) for i in range(4)]
    for number, (frame, _) in enumerate(ids):
        path = root / "data" / name / frame
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene(number, 48, 36)).save(path)
    box = ",".join(map(str, BOX))
    for file, line in (
        ("image_ids.txt", "{0}"),
        ("class_labels.txt", "{0},{1}"),
        ("image_sizes.txt", "{0},48,36"),
        ("localization.txt", "{0}," + box),
    ):
        (folds / "test" / file).write_text("".join(line.format(f, k) + "\n" for f, k in ids))
    flags = ["--dataset", name, "--data_root", str(root / "data"), "--metadata_root", str(root / "folds")]
    return ["--eval_only", "True", "--num_workers", "0", "--device", "cpu", *flags]


def picture(seed: int, size: int = 96) -> np.ndarray:
    return next(iter(Video(VideoKey(seed, 0, "star", 0), size).shot(0, 1))).image


def write_faulty_dataset(root: Path) -> None:
    """Class "a,b" and class "c": train shots of 3 frames, val and test of 2 frames; some faults."""
    items: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    for label, name in enumerate(("a,b", "c")):
        for shot in range(2):
            folder = root / "data" / "set" / name / "data/0001/shots" / f"{shot:03d}"
            folder.mkdir(parents=True)
            for k in range(3):
                Image.fromarray(picture(label * 100 + shot * 10 + k)).save(folder / f"frame{k}.jpg")
            items["train"].append(Item(folder.relative_to(root / "data/set").as_posix(), label))
        for number, split in enumerate(("val", "test")):
            folder = root / "data" / "set" / name / f"data/000{2 + number}/shots/000"
            folder.mkdir(parents=True)
            for k in range(2):
                path = folder / f"frame{k}.jpg"
                Image.fromarray(picture(1000 + label * 100 + number * 10 + k)).save(path)
                frame = path.relative_to(root / "data/set").as_posix()
                items[split].append(Item(frame, label, (128, 96), ((0, 0, 64, 48),)))
    write_folds(root / "folds" / "set", ["a,b", "c"], items)
