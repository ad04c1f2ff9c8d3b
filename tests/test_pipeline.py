"""`colocam run`: the recipe's flags, the stages, what a resumed run skips, and how it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from dlib.configure.config import parse_args
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.pipeline import stages
from dlib.pipeline.__main__ import held_out, main, overlays, parser, preparation, trainings
from dlib.pipeline.recipe import Recipe
from dlib.pipeline.stages import Stage, run_stages, time_left
from dlib.utils.errors import UserError
from helpers.paths import ROOT
from helpers.workplace import DATASET, Workplace


def recipe(folder: Path, *more: str) -> Recipe:
    return Recipe(DATASET, "resnet18", 3, folder / "exps", folder / "pretrained", folder / "cams", more)


def test_the_recipe_is_the_one_that_the_study_measures(tmp_path: Path) -> None:
    study = yaml.safe_load((ROOT / "cmds" / "studies" / "small_data.yaml").read_text())
    made = recipe(tmp_path)
    classifier, colocam = parse_args(made.classifier()), parse_args(made.colocam())
    assert (classifier.task, colocam.task) == (STD_CL, COLOCAM)
    wanted = [
        (classifier, {**study["classifier"]}),
        (colocam, {**study["base"], **study["variants"]["recipe"]}),
    ]
    unused = {"encoder_name", *(name for name in study["base"] if name.startswith("sl_clc"))}
    for cfg, flags in wanted:
        given = {name: getattr(cfg, name) for name in flags if name not in unused}
        assert given == {name: value for name, value in flags.items() if name not in unused}
    assert not colocam.sl_clc


def test_flags_after_two_dashes_win(tmp_path: Path) -> None:
    cfg = parse_args(recipe(tmp_path, "--batch_size", "3").colocam())
    assert cfg.batch_size == 3


def test_colocam_finds_the_promoted_classifier_wherever_weights_of_imagenet_lie(tmp_path: Path) -> None:
    made = recipe(tmp_path, "--pretrained_root", "weights")
    assert parse_args(made.classifier()).pretrained_root == "weights"
    assert parse_args(made.colocam()).pretrained_root == str(made.pretrained)


def stage(title: str, *words: str, **more) -> Stage:
    return Stage(title, words, **more)


def test_stages_print_their_command_and_finished_ones_are_skipped(capfd: pytest.CaptureFixture[str]) -> None:
    run_stages([stage("one", "status", "--help"), stage("two", "gain", "EXP", done=lambda: True)])
    out = capfd.readouterr().out
    assert "[1/2] one\n  colocam status --help\n" in out
    assert "List experiments." in out
    assert "[2/2] two: done before" in out


def test_a_failed_stage_ends_the_run_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="two: failed, see the lines above"):
        run_stages([stage("two", "status", "--exps_root", str(tmp_path / "no")), stage("three", "status")])
    out, error = capfd.readouterr()
    assert "three" not in out
    assert error.startswith("error: --exps_root")
    with pytest.raises(UserError, match="stopped before its end; the same command resumes"):
        run_stages([stage("train", "status", "--help", experiment=tmp_path)])


def test_ctrl_c_asks_the_running_command_to_stop_and_waits_for_it(tmp_path: Path) -> None:
    code = f"""
import sys
from dlib.pipeline import stages
sys.executable = {str(tmp_path / "slow.sh")!r}
from dlib.commands import AGAIN, command
sys.exit(command(AGAIN)(lambda words: stages.run_stages([stages.Stage("slow", ("x",))]))([]))
"""
    script = tmp_path / "slow.sh"
    script.write_text(
        "#!/bin/sh\ntrap 'sleep 0.3; echo saved; exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n"
    )
    script.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        pass
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "saved\n")
    assert error == "stopped by Ctrl-C; what is finished is saved, and the same command continues\n"


def test_held_out_shots_come_from_each_class_in_turn(workplace: Workplace) -> None:
    cfg = parse_args(workplace.flags())
    shots = held_out(cfg, 4)
    tests = (workplace.folds / DATASET / "test" / "image_ids.txt").read_text().split()
    folders = {str(workplace.datasets / DATASET / Path(name).parent) for name in tests}
    assert set(shots) <= folders
    assert len({Path(shot).relative_to(workplace.datasets / DATASET).parts[0] for shot in shots[:3]}) == 3
    assert held_out(cfg, 0) == []


def test_the_plan_of_a_folder_of_videos(tmp_path: Path, trained: Workplace) -> None:
    (tmp_path / "videos").mkdir()
    args = parser().read([str(tmp_path / "videos"), "--out", str(tmp_path / "found"), "--clips", "a.mp4"])
    assert [s.words[0] for s in preparation(args)] == ["import", "inspect"]
    made = recipe(tmp_path)
    stages = trainings(made)
    assert [s.words[0] for s in stages] == ["train", "promote", "train", "gain"]
    assert not any(s.done() for s in stages)
    (drawn,) = overlays(args, parse_args(made.colocam()), tmp_path / "exp")
    assert drawn.words[:5] == ("localize", "--fd_exp", str(tmp_path / "exp"), "--input", "a.mp4")
    out = Path(drawn.words[-1])
    assert not drawn.done()
    out.mkdir(parents=True)
    (out / "boxes.json").write_text('{"frames": [')  # cut off
    assert not drawn.done()
    (out / "boxes.json").write_text('{"frames": []}')
    assert drawn.done()


def test_shots_of_the_dataset_are_drawn_as_videos(tmp_path: Path, workplace: Workplace) -> None:
    args = parser().read(["--dataset", DATASET, "--out", str(tmp_path), "--overlays", "1"])
    cfg = parse_args([*workplace.flags(), "--box_frames", "7"])
    (shot,) = overlays(args, cfg, tmp_path / "exp")
    assert shot.words[5:7] == ("--box_frames", "7")
    args.clips = ["a.mp4"]  # localization sees that a clip is a video
    (clip,) = overlays(args, cfg, tmp_path / "exp")
    assert "--box_frames" not in clip.words


def test_the_end_of_the_last_training_is_said_once(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "_SAID_EVERY", 0.001)
    stages._say_time_left(stage("train", experiment=trained.experiment()), threading.Event())
    assert capsys.readouterr().out == "trained; the test of the best weights is left\n"


def test_time_left_counts_the_second_training(trained: Workplace, tmp_path: Path) -> None:
    assert time_left(tmp_path, 0.7) is None
    assert time_left(trained.experiment(), 0.0) == 0.0
    more = time_left(trained.experiment(), 0.5)
    assert more is not None
    assert more > 0


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--out", "x"], 2, "give a folder of videos, or --dataset"),
        (["none", "--out", "x"], 1, "none: no such folder"),
        ([".", "--out", "x", "--clips", "none.mp4"], 1, "--clips none.mp4: no such file"),
        ([".", "--out", "x", "--", "--lr", "1"], 2, "unknown flag --lr; did you mean --opt__lr?"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert line in error
