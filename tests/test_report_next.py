"""What the report says to do next: every command is one that its program understands."""

from __future__ import annotations

import importlib
import json
import shlex
from pathlib import Path

import pytest

from dlib.configure.config import parse_args
from dlib.visualization.next_steps import Step, next_steps
from dlib.visualization.records import read_experiment
from helpers.paths import ROOT
from helpers.report_experiment import build_experiment


def steps_of(folder: Path, **results: object) -> list[Step]:
    path = folder / "results.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **results}))
    return next_steps(read_experiment(folder), "python main.py --task CoLo-CAM")


@pytest.mark.parametrize("task", ["STD_CL", "CoLo-CAM"])
def test_commands_are_understood(tmp_path: Path, task: str) -> None:
    folder = build_experiment(tmp_path / "it's my run", epochs=1, pictures=False)
    commands = [shlex.split(step.command) for step in steps_of(folder, task=task) if step.command]
    modules = set()
    for words in commands:
        assert str(folder) in words or "cmds/colocam.sh" in words
        if words[0] == "bash":
            assert (ROOT / words[1]).is_file()
            if words[1] == "cmds/colocam.sh":
                assert parse_args(["--encoder_name", words[2], "--dataset", words[3], *words[4:]])
            continue
        assert words[:2] == ["python", "-m"]
        importlib.import_module(words[2]).parser().read(words[3:])  # raises for a wrong flag
        modules.add(words[2])
    assert {"dlib.localize", "dlib.figure"} <= modules
    assert ("dlib.study.gain" in modules) == (task == "CoLo-CAM")


def test_a_running_experiment_is_resumed(tmp_path: Path) -> None:
    experiment = read_experiment(build_experiment(tmp_path / "a", epochs=5, done=1))
    (step,) = next_steps(experiment, "python main.py --x 1")
    assert step.command == "python main.py --x 1"


def test_bad_numbers_are_named(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, pictures=False)
    classifier = json.loads((folder / "results.json").read_text())["classifier_test"]
    worse, better = ({**classifier, "headline": value} for value in (99.0, 1.0))
    assert "worse than the classifier" in steps_of(folder, classifier_test=worse)[0].text
    assert "worse" not in steps_of(folder, classifier_test=better)[0].text
    assert "Only" not in steps_of(folder, task="STD_CL")[0].text
    report = {**json.loads((folder / "results.json").read_text())["test"]["best_localization"]}
    poor = {"best_localization": {**report, "classification": 41.0}, "best_classification": report}
    assert steps_of(folder, task="STD_CL", test=poor)[0].text.startswith("Only 41 %")


def test_places_that_are_not_the_usual_ones_are_named(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, pictures=False)
    with (folder / "config.yml").open("a") as file:
        file.write("pretrained_root: elsewhere\ndata_root: my data\nexps_root: exps\n")
    commands = [step.command for step in steps_of(folder, task="STD_CL")]
    assert f"bash cmds/promote.sh {shlex.quote(str(folder))} elsewhere" in commands
    (train,) = (shlex.split(c) for c in commands if "colocam.sh" in c)
    assert train[4:] == ["--data_root", "my data", "--pretrained_root", "elsewhere"]
