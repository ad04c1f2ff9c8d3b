"""Networks that diverge: what is skipped, what is kept, and where the same command goes on from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlib.learning.checkpoints import CheckpointFolder
from dlib.learning.norm_statistics import NormStatistics
from dlib.losses.base import LossInputs
from dlib.losses.colocam import RgbJointConRanField
from dlib.models import MapMaker
from dlib.models.weights import read_weights
from dlib.tasks import StepResult
from dlib.tasks.std_cl import StdCl
from dlib.utils.errors import Diverged, UserError
from dlib.utils.tensors import load_tensors, not_finite, save_tensors
from helpers.fake_training import trainer_of
from helpers.logs import events
from helpers.programs import start
from helpers.workplace import Workplace


def state_at(step: int, weight: float = 1.0, best: int = 0) -> dict[str, Any]:
    return {
        "model": {"w": torch.full((3,), weight)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []},
        "average": {},
        "position": {"step": step},
        "best": {"best_localization": {"step": best}},
    }


def filled(tmp_path: Path, keep: int) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep, "exp")
    save_tensors(tmp_path / "best.pth", {"w": torch.ones(1)})
    folder.keep_best(tmp_path / "best.pth", "best_localization", 0)
    return folder


def names(tmp_path: Path, kind: str = "checkpoint") -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints").glob(f"*_{kind}.pth"))


def test_a_sound_checkpoint_stays_until_a_newer_one_is_proven(tmp_path: Path) -> None:
    folder = filled(tmp_path, keep=1)
    folder.save(10, state_at(10))
    folder.prove()
    for step in (20, 30):
        folder.save(step, state_at(step))
        assert names(tmp_path) == ["10_checkpoint.pth", f"{step}_checkpoint.pth"]
    assert folder.set_aside_unproven() == tmp_path / "checkpoints" / "10_checkpoint.pth"
    assert names(tmp_path) == ["10_checkpoint.pth"]
    assert names(tmp_path, "diverged") == ["30_diverged.pth"]
    again = CheckpointFolder(tmp_path / "checkpoints", 1, "exp")
    found = again.newest()
    assert found is not None
    assert found[1]["position"]["step"] == 10
    again.save(20, state_at(20))
    again.prove()
    assert names(tmp_path) == ["20_checkpoint.pth"]


def test_the_only_checkpoint_is_never_set_aside(tmp_path: Path) -> None:
    folder = filled(tmp_path, keep=2)
    assert folder.set_aside_unproven() is None
    folder.save(0, state_at(0))
    assert folder.set_aside_unproven() == tmp_path / "checkpoints" / "0_checkpoint.pth"
    assert names(tmp_path) == ["0_checkpoint.pth"]


def test_best_weights_of_a_checkpoint_still_to_come_stay(tmp_path: Path) -> None:
    folder = filled(tmp_path, keep=1)
    folder.save(10, state_at(10))
    folder.keep_best(tmp_path / "best.pth", "best_localization", 20)
    folder.prove()
    assert folder.best_weights("best_localization", 20).exists()
    folder.save(20, state_at(20, best=20))
    folder.prove()
    assert names(tmp_path, "best_localization") == ["20_best_localization.pth"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_loaded(
    tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    folder = filled(tmp_path, keep=3)
    folder.save(10, state_at(10))
    folder.save(20, state_at(20, value))  # as an earlier version would have
    found = folder.newest()
    assert found is not None
    assert found[1]["position"]["step"] == 10
    assert "its model.w is not finite" in caplog.text
    path = tmp_path / "1_best_model.pth"
    save_tensors(path, {"encoder": {"conv.weight": torch.tensor([1.0, value])}})
    with pytest.raises(UserError, match=r"1_best_model\.pth: encoder\.conv\.weight is not finite"):
        read_weights(path)


def test_not_finite_names_the_first_place() -> None:
    good = {"a": torch.ones(2), "n": torch.tensor([1, 2]), "empty": torch.zeros(0), "x": 1}
    assert not_finite(good) is None
    assert not_finite({}) is None
    assert not_finite({**good, "b": [good, {"c": torch.tensor([0.0, -torch.inf])}]}) == "b.1.c"
    assert not_finite(torch.tensor(torch.nan)) == "it"
    assert not_finite(torch.tensor([1e38, 3e38])) is None  # their sum would not be


class Overflow(torch.autograd.Function):
    """A finite value whose gradient is not."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0] * torch.inf


@pytest.mark.parametrize("flags", [{}, {"grad_clip": 1.0, "ema_decay": 0.9}])
def test_gradients_that_are_not_finite_skip_the_step(tmp_path: Path, flags: dict[str, Any]) -> None:
    trainer = trainer_of(tmp_path, 3, set(), **flags)
    task, plain = trainer.task, trainer.task.training_step

    def step(*args: Any) -> StepResult:
        result = plain(*args)
        if task.calls == 2:
            result.loss = Overflow.apply(result.loss)
        return result

    task.training_step = step  # type: ignore[method-assign]
    weights = []
    for _ in trainer.train_epoch(1):
        weights.append(task.model.weight.detach().clone())
        assert trainer.position.skipped_in_row == (len(weights) == 2)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert [e["message"] for e in events(tmp_path, "warning")] == [
        "step 2 is skipped: its gradients are not finite"
    ]
    trainer.check_finite()


def test_statistics_that_are_not_finite_skip_the_step(tmp_path: Path) -> None:
    """A variance beyond float32 makes batch norm give 0: loss and gradients are finite."""
    trainer = trainer_of(tmp_path, 2, set())
    norm = nn.BatchNorm1d(3)
    trainer.task.model.add_module("norm", norm)
    plain = trainer.task.training_step

    def step(*args: Any) -> StepResult:
        norm(torch.tensor([[1e30], [-1e30]]).expand(2, 3) if trainer.task.calls else torch.ones(2, 3))
        return plain(*args)

    trainer.task.training_step = step  # type: ignore[method-assign]
    list(trainer.train_epoch(1))
    assert trainer.position.skipped_in_row == 1
    assert norm.running_var.isfinite().all()
    assert norm.num_batches_tracked == 1
    assert "batch norm statistics are not finite" in (tmp_path / "log.jsonl").read_text()
    assert NormStatistics(nn.Linear(1, 1)).finite(torch.device("cpu"))


def test_a_scaler_that_only_looks_for_its_scale_does_not_count(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 20, set())
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=True)
    plain = trainer.task.training_step

    def step(*args: Any) -> StepResult:
        result = plain(*args)
        result.loss = Overflow.apply(result.loss)
        return result

    trainer.task.training_step = step  # type: ignore[method-assign]
    with pytest.raises(Diverged, match="gradients"):
        list(trainer.train_epoch(1))
    assert trainer.position.step == 13  # 8, 4, 2, 1 are scales to try; then ten steps are too many
    assert not trainer.sound_since_state  # no step has proven the last checkpoint


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 1, set())
    list(trainer.train_epoch(1))
    trainer.check_finite()
    with torch.no_grad():
        trainer.task.model.weight[0, 0] = torch.inf
    with pytest.raises(Diverged, match=r"network\.weight is not finite after step 1: lower --opt__lr"):
        trainer.check_finite()


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize("size", [1e20, 1e38])
def test_network_values_beyond_the_filters_are_a_loss_of_nan(backend: Any, size: float) -> None:
    maps = torch.randn(2, 2, 4, 4, requires_grad=True)
    inputs = LossInputs(
        map_logits=maps,
        probabilities=maps.softmax(dim=1),
        images=torch.rand(2, 3, 4, 4) * 255,
        sequence=torch.zeros(2, dtype=torch.int64),
        order=torch.arange(2),
        deep_features=torch.randn(2, 4, 4, 4) * size,
    )
    term = RgbJointConRanField(input_data="deep_features", backend=backend)
    value, _ = term(inputs)
    assert value.isnan()
    value.backward()  # hangs on the graph
    with pytest.raises(ValueError, match="sigma"):
        RgbJointConRanField(sigma_rgb=1e-9, backend=backend)(inputs)  # a user's mistake stays an error


def test_a_diverged_run_is_repaired_by_a_lower_rate(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epoch 2 blows up. After the checkpoint at the end of epoch 1 no step is sound: it may be to blame."""
    whole = StdCl.training_step

    def step(self: StdCl, batch: Any, epoch: int, *more: Any) -> StepResult:
        if epoch == 2 and self.cfg.opt__lr > 0.01:
            with torch.no_grad():  # what a rate that is far too high does; batch norm hides it from the maps
                self.model.encoder.conv1.weight.mul_(1e30)
        return whole(self, batch, epoch, *more)

    monkeypatch.setattr(StdCl, "training_step", step)
    flags = {"max_epochs": 6, "keep_last_n_checkpoints": 1, "checkpoint_save": 1}
    code, _, error = start(workplace.flags(opt__lr=0.02, **flags))
    assert code == 1
    line = error.strip().splitlines()[-1]
    found = re.search(r"lower --opt__lr.*the same command then resumes from (\S+)", line)
    assert found, line
    kept = Path(found.group(1))
    assert kept.name == "2_checkpoint.pth"
    assert [path.name for path in kept.parent.glob("*_diverged.pth")] != []
    assert not_finite(load_tensors(kept)) is None
    assert "Traceback" not in error
    code, out, error = start(workplace.flags(opt__lr=0.001, **flags))
    assert code == 0, error
    assert f"resuming from {kept}: epoch 1, step 2" in out
    assert (workplace.experiment() / "passed.txt").exists()


def test_maps_that_are_not_finite_are_not_evaluated_in_silence(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = MapMaker.readout

    def broken(self: MapMaker, *batch: Any) -> Any:
        found = read(self, *batch)
        return found._replace(logits=found.logits * torch.nan)

    monkeypatch.setattr(MapMaker, "readout", broken)
    code, _, error = start(workplace.flags(max_epochs=1))
    assert code == 1
    assert "validation: the network's maps or scores are not finite" in error.strip().splitlines()[-1]
