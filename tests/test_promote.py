"""Promotion: what is copied, what is refused, and that a copy is complete before it replaces another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import dlib.promote
from dlib.promote import main, promote
from dlib.utils.errors import UserError

NAME = "d-resnet18-GradCam-WGAP-cp_best_localization-boxv2_False"


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    folder = tmp_path / "exp"
    weights = folder / NAME.replace("GradCam", "GradCAM")  # as an earlier version wrote it
    weights.mkdir(parents=True)
    (weights / "7_best_model.pth").write_bytes(b"new")
    (weights / "config_model.yaml").write_text("arch: x")
    (weights / "picture.png").write_bytes(b"not copied")
    (folder / "passed.txt").touch()
    return folder


def test_copies_replace_older_ones(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "pretrained" / NAME
    old.mkdir(parents=True)
    (old / "3_best_model.pth").write_bytes(b"old")
    assert main([str(experiment), str(tmp_path / "pretrained")]) == 0
    assert capsys.readouterr().out == f"promoted {old}: its results.json does not say of which epoch\n"
    assert {path.name: path.read_bytes() for path in old.iterdir()} == {
        "7_best_model.pth": b"new",
        "config_model.yaml": b"arch: x",
    }
    assert [path.name for path in (tmp_path / "pretrained").iterdir()] == [NAME]


def test_a_failed_copy_leaves_the_older_one(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(experiment, tmp_path / "to")

    def full(*paths: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dlib.promote.shutil, "copyfile", full)
    assert main([str(experiment), str(tmp_path / "to")]) == 1
    assert (tmp_path / "to" / NAME / "7_best_model.pth").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("missing", "line"),
    [("", "no such folder"), ("passed.txt", "is not finished"), (f"{NAME}", "has no best weights")],
)
def test_what_cannot_be_promoted(experiment: Path, tmp_path: Path, missing: str, line: str) -> None:
    if missing == NAME:
        shutil.rmtree(experiment / NAME.replace("GradCam", "GradCAM"))
    elif missing:
        (experiment / missing).unlink()
    else:
        experiment = experiment.parent / "none"
    with pytest.raises(UserError, match=line):
        promote(experiment, tmp_path / "to")
