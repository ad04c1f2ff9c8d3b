"""Datasets at the edge: one class, videos of one frame, a class without validation frames, frames without response."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from dlib.cams import region_of_interest, sample_seeds
from helpers.logs import events
from helpers.programs import promote, start
from helpers.workplace import DATASET, Workplace, colocam_flags


def write_one_class(folder: Path) -> Workplace:
    """One class; two train shots, one of a single frame; two frames each to validate and test."""
    data, folds = folder / "datasets" / DATASET, folder / "folds" / DATASET
    rng = np.random.default_rng(0)
    ids = {"train": ["a/1", "a/2"], "val": ["a/3/0.png", "a/3/1.png"], "test": ["a/4/0.png", "a/4/1.png"]}
    frames = ["a/1/0.png", "a/2/0.png", "a/2/1.png", "a/2/2.png", *ids["val"], *ids["test"]]
    for name in frames:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 48, 3), np.uint8)).save(data / name)
    for split, names in ids.items():
        (folds / split).mkdir(parents=True)
        boxes = "" if split == "train" else "".join(f"{name},5,5,30,30\n" for name in names)
        sizes = "" if split == "train" else "".join(f"{name},48,40\n" for name in names)
        (folds / split / "image_ids.txt").write_text("".join(f"{name}\n" for name in names))
        (folds / split / "class_labels.txt").write_text("".join(f"{name},0\n" for name in names))
        (folds / split / "image_sizes.txt").write_text(sizes)
        (folds / split / "localization.txt").write_text(boxes)
    (folds / "class_id.yaml").write_text("only: 0\n")
    return Workplace(folder, folder / "datasets", folder / "folds")


def test_one_class_and_a_video_of_one_frame(tmp_path: Path) -> None:
    place = write_one_class(tmp_path)
    code, _, error = start(place.flags(max_epochs=1))
    assert code == 0, error
    results = json.loads((place.experiment() / "results.json").read_text())
    assert results["val"]["best_localization"]["classification"] == 100.0
    promote(place)
    more = colocam_flags(max_epochs=1, batch_size=2, fill_small_tr_batch=False)
    code, _, error = start(place.flags("CoLo-CAM", **more))
    assert code == 0, error
    steps = events(place.experiment("CoLo-CAM"), "step")
    joint = sorted(abs(step["terms"]["rgb_jcrf_clc"]) for step in steps)
    assert joint[0] == 0.0  # the video of one frame has nothing to be compared with
    assert all(math.isfinite(step["loss"]) for step in steps)


def test_class_without_validation_frames(workplace: Workplace) -> None:
    shutil.copytree(workplace.folds, workplace.folder / "folds")
    val = workplace.folder / "folds" / DATASET / "val"
    gone = {
        line.rsplit(",", 1)[0]
        for line in (val / "class_labels.txt").read_text().splitlines()
        if line.endswith(",2")
    }
    for path in val.glob("*.txt"):
        kept = [line for line in path.read_text().splitlines() if not any(line.startswith(g) for g in gone)]
        path.write_text("".join(f"{line}\n" for line in kept))
    place = Workplace(workplace.folder, workplace.datasets, workplace.folder / "folds")
    code, _, error = start(place.flags(max_epochs=0))
    assert code == 0, error
    results = json.loads((place.experiment() / "results.json").read_text())
    name = results["classes"][2]
    val_report = results["val"]["best_localization"]
    assert val_report["samples"] == 8
    assert val_report["per_class"][name]["corloc"]["50"] is None
    others = [val_report["per_class"][c]["corloc"]["50"] for c in results["classes"][:2]]
    assert val_report["corloc"]["50"] == sum(others) / 2
    test = results["test"]["best_localization"]
    assert test["per_class"][name]["samples"] == 4
    assert test["at_val_taus"]["per_class"][name]["corloc"]["50"] is not None
    taus = yaml.safe_load((place.experiment() / "thresholds-best_localization.yaml").read_text())
    assert taus[name] is None


def test_frame_without_response_gives_no_seeds() -> None:
    cams = torch.zeros(1, 16, 16)
    roi = region_of_interest(cams, "largest")
    assert roi.boxes.tolist() == [[0, 0, 15, 15]]
    seeds = sample_seeds(
        cams,
        roi.masks,
        max_n=5,
        min_n=5,
        max_p=0.7,
        min_p=0.1,
        ksz=3,
        technique="seed_weighted",
        keys=torch.tensor([3]),
    )
    assert (seeds == -255).all()
