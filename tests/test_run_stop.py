"""Runs that are stopped: killed at random, asked to save, or going on with other flags."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.paths import ROOT
from helpers.plain_processes import launch
from helpers.programs import environment, start
from helpers.workplace import Workplace


@pytest.mark.slow
def test_killed_runs_end_with_the_same_bits() -> None:
    """One kill of each task; ``--kills 20`` and all four tasks is the long form. F-CAM resumes by the code
    of the others.
    """
    tasks = ("STD_CL", "CoLo-CAM", "TCAM")
    script = ROOT / "tests" / "stress" / "kill_and_resume.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "1", "--seed", "22", "--tasks", *tasks],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed (") == len(tasks)
    assert done.stdout.count("every bit as without") >= len(tasks)


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int, name: signal.Signals) -> None:
    """Send this process a signal at the ``number``-th update."""
    original, calls = torch.optim.SGD.step, iter(range(1, 1000))

    def step(self: torch.optim.SGD, closure: None = None) -> None:
        if next(calls) == number:
            os.kill(os.getpid(), name)
        return original(self)

    monkeypatch.setattr(torch.optim.SGD, "step", step)


def best_weights(experiment: Path) -> dict[str, bytes]:
    return {str(p.relative_to(experiment)): p.read_bytes() for p in experiment.glob("*/*_best_model.pth")}


def test_asked_to_stop_saves_and_goes_on(
    workplace: Workplace, trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = workplace.flags()
    with monkeypatch.context() as patch:
        stop_at(patch, 2, signal.SIGTERM)
        code, _, error = start(flags)
        assert code == 0
        assert "stopped by SIGTERM: step 2 is saved" in error
        assert queued_again(error)
    experiment = workplace.experiment()
    assert (experiment / "checkpoints" / "2_checkpoint.pth").is_file()
    assert not (experiment / "passed.txt").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 2, signal.SIGUSR1)
        code, out, error = start(flags)
        assert code == 0
        assert "step 4 is saved" in error
        assert "epoch 1, step 2" in out
    code, out, error = start([*flags, "--encoder_name", "resnet18", "--opt__momentum", "0.9"])
    assert code == 0, error
    assert "epoch 2, step 4" in out
    assert best_weights(experiment) == best_weights(trained.experiment())


def test_going_on_with_a_network_that_does_not_fit_is_one_line(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 1, signal.SIGTERM)
    assert start(workplace.flags())[0] == 0
    monkeypatch.undo()
    code, _, error = start(workplace.flags(freeze_encoder=True))
    assert code == 1
    line = error.strip().splitlines()[-1]
    assert "1_checkpoint.pth does not fit the flags of this run" in line
    assert "another --exp_id" in line
    assert "Traceback" not in error
    assert (workplace.experiment() / "checkpoints" / "1_checkpoint.pth").is_file()


def test_refused_flags_do_not_replace_those_that_the_message_names(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 1, signal.SIGTERM)
    assert start(workplace.flags())[0] == 0
    monkeypatch.undo()
    names = ("config.yml", "code/cmd.sh", "environment.yml")
    before = [(workplace.experiment() / name).read_text() for name in names]
    for changes, reason in (
        ({"freeze_encoder": True}, "does not fit the flags of this run"),
        ({"opt__name_optimizer": "adam"}, "opt__name_optimizer was sgd and is adam"),
    ):
        code, _, error = start(workplace.flags(**changes))
        assert code == 1
        assert reason in error.strip().splitlines()[-1]
        assert "config.yml" in error.strip().splitlines()[-1]
        assert "this experiment was started with other flags" in error
        assert [(workplace.experiment() / name).read_text() for name in names] == before
    more = workplace.flags(opt__weight_decay=0.25)
    stop_at(monkeypatch, 1, signal.SIGTERM)
    code, _, error = start(more)
    assert code == 0, error
    assert error.count("--opt__weight_decay 0.25 (was") == 1
    monkeypatch.undo()
    code, _, error = start(more)
    assert code == 0, error
    assert "other flags" not in error  # said once


def test_no_usable_checkpoint_is_one_line(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_at(monkeypatch, 1, signal.SIGTERM)
    assert start(workplace.flags())[0] == 0
    monkeypatch.undo()
    checkpoints = workplace.experiment() / "checkpoints"
    for path in checkpoints.glob("*_checkpoint.pth"):
        path.write_bytes(path.read_bytes()[:-50])
    code, _, error = start(workplace.flags())
    assert code == 1
    line = error.strip().splitlines()[-1]
    assert line.startswith("error: ")
    assert f"checkpoints in {checkpoints} can be used" in line
    assert "Traceback" not in error
    checkpoints.rename(checkpoints.with_name("old"))
    assert start(workplace.flags())[0] == 0


ONE_IS_STOPPED = """
import os, signal, sys
import torch
import dlib.learning.experiment as experiment
from dlib.utils import distributed
from dlib.utils.signals import StopRequest
from main import main

def run(cfg):
    with distributed.process_group("gloo", 2, "", torch.device("cpu")):
        stop = StopRequest(torch.device("cpu"))
        assert not stop.agreed()
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.Signals[sys.argv[1]])
        stop.check()

experiment.run = run
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_signal_of_another_process_is_named(workplace: Workplace, name: str) -> None:
    ended = launch(workplace.folder, ONE_IS_STOPPED, name, *workplace.flags(local_world_size=2))
    assert [end.code for end in ended] == [0, 0], ended
    assert f"stopped by {name}" in ended[0].error
    assert queued_again(ended[0].error)
    assert not queued_again(ended[1].error)  # one process talks


def queued_again(said: str) -> bool:
    """Whether the SLURM script finds in what the program said that it was asked to stop."""
    script = (ROOT / "cmds" / "slurm.sbatch").read_text()
    (pattern,) = re.findall(r"grep -q '([^']+)' \"\$log\"", script)
    found = subprocess.run(["grep", "-q", pattern], input=said, text=True)
    return found.returncode == 0


def test_what_is_no_stop_is_not_queued_again() -> None:
    assert queued_again("epoch 1\nstopped by SIGUSR1: step 3 is saved\n")
    for said in ("error: disk full", "done in 3m07s", "stopped by Ctrl-C", ""):
        assert not queued_again(said)


@pytest.mark.parametrize("name", ["slurm.sbatch", "two_nodes.sh"])
def test_scripts_for_clusters_parse(name: str) -> None:
    done = subprocess.run(["bash", "-n", str(ROOT / "cmds" / name)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_workers_and_batch_of_evaluation_change_nothing(workplace: Workplace, trained: Workplace) -> None:
    """Also: the same seed gives the same bits in another folder."""
    code, _, error = start(workplace.flags(num_workers=1, eval_batch_size=5))
    assert code == 0, error
    ours, theirs = best_weights(workplace.experiment()), best_weights(trained.experiment())
    assert ours == theirs
    for name in ("performance_log_best_localization.txt", "thresholds-best_classification.yaml"):
        assert (workplace.experiment() / name).read_bytes() == (trained.experiment() / name).read_bytes()
