"""Whole runs on a CUDA card; skipped elsewhere. What the device computes is compared by ``dlib.selfcheck``."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from dlib.selfcheck.agreement import run_checks
from dlib.selfcheck.setting import Size, batch_for, trainer_for
from dlib.selfcheck.speed import waits_of_a_step
from dlib.utils.reproducibility import use_deterministic_algorithms
from helpers.programs import promote, start
from helpers.workplace import Workplace, colocam_flags

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")
CUDA = torch.device("cuda", 0)


def test_the_card_agrees_with_the_cpu() -> None:
    checks = list(run_checks(CUDA))
    assert [f"{check.name}: {check.found} {check.note}" for check in checks if not check.passed] == []


@pytest.mark.parametrize("name", ["STD_CL", "CoLo-CAM"])
def test_a_step_does_not_wait(name: str) -> None:
    assert waits_of_a_step(CUDA, name) == 0


def test_a_first_step_that_is_skipped_spoils_nothing() -> None:
    """float16 gradients overflow in the first steps, until the scaler has found its scale."""
    trainer = trainer_for("STD_CL", CUDA, Size("resnet18", 8, 64, steps=12), "--amp True")
    trainer.scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    junk = [torch.full((2**20,), float("nan"), device=CUDA) for _ in range(64)]
    del junk
    list(trainer.train_epoch(1))
    trainer.check_finite()
    assert trainer.position.means()["loss"] < 10


@pytest.mark.parametrize("amp", ["", "--amp True"])
def test_replayed_steps_are_the_same_steps(amp: str) -> None:
    """Bit by bit, over two different batches, and with temperatures that change with the epoch."""
    flags = (
        f"{amp} --deterministic True --sl_clc_knn_t 5 --sl_clc_min_t 1 --sl_clc_seed_epoch_switch_uniform 4"
    )
    weights = []
    use_deterministic_algorithms(True)
    try:
        for graphs in ("True", "False"):
            size = Size("resnet18", 8, 64, steps=6)
            trainer = trainer_for("CoLo-CAM", CUDA, size, f"{flags} --cuda_graphs {graphs}")
            for epoch in (1, 2):
                list(trainer.train_epoch(epoch))
            weights.append([value.cpu() for value in trainer.task.model.state_dict().values()])
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_seconds_are_the_cards() -> None:
    trainer = trainer_for("CoLo-CAM", CUDA, Size("resnet18", 8, 64, steps=6))
    list(trainer.train_epoch(1))
    means = trainer.position.means()
    assert {"network", "crf", "seeds", "data", "other"} <= set(means["seconds"])
    assert sum(means["seconds"].values()) == pytest.approx(means["elapsed"], rel=0.5)


@pytest.fixture
def promoted(workplace: Workplace) -> Workplace:
    code, _, error = start(workplace.flags(device="cuda", amp=True))
    assert code == 0, error
    promote(workplace)
    return workplace


def test_both_tasks_train(promoted: Workplace) -> None:
    flags = {**colocam_flags(), "device": "cuda", "amp": True, "deterministic": True}
    code, _, error = start(promoted.flags("CoLo-CAM", **flags))
    assert code == 0, error
    results = json.loads((promoted.experiment("CoLo-CAM") / "results.json").read_text())
    assert results["test"]["best_localization"]


def test_a_batch_of_the_loader_is_the_same_on_the_card() -> None:
    trainer = trainer_for("CoLo-CAM", CUDA, Size("resnet18", 4, 64, steps=1))
    batch: Any = batch_for(trainer.task, 4, 64)
    there = batch.pin_memory().to(CUDA)
    assert there.regions.masks.device.type == "cuda"
    assert torch.equal(there.frames.cpu(), batch.frames)
