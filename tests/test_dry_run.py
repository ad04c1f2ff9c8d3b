"""``--dry_run``: what it says is counted by hand, and it writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from conftest import Workplace, colocam_flags, start

from dlib.configure.config import parse_args
from dlib.learning.data import load_data
from dlib.learning.plan import Costs, _seeding_times
from dlib.tasks import CoLoCam


def files(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}


@pytest.mark.parametrize("task", ["STD_CL", "CoLo-CAM"])
def test_says_the_plan_and_writes_nothing(task: str, trained: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    more = colocam_flags() if task == "CoLo-CAM" else {}
    flags = place.flags(task, **more, pretrained_root=trained.folder / "pretrained", dry_run=True)
    before = files(tmp_path, trained.folder, trained.datasets, trained.folds)
    code, out, error = start(flags)
    assert code == 0, error
    assert files(tmp_path, trained.folder, trained.datasets, trained.folds) == before
    assert str(place.experiment(task)) in out
    assert "3 classes, 12 train shots, 12 validation and 12 test frames" in out
    # A shot gives one frame, in CoLo-CAM two: 12 or 24 frames in minibatches of 4.
    steps = 3 if task == "STD_CL" else 6
    assert f"{steps} per epoch (batch 4 x 1), {2 * steps} in 2 epochs" in out
    found = re.search(r"([\d,]+) parameters, ([\d,]+) trained", out)
    assert found is not None
    count, learned = (int(number.replace(",", "")) for number in found.groups())
    weights = torch.load(
        next(trained.experiment().glob("*cp_best_localization*/*_best_model.pth")), weights_only=True
    )
    classifier = sum(
        value.numel()
        for part in weights.values()
        for name, value in part.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    if task == "STD_CL":
        assert count == learned == classifier
    else:
        assert count - learned == classifier  # frozen; the decoder is trained
    assert re.search(r"memory +\d+\.\d GiB at least \(cpu\)", out)
    assert re.search(r"time +about [\w ]+: [\w ]+ training, [\w ]+ validation, [\w ]+ test", out)
    assert len(re.findall("^not counted ", out, re.MULTILINE)) == 1
    if task == "CoLo-CAM":
        assert "CAM store (48 of 48 train frames are missing)" in out
        assert "classifier's CAMs on validation and test" in out
        assert "seed purity" in out


@pytest.mark.parametrize(
    ("flags", "purity"),
    [
        ({}, 12 * (2 + 5)),
        # Heat of epochs 1, 2, and 3 on: three kinds of seeds from the same maps.
        ({"sl_clc_knn_t": 3.0, "sl_clc_min_t": 1.0, "sl_clc_seed_epoch_switch_uniform": 3}, 12 * (2 + 3 * 5)),
        # Epochs 3 and 4 with maps of its own, which change.
        ({"sl_clc_epoch_switch_to_sl": 3}, 12 * (2 + 2 * 1 + 3 * 5)),
    ],
)
def test_seconds_of_the_seeding_classifier(
    flags: dict[str, float], purity: int, trained: Workplace, tmp_path: Path
) -> None:
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    pretrained = trained.folder / "pretrained"
    cfg = parse_args(
        place.flags("CoLo-CAM", **colocam_flags(max_epochs=4, **flags), pretrained_root=pretrained)
    )
    data = load_data(cfg)
    cfg = cfg.replace(num_classes=3)
    task = CoLoCam(cfg, data.classes, torch.device("cpu"))
    times = list(
        _seeding_times(cfg, data, task, Costs(step=9, frame=1, classifier_frame=2, seeds=5)).values()
    )
    assert times == [48 * 2, (12 + 12) * 2, purity]
