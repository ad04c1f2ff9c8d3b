"""The training loop on a tiny model: losses that are not finite, averages, exact state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dlib.configure.config import Config
from dlib.learning.averaging import WeightAverage
from dlib.learning.trainer import Trainer
from dlib.utils.errors import UserError
from dlib.utils.logging import EventLog
from helpers.fake_training import FakeBatch, FakeTask, Loader, Model, trainer_of
from helpers.logs import events


def test_step_without_a_finite_loss_is_skipped_and_said(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 4, bad={2, 3})
    weights = []
    for _ in trainer.train_epoch(1):
        weights.append(trainer.task.model.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert math.isfinite(trainer.position.means()["loss"])
    assert trainer.position.means()["accuracy"] == 0.5
    said = events(tmp_path, "warning")
    assert [event["step"] for event in said] == [2, 3]
    assert "its loss (term) is not finite" in said[0]["message"]


def test_ten_in_a_row_end_the_run(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 30, bad=set(range(3, 100)))
    seen = []
    with pytest.raises(UserError, match=r"10 steps in a row .*\(term\).*lower --opt__lr"):
        seen.extend(trainer.train_epoch(1))
    assert seen[-1] == 11  # two good steps, nine skipped ones, and the tenth ended it
    again = trainer_of(tmp_path, 30, bad={*range(2, 11), *range(12, 20)})
    assert len(list(again.train_epoch(1))) == 30  # nine and eight in a row do not


def test_ten_in_a_row_are_counted_over_epochs(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 4, bad=set(range(100)))
    for epoch in (1, 2):
        assert len(list(trainer.train_epoch(epoch))) == 4
    with pytest.raises(UserError, match="10 steps in a row"):
        list(trainer.train_epoch(3))
    assert trainer.position.step == 10


@pytest.mark.parametrize("flags", [{}, {"ema_decay": 0.9, "opt__name_optimizer": "adam", "grad_clip": 0.1}])
def test_state_goes_on_exactly(tmp_path: Path, flags: dict[str, Any]) -> None:
    whole = trainer_of(tmp_path, 5, set(), **flags)
    for epoch in (1, 2):
        list(whole.train_epoch(epoch))
    first = trainer_of(tmp_path, 5, set(), **flags)
    steps = first.train_epoch(1)
    for _ in range(3):
        next(steps)
    torch.save(first.state(), tmp_path / "state")
    second = trainer_of(tmp_path, 5, set(), **flags)
    torch.manual_seed(99)
    second.load_state(torch.load(tmp_path / "state", weights_only=True))
    for epoch in (1, 2):
        list(second.train_epoch(epoch))
    assert second.position.step == whole.position.step == 10
    for key, value in whole.task.model.state_dict().items():
        assert torch.equal(second.task.model.state_dict()[key], value)
    if whole.average and second.average:
        ours, theirs = (t.average.state_dict()["average"] for t in (second, whole) if t.average)
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert second.position.means()["loss"] == whole.position.means()["loss"]


def test_another_optimizer_does_not_go_on_from_these_momenta(tmp_path: Path) -> None:
    first = trainer_of(tmp_path, 2, set())
    list(first.train_epoch(1))
    state = first.state()
    adam = trainer_of(tmp_path, 2, set(), opt__name_optimizer="adam")
    with pytest.raises(ValueError, match="opt__name_optimizer was sgd and is adam"):
        adam.load_state(state)
    list(adam.train_epoch(1))
    maximum = trainer_of(tmp_path, 2, set(), opt__name_optimizer="adam", opt__amsgrad=True)
    with pytest.raises(ValueError, match="was adam and is adam with --opt__amsgrad"):
        maximum.load_state(adam.state())


def test_changed_flags_of_the_optimizer_are_used(tmp_path: Path) -> None:
    first = trainer_of(tmp_path, 2, set(), opt__weight_decay=0.1, opt__momentum=0.9)
    list(first.train_epoch(1))
    second = trainer_of(tmp_path, 2, set(), opt__weight_decay=0.3, opt__momentum=0.5, opt__nesterov=True)
    second.load_state(first.state())
    (group,) = second.optimizer.param_groups
    assert (group["weight_decay"], group["momentum"], group["nesterov"]) == (0.3, 0.5, True)
    ours, theirs = (list(t.optimizer.state_dict()["state"].values()) for t in (second, first))
    assert all(
        torch.equal(a["momentum_buffer"], b["momentum_buffer"]) for a, b in zip(ours, theirs, strict=True)
    )
    list(second.train_epoch(2))


class Normalizing(Model):
    """A batch norm that trains, one that is frozen, and a layer."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.norm, self.frozen = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def train(self, mode: bool = True) -> Normalizing:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.frozen(self.norm(x)))


class Overflowing(Loader):
    """The second batch is infinite, the third not a number."""

    def state(self) -> dict[str, Any]:
        return {}

    def go_on(self, state: dict[str, Any] | None, epoch: int, steps: int) -> tuple[int, str]:
        return steps, ""

    def iterate(self, epoch: int, start_step: int = 0) -> Iterator[Any]:
        for step, batch in enumerate(super().iterate(epoch)):
            batch.x = batch.x + torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
            yield FakeBatch(batch.x * {1: math.inf, 2: math.nan}.get(step, 1.0))


def test_skipped_step_leaves_the_statistics_of_batch_norm(tmp_path: Path) -> None:
    cfg = Config.from_values({"opt__lr": 0.1, "max_epochs": 3})
    task = FakeTask(set())
    task.model = Normalizing()
    trainer = Trainer(cfg, task, Overflowing(4), EventLog(None))  # type: ignore[arg-type]
    seen = [
        {name: buffer.clone() for name, buffer in task.model.named_buffers()} for _ in trainer.train_epoch(1)
    ]
    for skipped in (1, 2):
        for name, buffer in seen[skipped].items():
            assert torch.equal(buffer, seen[0][name]), name
    assert seen[3]["norm.num_batches_tracked"] == 2
    assert not torch.equal(seen[3]["norm.running_mean"], seen[0]["norm.running_mean"])
    assert all(torch.isfinite(value).all() for value in task.model.state_dict().values())


def test_average_is_a_running_mean_and_leaves_the_weights(tmp_path: Path) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    average = WeightAverage(model, 0.5)
    nn.init.constant_(model.weight, 1.0)
    average.update(model, torch.tensor(True))  # decay (1+1)/(10+1) = 2/11 < 0.5: 0·2/11 + 1·9/11
    with average.applied_to(model):
        assert model.weight.item() == pytest.approx(9 / 11)
    assert model.weight.item() == 1.0
    before = {name: value.clone() for name, value in average.state_dict()["average"].items()}
    nn.init.constant_(model.weight, 5.0)
    average.update(model, torch.tensor(False))  # a skipped step
    assert all(torch.equal(average.state_dict()["average"][name], value) for name, value in before.items())
    assert average.state_dict()["steps"] == 1


def test_a_skipped_first_step_leaves_no_momentum(tmp_path: Path) -> None:
    """PyTorch's fused SGD makes momenta as uninitialized memory when it is told to skip its first step."""
    trainer = trainer_of(tmp_path, 3, {1}, opt__weight_decay=0.0)
    steps = trainer.train_epoch(1)
    next(steps)
    assert not trainer.optimizer.state_dict()["state"]
    next(steps)
    momenta = [state["momentum_buffer"] for state in trainer.optimizer.state.values()]
    gradients = [parameter.grad for parameter in trainer.task.model.parameters()]
    assert all(torch.equal(*pair) for pair in zip(momenta, gradients, strict=True))


def test_the_numbers_of_a_step_are_read_after_the_next_one_on_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Played on the CPU by a trainer that is not told that it may read at once."""
    trainer = trainer_of(tmp_path, 4, bad={2})
    monkeypatch.setattr("dlib.learning.trainer.host_waits", lambda device: True)
    counted = []
    for step in trainer.train_epoch(1):
        counted.append(trainer.position.skipped_in_row)
        if step == 3:
            trainer.state()  # a checkpoint knows its last step
            counted.append(trainer.position.skipped_in_row)
    assert counted == [0, 0, 1, 0, 0]
    monkeypatch.undo()
    at_once = trainer_of(tmp_path, 4, bad={2})
    list(at_once.train_epoch(1))
    assert trainer.position.means()["loss"] == at_once.position.means()["loss"]


def test_a_checkpoint_is_proven_by_a_step_after_it(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 4, bad={3})
    found = []
    for step in trainer.train_epoch(1):
        found.append(trainer.sound_since_state)
        if step == 2:
            trainer.state()
            assert not trainer.sound_since_state
    assert found == [True, True, False, True]
