"""Boxes that reach beyond their frame, as some of the published folds do: kept as they stand, through the commands."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from dlib.tasks.decoder.diagnosis import seed_purity
from helpers.paths import ROOT
from helpers.programs import start
from helpers.workplace import DATASET, Workplace, colocam_flags

BEYOND = (-4.9, -1.5, 66.25, 30.0)  # of a frame of 64x48
SCALED = [math.trunc(v * 32 / side) for v, side in zip(BEYOND, (64, 48, 64, 48), strict=True)]


@pytest.fixture
def beyond(workplace: Workplace) -> Workplace:
    """The tiny dataset with the first two boxes of validation and the first of test beyond their frames."""
    folds = workplace.folder / "folds"
    shutil.copytree(workplace.folds, folds)
    for split, count in (("val", 2), ("test", 1)):
        path = folds / DATASET / split / "localization.txt"
        lines = path.read_text().splitlines()
        for i in range(count):
            lines[i] = ",".join([lines[i].split(",")[0], *map(str, BEYOND)])
        path.write_text("\n".join(lines) + "\n")
    return Workplace(workplace.folder, workplace.datasets, folds)


def check_warnings(text: str, splits: dict[str, int]) -> None:
    said = [line for line in text.splitlines() if "beyond their frame" in line]
    assert len(said) == len(splits), text
    for (split, count), line in zip(splits.items(), said, strict=True):
        assert f"{split}/localization.txt: {count} of 12 boxes reach beyond their frame, by up to 4.9" in line


def test_training_and_evaluation_take_them_as_they_stand(beyond: Workplace) -> None:
    code, _, error = start(beyond.flags(max_epochs=1, vizu_n=60))
    assert code == 0, error
    check_warnings(error, {"val": 2, "test": 1})
    first = (beyond.folds / DATASET / "test" / "image_ids.txt").read_text().splitlines()[0]
    (gallery,) = beyond.experiment().glob("best_localization/test/vizu/50/gallery.json")
    drawn = {record["id"]: record for record in json.loads(gallery.read_text())}
    assert drawn[first]["gt"] == [SCALED] == [[-2, -1, 33, 20]]
    x0, y0, x1, y1 = drawn[first]["box"]
    width, height = min(x1, 33) - max(x0, -2) + 1, min(y1, 20) - max(y0, -1) + 1
    shared = max(width, 0) * max(height, 0)
    union = (x1 - x0 + 1) * (y1 - y0 + 1) + 36 * 22 - shared
    assert drawn[first]["iou"] == pytest.approx(shared / union, abs=1e-4)
    code, _, error = start([*beyond.flags(eval_only=True), "--fd_exp", str(beyond.experiment())])
    assert code == 0, error
    check_warnings(error, {"test": 1})


def test_colocam_with_seeds_and_inspection(promoted: Workplace, beyond: Workplace) -> None:
    assert promoted.folder == beyond.folder  # where pretrained/ is
    code, _, error = start(
        beyond.flags("CoLo-CAM", **colocam_flags(max_epochs=1, crf_clc=False, rgb_jcrf_clc=False))
    )
    assert code == 0, error
    check_warnings(error, {"val": 2, "test": 1})
    command = [sys.executable, "-m", "dlib.datasets.inspect", "--dataset", DATASET]
    command += ["--data_root", str(beyond.datasets), "--metadata_root", str(beyond.folds)]
    done = subprocess.run(
        [*command, "--out", str(beyond.folder / "out")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    check_warnings(done.stderr, {"val": 2, "test": 1})


def test_purity_counts_the_part_inside() -> None:
    seeds = torch.zeros(1, 6, 6, dtype=torch.long)
    seeds[0, 0, :] = 1  # of the first row, columns 0 to 2 lie in the box
    assert seed_purity(seeds, [torch.from_numpy(np.array([[-3, -1, 2, 4]]))]) == (3, 6)
