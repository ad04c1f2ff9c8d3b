"""Runs that are stopped: killed at random, asked to save, or going on with other flags."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Workplace, environment, start


def test_killed_runs_end_with_the_same_bits() -> None:
    """One kill of each task; ``--kills 20`` is the long form."""
    script = ROOT / "tests" / "stress" / "kill_and_resume.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "1", "--seed", "3"],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("killed (") == 2
    assert done.stdout.count("every bit as without") >= 2


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


def test_workers_and_batch_of_evaluation_change_nothing(workplace: Workplace, trained: Workplace) -> None:
    """Also: the same seed gives the same bits in another folder."""
    code, _, error = start(workplace.flags(num_workers=1, eval_batch_size=5))
    assert code == 0, error
    ours, theirs = best_weights(workplace.experiment()), best_weights(trained.experiment())
    assert ours == theirs
    for name in ("performance_log_best_localization.txt", "thresholds-best_classification.yaml"):
        assert (workplace.experiment() / name).read_bytes() == (trained.experiment() / name).read_bytes()
