"""A new task, encoder, head, CAM method or loss term is its class and one entry, from the flags to the report."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from dlib.cams import CamExtractor
from dlib.configure.config import parse_args
from dlib.configure.constants import ENCODERS, METHODS, POOLINGS
from dlib.encoders import Encoder
from dlib.poolings import Head
from helpers.forks import Forks
from helpers.logs import events
from helpers.workplace import DATASET, Workplace

pytestmark = pytest.mark.slow  # all of them: else the forks below are started in both processes of the tests
TOY = {"encoder_name": "toy", "method": "ToyCAM", "max_epochs": 2}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes of their own: flags are made from the tables when they are imported."""
    with Forks("helpers.toy_entries") as started:
        yield started


@pytest.fixture
def run(forks: Forks) -> Callable[..., str]:
    def call(*flags: str, command: str = "train") -> str:
        code, out, error = forks(command, *flags)
        assert code == 0, error
        return out

    return call


def experiment(place: Workplace, task: str) -> Path:
    (folder,) = (place.folder / "exps" / DATASET / "toy" / task / "ToyCAM").iterdir()
    return folder


def test_help_knows_the_new_names(run: Callable[..., str]) -> None:
    words = run("--help").split()
    for name in ("toy", "ToyHead", "ToyCAM", "--toy_clc", "--toy_clc_lambda", "--toy_clc_end_ep"):
        assert name in {word.strip(",;") for word in words}, name
    assert "--toy_clc_start_ep" not in words


def test_new_parts_train_and_localize(workplace: Workplace, run: Callable[..., str]) -> None:
    run(*workplace.flags(**TOY))
    classifier = experiment(workplace, "STD_CL")
    rates = events(classifier, "epoch")[0]["lr"]
    assert rates == pytest.approx(
        [0.001, 0.01]
    )  # the encoder's `first` at the base rate, the rest ten times faster
    for folder in classifier.glob(f"{DATASET}-toy-ToyCAM-ToyHead-cp_*"):
        shutil.copytree(folder, workplace.folder / "pretrained" / folder.name)

    more = {"toy_clc": True, "toy_clc_end_ep": 1, "sizefg_tmp_clc_eps": 2.0, "sl_clc": True}
    run(*workplace.flags("CoLo-CAM", freeze_cl=True, **TOY, **more))
    trained = experiment(workplace, "CoLo-CAM")
    first, second = ([s for s in events(trained, "step") if s["epoch"] == epoch] for epoch in (1, 2))
    for step in first:
        assert 2 < step["raw"]["toy_clc"] < 3  # a mean of probabilities, and eps
        assert step["terms"]["toy_clc"] == pytest.approx(0.5 * step["raw"]["toy_clc"])
    assert first
    assert second
    assert all("toy_clc" not in step["terms"] for step in second)
    (weights,) = trained.glob("*cp_best_localization*")
    settings = yaml.safe_load((weights / "config_model.yaml").read_text())
    assert (settings["encoder_name"], settings["spatial_pooling"]) == ("toy", "ToyHead")
    (file,) = weights.glob("*_best_model.pth")
    assert "second.0.weight" in torch.load(file, weights_only=True)["encoder"]


def test_a_new_task_trains_resumes_and_serves_every_command(
    workplace: Workplace, tmp_path: Path, run: Callable[..., str]
) -> None:
    """One epoch, then the second as a resumed run; then measured, localized, exported, compared and reported."""
    from helpers.clips import write_clip

    flags = {**TOY, "method": "LayerCAM", "report": True, "vizu_n": 2, "opt__lr": 0.01}
    run(*workplace.flags("Toy", **{**flags, "max_epochs": 1}))
    (folder,) = (workplace.folder / "exps" / DATASET / "toy" / "Toy" / "LayerCAM").iterdir()
    (folder / "passed.txt").unlink()
    run(*workplace.flags("Toy", **flags))
    assert [e["at_step"] for e in events(folder, "resume")] == [3]
    assert [e["epoch"] for e in events(folder, "validation")] == [0, 1, 2]
    assert all(e["diagnostics"]["shots"] == 12 for e in events(folder, "epoch"))
    results = json.loads((folder / "results.json").read_text())
    assert results["classifier_test"]["headline"] is not None
    report = (folder / "report.html").read_text()
    assert "Toy" in report
    run("--eval_only", "True", "--fd_exp", str(folder), "--split", "test", "--device", "cpu")
    (measured,) = folder.glob("eval_*.json")
    headline = results["test"]["best_localization"]["headline"]
    assert json.loads(measured.read_text())["headline"] == pytest.approx(headline)
    write_clip(tmp_path / "clip.mp4", 3)
    run(
        "--fd_exp",
        str(folder),
        "--input",
        str(tmp_path / "clip.mp4"),
        "--out",
        str(tmp_path / "found"),
        command="localize",
    )
    assert any((tmp_path / "found").glob("*.json"))
    exported = tmp_path / "model.pt"
    run("--fd_exp", str(folder), "--format", "torchscript", "--out", str(exported), command="export")
    logits, maps = torch.jit.load(exported)(torch.zeros(1, 3, 32, 32))
    assert (logits.shape, maps.shape) == ((1, 3), (1, 32, 32))
    assert "\nt  " in run(
        str(folder), "--out", str(tmp_path / "compare.html"), command="compare"
    )  # its exp_id


def load(path: str) -> type:
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def test_every_entry_names_a_class_of_its_kind() -> None:
    assert all(issubclass(load(path), Encoder) for path in ENCODERS.values())
    assert all(issubclass(load(path), Head) for path in POOLINGS.values())
    assert all(issubclass(load(method.extractor), CamExtractor) for method in METHODS.values())
    assert {method.pooling for method in METHODS.values()} == set(POOLINGS)


def test_options_of_the_head_are_those_flags_alone() -> None:
    words = "--method WILDCAT --support_background False --wc_modalities 4 --wc_dropout 0.25 --lse_r 3"
    options = parse_args(words.split()).head_options()
    assert vars(options) == {
        "spatial_pooling": "WildCatCLHead",
        "support_background": False,
        "wc_modalities": 4,
        "wc_kmax": 0.5,
        "wc_kmin": 0.1,
        "wc_alpha": 0.6,
        "wc_dropout": 0.25,
        "lse_r": 3.0,
    }
