"""Frames whose true box is unknown: they are classified, but neither localized nor missed."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dlib.configure.config import Config
from dlib.learning.best import BestModels
from dlib.learning.results import as_text, with_validation_thresholds
from dlib.metrics import BoxEvaluator, LocalizationReport
from helpers.logs import events
from helpers.programs import start
from helpers.workplace import DATASET, Workplace, colocam_flags

CLASSES = ["a", "b", "c"]
NONE: list[list[int]] = []
LOGITS = np.eye(3)
SIGMAS = ("30", "50", "70")


def square() -> np.ndarray:
    cam = np.zeros((10, 10), np.float32)
    cam[2:6, 2:6] = 1.0  # box 2, 2, 6, 6: 25 pixels
    return cam


def partly_boxed(rows: list[int]) -> BoxEvaluator:
    """a: a hit, a miss, two unknown (one classified as b); b: all unknown; c: a hit."""
    labels = np.array([0, 0, 0, 0, 1, 1, 2])
    predicted = [0, 0, 0, 1, 1, 1, 0]
    boxes = [[[2, 2, 6, 6]], [[8, 8, 9, 9]], NONE, NONE, NONE, NONE, [[2, 2, 6, 6]]]
    evaluator = BoxEvaluator(CLASSES, interval=0.5)
    evaluator.update(
        np.stack([square()] * len(rows)),
        labels[rows],
        LOGITS[[predicted[i] for i in rows]],
        [boxes[i] for i in rows],
        rows,
    )
    return evaluator


def check_partly_boxed(report: LocalizationReport) -> None:
    d = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert d["per_class"]["a"]["corloc"] == dict.fromkeys(SIGMAS, 50.0)  # one of two, not of four
    assert d["per_class"]["b"]["corloc"] == d["per_class"]["b"]["best_tau"] == dict.fromkeys(SIGMAS)
    assert (d["per_class"]["b"]["top1"]["50"], d["per_class"]["b"]["top5"]["50"]) == (None, None)
    assert d["curves"]["50"]["b"] is None
    assert d["headline"] == 75.0  # of a and c
    assert d["top1"]["50"] == 25.0  # a 50, c 0
    assert d["top5"]["50"] == 75.0
    assert d["classification_per_class"] == {"a": 75.0, "b": 100.0, "c": 0.0}
    assert d["classification"] == pytest.approx(500 / 7)
    assert (d["samples"], d["boxed"]) == (7, 3)
    counts = {name: (row["samples"], row.get("boxed")) for name, row in d["per_class"].items()}
    assert counts == {"a": (4, 2), "b": (2, 0), "c": (1, None)}


def test_hand_worked_and_merged_over_processes() -> None:
    whole = partly_boxed(list(range(7))).compute()
    check_partly_boxed(whole)
    merged = partly_boxed([6, 2])
    merged.merge([partly_boxed([0, 3]).state(), partly_boxed([4]).state(), partly_boxed([1, 5, 0]).state()])
    check_partly_boxed(merged.compute())
    table = merged.compute().samples_table()
    assert table == whole.samples_table()
    assert [row["best_iou"] for row in table] == [1.0, 0.0, None, None, None, None, 1.0]
    assert [row["box"] for row in table[3:5]] == [[2, 2, 6, 6], None]  # b has no threshold to cut a box at


def test_thresholds_from_elsewhere() -> None:
    found = partly_boxed(list(range(7))).compute().at_taus({s: {"a": 0.5, "c": 0.5} for s in SIGMAS})
    assert found["corloc"]["50"] == 75.0
    assert {name: row["corloc"]["50"] for name, row in found["per_class"].items()} == {
        "a": 50.0,
        "b": None,
        "c": 100.0,
    }


def unboxed(right: int) -> LocalizationReport:
    """Four frames without a box, ``right`` of them classified right."""
    evaluator = BoxEvaluator(CLASSES, interval=0.5)
    predicted = [0] * right + [1] * (4 - right)
    evaluator.update(np.stack([square()] * 4), np.zeros(4, int), LOGITS[predicted], [NONE] * 4, range(4))
    return evaluator.compute()


def test_no_box_at_all() -> None:
    report = unboxed(3)
    assert (report.headline, report.classification) == (None, 75.0)
    text = as_text("title", report.to_dict())
    assert [line for line in text.splitlines() if "no boxes" in line] == [
        "no boxes: localization is not measured"
    ]
    assert "CorLoc headline –" in text
    boxed = partly_boxed(list(range(7))).compute()
    chosen = with_validation_thresholds(boxed, report.to_dict())["at_val_taus"]
    assert chosen["corloc"] == dict.fromkeys((*SIGMAS, "mean"))
    assert chosen["per_class"]["a"] == {"samples": 4, "corloc": dict.fromkeys(SIGMAS)}
    assert "4 frames without a box" in as_text("title", boxed.to_dict())
    assert "boxes" not in as_text("title", BoxEvaluator(CLASSES).compute().to_dict())


class Folder(SimpleNamespace):
    def keep_best(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "STD_CL",
            [["best_localization", "best_classification"], [], ["best_localization", "best_classification"]],
        ),
        ("CoLo-CAM", [["best_localization", "best_classification"], ["best_localization"]]),
    ],
)
def test_best_weights_without_boxes(
    task: str, expected: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("dlib.learning.best.logger.warning", said.append)
    monkeypatch.setattr(BestModels, "_save", lambda *_: None)
    cfg = Config.from_values({"task": task, "sl_clc": task == "CoLo-CAM"})
    best = BestModels(cfg, tmp_path, Folder(), CLASSES, task == "CoLo-CAM")  # type: ignore[arg-type]
    for epoch, names in enumerate(expected):
        assert best.update(unboxed([1, 1, 3][epoch]), epoch, 6 * epoch, None) == names  # type: ignore[arg-type]
    assert best.records["best_localization"] == {
        "epoch": len(expected) - 1,
        "step": 6 * len(expected) - 6,
        "value": -1,
    }
    assert best.records["best_classification"]["epoch"] == {"STD_CL": 2, "CoLo-CAM": 0}[task]
    assert len(said) == 1
    assert "no validation frame has a box" in said[0]
    later = BestModels(cfg, tmp_path, Folder(), CLASSES, task == "CoLo-CAM")  # type: ignore[arg-type]
    later.records = best.state()  # a run that goes on
    later.update(unboxed(1), 9, 54, None)  # type: ignore[arg-type]
    assert len(said) == 1


def without_boxes(place: Workplace, folder: Path) -> Path:
    """The folds with every validation box unknown, and those of the first test class."""
    shutil.copytree(place.folds, folder)
    for split, whole in (("val", True), ("test", False)):
        path = folder / DATASET / split
        labels = (path / "class_labels.txt").read_text().splitlines()
        first = {line.rsplit(",", 1)[0] for line in labels if line.endswith(",0")}
        lines = (path / "localization.txt").read_text().splitlines()
        ids = [line.rsplit(",", 4)[0] for line in lines]
        kept = [f"{i},0,0,0,0" if whole or i in first else line for i, line in zip(ids, lines, strict=True)]
        (path / "localization.txt").write_text("".join(f"{line}\n" for line in kept))
    return folder


def test_a_run_without_validation_boxes_ends_with_its_last_epoch(trained: Workplace, tmp_path: Path) -> None:
    """Also the decoder's batch norm, which --freeze_decoder_bn holds from the second epoch on."""
    place = Workplace(tmp_path, trained.datasets, without_boxes(trained, tmp_path / "folds"))
    flags = colocam_flags(
        opt__lr=1e-4, max_epochs=3, early_stop_patience=1, freeze_decoder_bn=True, keep_last_n_checkpoints=9
    )
    code, out, error = start(place.flags("CoLo-CAM", pretrained_root=trained.folder / "pretrained", **flags))
    assert code == 0, error
    assert "ends early" not in out
    folder = place.experiment("CoLo-CAM")
    results = json.loads((folder / "results.json").read_text())
    assert [entry["epoch"] for entry in results["epochs"]] == [0, 1, 2, 3]
    assert results["best"]["best_localization"]["epoch"] == 3
    assert all(entry["val"]["headline"] is None for entry in results["epochs"])
    test = results["test"]["best_localization"]
    first, *others = (test["per_class"][name]["corloc"]["50"] for name in results["classes"])
    assert first is None
    assert test["headline"] == sum(others) / 2
    assert test["at_val_taus"]["corloc"]["50"] is None
    assert (folder / "log.txt").read_text().count("no validation frame has a box") == 1
    epochs = events(folder, "epoch")
    assert len(epochs) == 3
    assert not any("seed_purity" in event["diagnostics"] for event in epochs)

    steps = sorted((folder / "checkpoints").glob("*_checkpoint.pth"), key=lambda p: int(p.name.split("_")[0]))
    models = [torch.load(path, weights_only=True)["model"] for path in steps]
    assert len(models) == 4  # before the first epoch, and after each
    moved = {
        kind: [changed(a, b, kind) for a, b in itertools.pairwise(models)]
        for kind in ("running_mean", "running_var", "num_batches_tracked", "weight")
    }
    assert moved["weight"] == [True, True, True]
    for kind in ("running_mean", "running_var", "num_batches_tracked"):
        assert moved[kind] == [True, False, False]


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor], kind: str) -> bool:
    """Whether all or none of the decoder's values of a kind changed; they must agree."""
    names = [name for name in before if name.startswith("decoder.") and name.endswith(f".{kind}")]
    differ = {not torch.equal(before[name], after[name]) for name in names}
    assert len(differ) == 1
    return differ.pop()


def test_evaluating_the_train_split(trained: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    shutil.copytree(trained.experiment(), folder)
    code, out, error = start(["--eval_only", "True", "--split", "train", "--fd_exp", str(folder)])
    assert code == 0, error
    assert out.count("no boxes: localization is not measured") == 1
    report = json.loads((folder / f"eval_{DATASET}_train_best_localization.json").read_text())
    assert (report["headline"], report["boxed"], report["samples"]) == (None, 0, 12)
    assert report["corloc"] == report["at_val_taus"]["corloc"] == dict.fromkeys((*SIGMAS, "mean"))
    assert 0 <= report["classification"] <= 100
