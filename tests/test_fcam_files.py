"""Files of TCAM and F-CAM: localized, exported, measured; F-CAM's folders as its authors' program leaves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import dlib.export
import main
from dlib.configure.constants import COLOCAM, F_CL, STD_CL, TCAM
from dlib.localizer import Localizer
from dlib.models import UnetFCAM, UnetTCAM, load_best_model, load_saved_model
from dlib.utils.errors import UserError
from helpers.clips import scene
from helpers.saved_experiment import CLASSES, save_experiment
from helpers.small_datasets import write_dataset


@pytest.mark.parametrize(("task", "kind"), [(TCAM, UnetTCAM), (F_CL, UnetFCAM)])
def test_every_command_reads_what_it_reads_of_colocam(task: str, kind: type, tmp_path: Path, capsys) -> None:
    """The same weights under both names give the same maps and numbers."""
    folders = [save_experiment(tmp_path, name) for name in (COLOCAM, task)]
    (weights,) = folders[1].glob("*-cp_*")
    assert type(load_saved_model(weights)) is kind
    image = scene(0, 48, 36)
    (theirs,), (ours,) = (Localizer(folder, tau=0.4).localize(image) for folder in folders)
    assert (ours.label, ours.score, ours.box) == (theirs.label, theirs.score, theirs.box)
    assert (ours.map == theirs.map).all()
    flags, found, outputs = write_dataset(tmp_path, CLASSES), [], []
    for folder in folders:
        assert main.main([*flags, "--fd_exp", str(folder)]) == 0, capsys.readouterr().err
        found.append(json.loads((folder / "eval_other_test_best_localization.json").read_text()))
        exported = folder / "model.pt"
        words = ["--fd_exp", str(folder), "--format", "torchscript", "--out", str(exported)]
        assert dlib.export.main(words) == 0, capsys.readouterr().err
        outputs.append(torch.jit.load(exported)(torch.linspace(0, 1, 3 * 32 * 32).view(1, 3, 32, 32)))
    assert found[0]["curves"] == found[1]["curves"]
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))


@pytest.fixture
def fcam_folder(tmp_path: Path) -> tuple[Path, dict[str, dict[str, torch.Tensor]]]:
    """A folder with encoder.pt, decoder.pt and segmentation_head.pt, and the weights of all four parts."""
    (weights,) = save_experiment(tmp_path, F_CL).glob("*-cp_*")
    state = torch.load(weights / "7_best_model.pth", weights_only=True)
    folder = tmp_path / "theirs" / "tiny-resnet18-LayerCAM-WGAP-cp_best-boxv2_False"
    folder.mkdir(parents=True)
    for part in ("encoder", "decoder", "segmentation_head"):
        torch.save(state[part], folder / f"{part}.pt")
    return folder, state


def test_the_head_comes_from_the_promoted_classifier(fcam_folder, tmp_path: Path) -> None:
    folder, state = fcam_folder
    promoted = tmp_path / "pretrained" / folder.name
    promoted.mkdir(parents=True)
    torch.save(
        {"encoder": {}, "classification_head": state["classification_head"]}, promoted / "3_best_model.pth"
    )
    model = UnetFCAM("resnet18", 3)
    load_best_model(model, folder, promoted=tmp_path / "pretrained")
    for part, values in state.items():
        own = model.get_submodule(part).state_dict()
        assert all(torch.equal(own[name], value) for name, value in values.items()), part
    flags = [*write_dataset(tmp_path, CLASSES), "--fd_exp", str(folder), "--task", F_CL, "--sl_fc", "True"]
    flags += ["--crop_size", "32", "--encoder_name", "resnet18", "--pretrained_root", str(promoted.parent)]
    assert main.main(flags) == 0
    assert (folder / "eval_other_test_best_localization.json").is_file()


def test_without_that_classifier_one_line_says_what_to_copy(fcam_folder, tmp_path: Path) -> None:
    folder, _ = fcam_folder
    model = UnetFCAM("resnet18", 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for promoted in (tmp_path / "nowhere", folder.parent):  # the second is the folder itself
        with pytest.raises(UserError) as caught:
            load_best_model(model, folder, promoted=promoted)
        assert f"{folder / 'classification_head.pt'} is missing" in str(caught.value)
        assert f"copy that folder to {promoted / folder.name}" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_classifier_without_its_head_is_still_refused(tmp_path: Path) -> None:
    (weights,) = save_experiment(tmp_path, STD_CL).glob("*-cp_*")
    state = torch.load(weights / "7_best_model.pth", weights_only=True)
    shutil.rmtree(weights)
    weights.mkdir()
    torch.save(state["encoder"], weights / "encoder.pt")
    with pytest.raises(UserError, match=r"classification_head\.pt is missing; copy it from the folder"):
        load_best_model(UnetFCAM("resnet18", 3), weights, ("encoder", "classification_head"))
