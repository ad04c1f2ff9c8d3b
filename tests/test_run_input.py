"""What a user gets wrong: one clear line, the right exit code, no traceback, and nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.paths import ROOT
from helpers.programs import promote, start
from helpers.workplace import DATASET, ENCODER, Workplace, colocam_flags

TAG = f"{DATASET}-resnet18-LayerCAM-WGAP-cp_{{}}-boxv2_False"


def refused(flags: list[str], code: int, *words: str) -> None:
    found, out, error = start(flags)
    lines = [line for line in error.splitlines() if line.startswith("error")]
    assert found == code, (out, error)
    assert len(lines) == 1, error
    assert "Traceback" not in out + error
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture
def own(workplace: Workplace) -> Workplace:
    """A workplace with a dataset of its own, to be broken."""
    shutil.copytree(workplace.datasets, workplace.folder / "datasets")
    shutil.copytree(workplace.folds, workplace.folder / "folds")
    return Workplace(workplace.folder, workplace.folder / "datasets", workplace.folder / "folds")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": 1}, ("--learning_rate",)),
        ({"max_epoch": 3}, ("--max_epoch", "--max_epochs")),
        ({"batch_size": "many"}, ("--batch_size", "many", "integer")),
        ({"batch_size": 0}, ("--batch_size", ">= 1")),
        ({"opt__lr": "nan"}, ("--opt__lr",)),
        ({"task": "C_BOX"}, ("C_BOX", "STD_CL")),
        ({"arch": "UnetCoLoCAM"}, ("--arch", "STDClassifier")),
        ({"method": "WILDCAT", "spatial_pooling": "WGAP"}, ("--spatial_pooling", "WildCatCLHead")),
        ({"crop_size": 64}, ("--crop_size", "--resize_size")),
        ({"exp_id": "../../etc"}, ("--exp_id",)),
        ({"dataset": "../secret"}, ("--dataset",)),
        ({"debug_subfolder": ".."}, ("--debug_subfolder",)),
        ({"local_world_size": 2}, ("--local_world_size", "torchrun")),
        ({"dist_backend": "nccl", "device": "cpu"}, ("--dist_backend nccl", "gloo")),
        ({"num_classes": 7}, ("--num_classes 7", "3")),
        ({"eval_only": True}, ("--fd_exp",)),
        ({"config": "/nonexistent/c.yml"}, ("--config", "/nonexistent/c.yml")),
    ],
)
def test_wrong_flags_exit_with_2(
    workplace: Workplace, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused(workplace.flags(**changes), 2, *words)
    assert not (workplace.folder / "exps").exists()


def test_colocam_without_a_term_exits_with_2(workplace: Workplace) -> None:
    refused(workplace.flags("CoLo-CAM"), 2, "no loss term", "--sl_clc")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data_root": "/nonexistent"}, ("dataset tiny", "/nonexistent", "--data_root")),
        ({"metadata_root": "/nonexistent"}, ("folds", "/nonexistent", "--metadata_root")),
        ({"exps_root": "/dev/null/exps"}, ("/dev/null/exps", "--exps_root")),
    ],
)
def test_missing_places_exit_with_1(
    workplace: Workplace, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused(workplace.flags(**changes), 1, *words)


def test_missing_pretrained_names_folders_and_both_ways(workplace: Workplace) -> None:
    flags = workplace.flags("CoLo-CAM", **colocam_flags())
    tags = [TAG.format(criterion) for criterion in ("best_classification", "best_localization")]
    refused(flags, 1, *tags, "--task STD_CL", "cmds/promote.sh", "copy the folders")
    assert not (workplace.folder / "exps").exists()  # a failed start leaves no folder


def test_a_failed_start_leaves_what_was_there(workplace: Workplace) -> None:
    flags = workplace.flags("CoLo-CAM", **colocam_flags())
    refused(flags, 1, "cmds/promote.sh")
    folder = workplace.folder / "exps" / DATASET / ENCODER / "CoLo-CAM" / "LayerCAM"
    mine = folder / "mine.txt"
    folder.mkdir(parents=True)
    mine.write_text("kept")
    refused(flags, 1, "cmds/promote.sh")
    assert list(folder.iterdir()) == [mine]


def test_empty_and_damaged_pretrained(promoted: Workplace) -> None:
    real = (promoted.folder / "pretrained").resolve()
    (promoted.folder / "pretrained").unlink()
    shutil.copytree(real, promoted.folder / "pretrained")
    folder = promoted.folder / "pretrained" / TAG.format("best_classification")
    (weights,) = folder.glob("*.pth")
    content = weights.read_bytes()
    flags = promoted.flags("CoLo-CAM", **colocam_flags())
    weights.write_bytes(content[:1000])
    refused(flags, 1, str(weights), "copy or download it again")
    state = torch.load(next(real.glob("*classification*/*.pth")), weights_only=True)
    torch.save({"encoder": state["encoder"]}, weights)
    refused(flags, 1, str(weights), "classification_head")
    weights.unlink()
    refused(flags, 1, str(folder), "no best model")


def break_labels(folds: Path, data: Path) -> str:
    path = folds / "train" / "class_labels.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2].rsplit(",", 1)[0] + ",99", *lines[3:]]))
    return f"{path}, line 3"


def break_box(folds: Path, data: Path) -> str:
    path = folds / "val" / "localization.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].rsplit(",", 4)[0] + ",9,9,3,3", *lines[1:]]))
    return f"{path}, line 1"


def escape(folds: Path, data: Path) -> str:
    path = folds / "test" / "image_ids.txt"
    path.write_text("../../../etc/passwd\n" + path.read_text())
    return f"{path}, line 1"


def remove_ids(folds: Path, data: Path) -> str:
    path = folds / "val" / "image_ids.txt"
    path.unlink()
    return str(path)


def remove_frame(folds: Path, data: Path) -> str:
    frame = data / (folds / "val" / "image_ids.txt").read_text().splitlines()[0]
    frame.unlink()
    return str(frame)


@pytest.mark.parametrize("damage", [break_labels, break_box, escape, remove_ids, remove_frame])
def test_broken_metadata_names_file_and_line(own: Workplace, damage: Callable[[Path, Path], str]) -> None:
    where = damage(own.folds / DATASET, own.datasets / DATASET)
    refused(own.flags(), 1, where)


def test_unreadable_frame_stops_or_is_stood_in_for(own: Workplace) -> None:
    shot = (own.folds / DATASET / "train" / "image_ids.txt").read_text().splitlines()[0]
    frames = sorted((own.datasets / DATASET / shot).glob("*.jpg"))
    for frame in frames:
        frame.write_bytes(frame.read_bytes()[:100])
    refused(own.flags(max_epochs=1), 1, shot, "--skip_bad_frames")
    log = (own.experiment() / "log.jsonl").read_text()
    assert '"event": "validation"' in log  # what was done before is not lost


def test_broken_cam_file_is_named(promoted: Workplace) -> None:
    flags = promoted.flags("CoLo-CAM", **colocam_flags(), max_epochs=1)
    store = promoted.folder / "data_cams" / f"{TAG.format('best_localization')}_cams_train"
    store.mkdir(parents=True)
    shots = (promoted.folds / DATASET / "train" / "image_ids.txt").read_text().splitlines()
    data = promoted.datasets / DATASET
    for shot in shots:
        for frame in (data / shot).glob("*.jpg"):
            name = str(frame.relative_to(data)).replace("/", "_")
            torch.save(torch.rand(2, 2), store / f"{name}.pt")
    for path in store.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-300])
    refused(flags, 1, str(store), "delete it")


def test_promotion_without_weights(tmp_path: Path, workplace: Workplace) -> None:
    workplace.experiment().mkdir(parents=True)
    (workplace.experiment() / "passed.txt").write_text("x")
    with pytest.raises(Exception, match="non-zero exit status 1"):
        promote(workplace)


def test_help_that_is_not_read_to_its_end_says_nothing_more() -> None:
    reader = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stderr is not None
    reader.stdout.close()
    assert (reader.wait(timeout=60), reader.stderr.read()) == (0, "")
