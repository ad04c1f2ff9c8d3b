"""A new encoder, head, CAM method and loss term need their class and one entry, from the flags to the saved model."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import DATASET, ROOT, Workplace, environment

from dlib.cams import CamExtractor
from dlib.configure.config import parse_args
from dlib.configure.constants import ENCODERS, METHODS, POOLINGS
from dlib.encoders import Encoder
from dlib.poolings import Head

# A process of its own: flags are made from the tables when they are imported.
_PROGRAM = "import sys, toy_entries; from main import main; sys.exit(main())"
TOY = {"encoder_name": "toy", "method": "ToyCAM", "max_epochs": 2}


def run(*flags: str) -> str:
    paths = f"{ROOT}:{ROOT / 'tests'}"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *flags],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(PYTHONPATH=paths),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def experiment(place: Workplace, task: str) -> Path:
    (folder,) = (place.folder / "exps" / DATASET / "toy" / task / "ToyCAM").iterdir()
    return folder


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["event"] == kind]


def test_help_knows_the_new_names() -> None:
    words = run("--help").split()
    for name in ("toy", "ToyHead", "ToyCAM", "--toy_clc", "--toy_clc_lambda", "--toy_clc_end_ep"):
        assert name in {word.strip(",;") for word in words}, name
    assert "--toy_clc_start_ep" not in words


def test_new_parts_train_and_localize(workplace: Workplace) -> None:
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
