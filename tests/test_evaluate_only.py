"""``--eval_only`` on saved experiments and on weights in the authors' formats; TensorBoard's files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import main
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.learning.trackers import flat, open_event_log
from dlib.localizer import Localizer
from dlib.metrics import box_iou
from helpers.saved_experiment import CLASSES, save_experiment
from helpers.small_datasets import BOX, write_dataset


def expected_corloc(folder: Path, root: Path, tau: float) -> dict[str, float]:
    """Share of frames per class whose box at ``tau`` has IoU >= 0.5 with the true one, frame by frame."""
    truth = np.trunc(np.array(BOX) * 32 / np.array([48, 36, 48, 36]))
    shares = {}
    for name in CLASSES:
        localizer = Localizer(folder, tau=tau, label=name)
        hits = []
        for path in sorted((root / "data" / "other" / name).iterdir()):
            from dlib.metrics import boxes_from_map

            (result,) = localizer.localize(path)
            hits.append(box_iou(boxes_from_map(result.map, tau)[0], truth[None])[0, 0] >= 0.5)
        shares[name] = 100 * float(np.mean(hits))
    return shares


def test_an_experiment_of_another_machine(tmp_path: Path, capsys) -> None:
    folder = save_experiment(tmp_path / "exp", STD_CL)
    saved = yaml.safe_load((folder / "config.yml").read_text())
    elsewhere = {
        "device": "cuda",
        "local_world_size": 8,
        "dist_backend": "nccl",
        "cudaid": "7",
        "num_workers": 99,
    }
    (folder / "config.yml").write_text(yaml.safe_dump({**saved, **elsewhere}))
    flags = write_dataset(tmp_path, CLASSES)
    assert main.main([*flags, "--fd_exp", str(folder)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", "[]", '{"val": 3}'])
def test_results_that_are_none_are_named_before_the_work(tmp_path: Path, content: str, capsys) -> None:
    folder = save_experiment(tmp_path / "exp", STD_CL)
    (folder / "results.json").write_text(content)
    assert main.main([*write_dataset(tmp_path, CLASSES), "--fd_exp", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "results.json: not an experiment's results" in said.err
    assert "CorLoc" not in said.out


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
def test_an_experiment_on_another_dataset(tmp_path: Path, task: str, capsys) -> None:
    torch.set_num_threads(1)
    folder = save_experiment(tmp_path, task)
    flags = write_dataset(tmp_path, CLASSES)
    assert main.main([*flags, "--fd_exp", str(folder)]) == 0
    report = json.loads((folder / "eval_other_test_best_localization.json").read_text())
    assert report["samples"] == 12
    at = report["curves"]["taus"].index(0.3)
    for name, share in expected_corloc(folder, tmp_path, 0.3).items():
        assert report["curves"]["50"][name][at] == pytest.approx(share)
    assert "mean" in capsys.readouterr().out


def test_weights_alone_in_both_formats_give_the_experiments_numbers(tmp_path: Path, capsys) -> None:
    torch.set_num_threads(1)
    folder = save_experiment(tmp_path)
    weights = next(folder.glob("*-cp_*"))
    flags = write_dataset(tmp_path, CLASSES)
    own, pair = tmp_path / "own", tmp_path / "pair"
    shutil.copytree(weights, own)
    pair.mkdir()
    for part, state in torch.load(weights / "7_best_model.pth", weights_only=True).items():
        torch.save(state, pair / f"{part}.pt")
    described = ["--encoder_name", "resnet18", "--crop_size", "32", "--method", "LayerCAM"]
    for source, more in ((folder, []), (own, []), (pair, described)):
        assert main.main([*flags, "--fd_exp", str(source), *more]) == 0
    reports = [
        json.loads((f / "eval_other_test_best_localization.json").read_text()) for f in (folder, own, pair)
    ]
    assert reports[0]["curves"] == reports[1]["curves"] == reports[2]["curves"]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["bird", "cat", "dog"], "they differ in dog, train"),
        (["cat", "bird", "train"], "their order differs"),
        (["bird", "cat"], "they differ in train"),
    ],
)
def test_other_classes_are_refused(tmp_path: Path, classes: list[str], said: str, capsys) -> None:
    folder = save_experiment(tmp_path)
    assert main.main([*write_dataset(tmp_path, classes), "--fd_exp", str(folder)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_missing_weights_are_one_line(tmp_path: Path, capsys) -> None:
    flags = write_dataset(tmp_path, CLASSES)
    (tmp_path / "empty").mkdir()
    for folder, said in (("none", "no such folder"), ("empty", "holds no best model")):
        assert main.main([*flags, "--fd_exp", str(tmp_path / folder)]) == 1
        assert said in capsys.readouterr().err


def test_numbers_of_an_event() -> None:
    values = {"a": {"b": 1, "c": None}, "lr": [0.5, 0.1], "on": True, "name": "x"}
    assert flat(values) == [("a/b", 1.0), ("lr/0", 0.5), ("lr/1", 0.1)]


def test_tensorboard_gets_the_events(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as events

    log = open_event_log(tmp_path / "log.jsonl", tensorboard=True)
    for step in (1, 2):
        log.write("step", epoch=1, step=step, loss=step / 2, terms={"sl_clc": 0.25})
    log.write("validation", epoch=1, step=2, report={"headline": 40.0})
    log.write("end", seconds=3.0)
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(s.step, s.value) for s in found.Scalars("step/loss")] == [(1, 0.5), (2, 1.0)]
    assert [(s.step, s.value) for s in found.Scalars("validation/report/headline")] == [(1, 40.0)]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4


def test_tensorboard_forgets_the_steps_that_a_resumed_run_repeats(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing import event_accumulator as events

    first = open_event_log(tmp_path / "log.jsonl", tensorboard=True)
    for step in (1, 2, 3):
        first.write("step", step=step, loss=1.0)
    first.write("end", seconds=1.0)
    resumed = open_event_log(tmp_path / "log.jsonl", tensorboard=True)
    resumed.forget_after(1, validated=False)
    resumed.write("step", step=2, loss=5.0)
    resumed.write("end", seconds=1.0)
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [(s.step, s.value) for s in found.Scalars("step/loss")] == [(1, 1.0), (2, 5.0)]


def test_without_tensorboard_one_line_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    said: list[str] = []
    monkeypatch.setattr("dlib.learning.trackers.logger.warning", said.append)
    log = open_event_log(tmp_path / "log.jsonl", tensorboard=True)
    assert said == [
        "--tensorboard True: the package is not installed (pip install tensorboard); the run continues without it"
    ]
    log.write("step", step=1)
    assert (tmp_path / "log.jsonl").exists()
    assert not (tmp_path / "tensorboard").exists()
