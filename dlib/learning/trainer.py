"""The training loop: minibatches in, updated weights and one log line per step out."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.loaders import TrainLoader
from dlib.learning.averaging import WeightAverage
from dlib.learning.norm_statistics import NormStatistics
from dlib.learning.optimizers import build_optimizer, optimizer_kind, restore_optimizer, set_learning_rate
from dlib.tasks import StepResult, Task
from dlib.utils import distributed
from dlib.utils.errors import Diverged
from dlib.utils.logging import EventLog, logger, progress
from dlib.utils.reproducibility import seed_all
from dlib.utils.tensors import not_finite
from dlib.utils.timing import StepClock

MAX_SKIPPED_IN_ROW = 10
DIAGNOSED_EVERY = 8  # minibatches of an epoch


@dataclass
class Position:
    """How far a run is; part of every checkpoint."""

    epoch: int = 0  # the current epoch, or the one just finished; 0 before training
    step_in_epoch: int = 0  # minibatches of that epoch that are done
    step: int = 0  # minibatches of the run that are done, over all epochs
    trained: bool = True  # that epoch's training is complete
    validated: bool = False  # and its validation too
    skipped_in_row: int = 0  # minibatches in a row that were skipped
    sums: dict[str, float] = field(default_factory=dict)  # this epoch's sums over minibatches
    counts: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains a task's model, epoch by epoch; it does not know which losses there are."""

    def __init__(self, cfg: Config, task: Task, loader: TrainLoader, events: EventLog) -> None:
        self.cfg = cfg
        self.task = task
        self.loader = loader
        self.events = events
        self.position = Position()
        groups = task.parameter_groups()
        self._base_rates = [float(group["lr"]) for group in groups]
        self.optimizer = build_optimizer(cfg, groups, task.device)
        # Only float16 needs its losses scaled; bfloat16 has float32's range.
        scaled = cfg.amp and task.device.type == "cuda" and cfg.amp_dtype != "bfloat16"
        self.scaler = torch.amp.GradScaler(task.device.type, enabled=scaled)
        self.average = WeightAverage(task.model, cfg.ema_decay) if cfg.ema_decay > 0 else None
        task.network = wrap_for_training(cfg, task)
        self.statistics = NormStatistics(task.model)

    def train_epoch(self, epoch: int) -> Iterator[int]:
        """Train one epoch from ``position`` on; yields the step number after every minibatch."""
        position = self.position
        if position.epoch != epoch:
            self.position = position = Position(
                epoch=epoch, step=position.step, trained=False, skipped_in_row=position.skipped_in_row
            )
        rates = set_learning_rate(self.cfg, self.optimizer, self._base_rates, epoch - 1)
        self.task.model.train()
        self.task.start_epoch(epoch)
        self.statistics = NormStatistics(self.task.model)
        clock = StepClock()
        self.loader.set_epoch(epoch)
        batches, total = self.loader.iterate(epoch, position.step_in_epoch), len(self.loader)
        bar = progress(
            batches, f"epoch {epoch}/{self.cfg.max_epochs}", total=total, start=position.step_in_epoch
        )
        source = iter(bar)
        while True:
            start = time.perf_counter()
            with clock.measure("data"):
                batch = next(source, None)
            if batch is None:
                break
            batch = batch.to(self.task.device)
            result = self._step(batch, epoch, clock)
            position.step_in_epoch += 1
            position.step += 1
            elapsed = time.perf_counter() - start
            self._log_step(result, batch, rates, clock, elapsed)
            loss, speed = float(result.loss.detach()), len(batch) / elapsed
            bar.set_postfix_str(f"loss {loss:.4f}, {speed:.1f} images/s", refresh=False)
            yield position.step
        self.task.model.check_frozen()
        position.trained = True
        self.task.end_epoch()

    def epoch_means(self) -> dict[str, Any]:
        """Means over the epoch's minibatches, grouped as ``log.jsonl`` has them."""
        position = self.position
        grouped: dict[str, Any] = defaultdict(dict)
        for key, value in position.sums.items():
            kind, _, name = key.partition("/")
            mean = value / position.counts[key]
            if name:
                grouped[kind][name] = mean
            else:
                grouped[kind] = mean
        return dict(grouped)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold so that a run resumes exactly.

        It needs no random states: every random number of a step is derived from seed, epoch, step and sample.
        """
        return {
            "model": self.task.model.state_dict(),
            "losses": self.task.loss_state(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": optimizer_kind(self.cfg),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else {},
            "position": dict(vars(self.position)),
            "loader": self.loader.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.task.model.load_state_dict(state["model"])
        self.task.load_loss_state(state["losses"])
        kind = optimizer_kind(self.cfg)
        restore_optimizer(self.optimizer, kind, state["optimizer"], state.get("optimizer_kind", kind))
        if self.scaler.is_enabled() and state["scaler"]:  # a run without one leaves it empty
            self.scaler.load_state_dict(state["scaler"])
        if self.average and state["average"]:
            self.average.load_state_dict(state["average"])
        self.position = Position(**state["position"])
        if not self.position.trained:
            self._go_on_in_epoch(state.get("loader"))

    def _go_on_in_epoch(self, plan: dict[str, Any] | None) -> None:
        position = self.position
        steps, change = self.loader.go_on(plan, position.epoch, position.step_in_epoch)
        if change:
            logger.warning(f"epoch {position.epoch}: {change}")
        if steps < position.step_in_epoch:
            position.step_in_epoch, position.sums, position.counts = steps, {}, {}

    def _step(self, batch: Batch, epoch: int, clock: StepClock) -> StepResult:
        position = self.position
        seed_all(self.cfg.seed, epoch, position.step_in_epoch, distributed.rank())
        diagnose = self._diagnoses(position.step_in_epoch)
        self.statistics.keep()
        result = self.task.training_step(batch, epoch, clock, diagnose)
        fault = self._fault_of_forward(result)
        with clock.measure("network"):
            if not fault and not self._update(result):
                fault = "gradients are"
        if fault:
            self.statistics.restore()
            self._skip(fault)
        else:
            position.skipped_in_row = 0
        return result

    def _update(self, result: StepResult) -> bool:
        """One step of the optimizer; False, with the weights as they were, if the gradients are not finite.

        They are means over all processes, and the same in each.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(result.loss).backward()
        self.scaler.unscale_(self.optimizer)
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.cfg.grad_clip > 0:
            norm = nn.utils.clip_grad_norm_(trained, self.cfg.grad_clip)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        finite = bool(norm.isfinite())
        if (
            finite or self.scaler.is_enabled()
        ):  # the scaler skips such a step itself and then lowers its scale
            self.scaler.step(self.optimizer)
            self.scaler.update()
            finite = finite or self.scaler.get_scale() >= 1.0
        if finite and self.average:
            self.average.update(self.task.model)
        return finite

    def _diagnoses(self, step_in_epoch: int) -> bool:
        """Whether the costly numbers are computed for this minibatch: some of every epoch, and its last one.

        This depends on the place in the epoch alone, so that a resumed epoch has the same means.
        """
        return step_in_epoch % DIAGNOSED_EVERY == 0 or step_in_epoch + 1 == len(self.loader)

    def _fault_of_forward(self, result: StepResult) -> str:
        """Names what is not finite after a forward pass, in any process; an empty text if all is finite."""
        loss = torch.isfinite(result.loss.detach())
        both = torch.stack([loss, self.statistics.finite().to(loss.device)]).float()
        loss_share, statistics_share = distributed.mean_over_processes(both).tolist()
        if loss_share < 1.0:
            bad = [name for name, value in result.terms.items() if not math.isfinite(float(value.detach()))]
            return f"loss ({', '.join(bad) or 'sum'}) is"
        return "" if statistics_share == 1.0 else "batch norm statistics are"

    def _skip(self, fault: str) -> None:
        """Log that a step is skipped. Raises Diverged when too many steps in a row were skipped."""
        self.position.skipped_in_row += 1
        message = f"step {self.position.step + 1} is skipped: its {fault} not finite"
        logger.warning(message)
        self.events.write("warning", step=self.position.step + 1, message=message)
        if self.position.skipped_in_row >= MAX_SKIPPED_IN_ROW:
            raise Diverged(
                f"{MAX_SKIPPED_IN_ROW} steps in a row are skipped, in the last the {fault} not finite: lower "
                "--opt__lr, or the weight of a term that is named"
            )

    def check_finite(self) -> None:
        """Raises Diverged in every process if the weights, their average or the optimizer's state are not finite."""
        state = {"network": self.task.model.state_dict(), "optimizer": self.optimizer.state_dict()["state"]}
        if self.average:
            state["average"] = self.average.state_dict()["average"]
        bad = not_finite(state)
        found = distributed.gather_objects(bad)
        name = next((name for name in found if name), None)
        if name:
            raise Diverged(f"{name} is not finite after step {self.position.step}: lower --opt__lr")

    def _log_step(
        self, result: StepResult, batch: Batch, rates: list[float], clock: StepClock, elapsed: float
    ) -> None:
        seconds = clock.take()
        seconds["other"] = max(elapsed - sum(seconds.values()), 0.0) + seconds.get("other", 0.0)
        terms = {name: float(value.detach()) for name, value in result.terms.items()}
        raw = {name: float(value.detach()) for name, value in result.unweighted.items()}
        loss = float(result.loss.detach())
        self._add("loss", loss)
        for kind, values in (("terms", terms), ("raw", raw), ("diagnostics", result.diagnostics)):
            for name, value in values.items():
                self._add(f"{kind}/{name}", float(value))
        for name, value in seconds.items():
            self._add(f"seconds/{name}", value)
        self._add("images", float(len(batch)))
        self._add("elapsed", elapsed)
        if result.correct is not None:
            self._add("accuracy", float(result.correct), len(batch))
        if self.position.step % self.cfg.log_every == 0:
            self.events.write(
                "step",
                epoch=self.position.epoch,
                step=self.position.step,
                loss=loss,
                terms=terms,
                raw=raw,
                lr=rates,
                images_per_s=len(batch) / elapsed,
                seconds=seconds,
            )

    def _add(self, key: str, value: float, count: float = 1.0) -> None:
        # One step with a loss that is not finite must not hide the whole epoch's mean.
        if math.isfinite(value):
            self.position.sums[key] = self.position.sums.get(key, 0.0) + value
            self.position.counts[key] = self.position.counts.get(key, 0.0) + count


def wrap_for_training(cfg: Config, task: Task) -> nn.Module:
    """The task's model as training calls it: synchronized over processes, compiled with ``--compile``."""
    network: nn.Module = task.model
    if distributed.is_running():
        if cfg.sync_bn and task.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        device_ids = [task.device.index] if task.device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=device_ids)
    if cfg.compile:
        network.compile()
    return network
