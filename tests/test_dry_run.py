"""``--dry_run``: what it says is counted by hand, and it writes nothing."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dlib.configure.config import parse_args
from dlib.datasets.splits import load_data
from dlib.learning import dry_run
from dlib.learning.evaluation import whole_frames
from dlib.tasks import Work, build_task
from helpers.programs import start
from helpers.workplace import Workplace, colocam_flags


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
        ({}, [12, 0, 12]),
        # Heat of epochs 1, 2, and 3 on: three kinds of seeds from the same maps.
        (
            {"sl_clc_knn_t": 3.0, "sl_clc_min_t": 1.0, "sl_clc_seed_epoch_switch_uniform": 3},
            [12, 0, 3 * 12],
        ),
        # Epochs 3 and 4 with maps of its own, which change.
        ({"sl_clc_epoch_switch_to_sl": 3}, [12, 2 * 12, 3 * 12]),
    ],
)
def test_frames_of_what_the_classifier_does(
    flags: dict[str, float], purity: list[int], trained: Workplace, tmp_path: Path
) -> None:
    """Of each work beside training and evaluation: the classifier's maps, own maps, and seeds drawn."""
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    pretrained = trained.folder / "pretrained"
    cfg = parse_args(
        place.flags(
            "CoLo-CAM",
            **colocam_flags(max_epochs=4, empty_out_bb_clc=False, **flags),
            pretrained_root=pretrained,
        )
    )
    data = load_data(cfg)
    task = build_task(cfg.replace(num_classes=3), data.classes, torch.device("cpu"))
    works = task.extra_work(data)
    assert [work.frames for work in works] == [48, 12 + 12, *purity]
    assert [work.shared for work in works] == [True, True, False, False, False]
    frames = whole_frames(data.val, range(2))
    for work in works:
        work.handle(frames)


def test_extra_work_is_added_up_by_title(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([4.0, 2.0, 6.0, 6.0])  # two passes of each work over two frames
    monkeypatch.setattr(dry_run, "seconds_of", lambda device, work: next(seconds))
    works = [Work("a", 10, print, shared=False), Work("b", 0, print), Work("a", 5, print)]
    task, frames = SimpleNamespace(device=torch.device("cpu")), [0, 1]
    assert dry_run._of_extra_work(task, works, frames) == {"a": 10 * 1 + 5 * 3, "b": 0}  # type: ignore[arg-type]
