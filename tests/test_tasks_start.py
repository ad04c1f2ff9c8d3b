"""``--path_pre_trained``: which weights a run starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dlib.configure.config import Config, parse_args
from dlib.models import STDClassifier, UnetCoLoCAM, best_model_state
from dlib.tasks.std_cl import StdCl
from dlib.utils.errors import UserError

CLASSES = ["a", "b", "c"]


def flags(*more: str) -> Config:
    return parse_args(["--encoder_name", "resnet18", "--encoder_weights", "None", *more])


def saved(folder: Path, model: torch.nn.Module) -> Path:
    path = folder / "7_best_model.pth"
    torch.save(best_model_state(model), path)
    return path


def task(*more: str) -> StdCl:
    return StdCl(flags(*more), CLASSES, torch.device("cpu"))


def test_the_named_weights_are_the_start(tmp_path: Path) -> None:
    trained = UnetCoLoCAM("resnet18", 3)
    path = saved(tmp_path, trained)
    for start in (path, tmp_path):
        model = task("--path_pre_trained", str(start)).model
        for part in ("encoder", "classification_head"):
            mine, theirs = getattr(model, part).state_dict(), getattr(trained, part).state_dict()
            assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_strict_refuses_other_classes_and_lenient_keeps_the_new_head(tmp_path: Path) -> None:
    trained = STDClassifier("resnet18", 5)
    path = str(saved(tmp_path, trained))
    with pytest.raises(UserError, match="another shape"):
        task("--path_pre_trained", path)
    model = task("--path_pre_trained", path, "--strict", "False").model
    assert torch.equal(
        model.encoder.state_dict()["conv1.weight"], trained.encoder.state_dict()["conv1.weight"]
    )
    assert model.classification_head.state_dict()["fc.weight"].shape == (3, 512)


def test_nothing_that_fits_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "1_best_model.pth"
    torch.save({"other": {"x": torch.zeros(1)}}, path)
    with pytest.raises(UserError, match="1_best_model"):
        task("--path_pre_trained", str(path), "--strict", "False")
    with pytest.raises(UserError, match="absent"):
        task("--path_pre_trained", str(tmp_path / "absent.pth"), "--strict", "False")


def test_weights_alone_do_not_count_when_others_are_loaded_next(tmp_path: Path) -> None:
    absent = flags("--path_pre_trained", str(tmp_path / "absent.pth"))
    StdCl(absent, CLASSES, torch.device("cpu"), initialize=False)
