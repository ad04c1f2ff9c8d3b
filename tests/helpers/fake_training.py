"""A trainer of a tiny model on made-up batches, whose losses can be made not finite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from dlib.configure.config import Config
from dlib.learning.trainer import Trainer
from dlib.tasks import StepResult
from dlib.utils.logging import EventLog


class Model(nn.Linear):
    def check_frozen(self) -> None:
        pass


class Loader:
    """Batches of four samples whose values depend on epoch and step alone."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        pass

    def state(self) -> dict[str, Any]:
        return {}

    def go_on(self, state: dict[str, Any] | None, epoch: int, steps: int) -> tuple[int, str]:
        return steps, ""

    def iterate(self, epoch: int, start_step: int = 0) -> Iterator[Any]:
        for step in range(start_step, self.steps):
            yield FakeBatch(torch.full((4, 3), 0.1 * epoch + 0.01 * step))


class FakeBatch:
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def to(self, device: torch.device) -> FakeBatch:
        return self

    def __len__(self) -> int:
        return len(self.x)


class FakeTask(SimpleNamespace):
    def __init__(self, bad_steps: set[int]) -> None:
        torch.manual_seed(0)
        super().__init__(model=Model(3, 2), device=torch.device("cpu"), bfloat16=None, bad=bad_steps, calls=0)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": 0.1}]

    def start_epoch(self, epoch: int) -> None:
        pass

    def end_epoch(self) -> None:
        pass

    def loss_state(self) -> dict[str, Any]:
        return {}

    def load_loss_state(self, state: dict[str, Any]) -> None:
        pass

    def training_step(self, batch: FakeBatch, epoch: int, clock: object, diagnose: bool) -> StepResult:
        self.calls += 1
        noise = torch.rand(())  # as dropout would draw
        loss = (self.model(batch.x) * noise).pow(2).mean()
        if self.calls in self.bad:
            loss = loss * float("nan" if self.calls % 2 else "inf")
        return StepResult(loss, {"term": loss}, {"term": loss}, torch.tensor(2))


def trainer_of(tmp_path: Path, steps: int, bad: set[int], **flags: Any) -> Trainer:
    cfg = Config.from_values({"opt__lr": 0.1, "max_epochs": 3, **flags})
    return Trainer(cfg, FakeTask(bad), Loader(steps), EventLog(tmp_path / "log.jsonl"))  # type: ignore[arg-type]
