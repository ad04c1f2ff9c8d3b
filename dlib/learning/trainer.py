"""The training loop: minibatches in, updated weights and one log line per step out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.loaders import TrainLoader
from dlib.learning.averaging import WeightAverage
from dlib.learning.norm_statistics import NormStatistics
from dlib.learning.optimizers import (
    build_optimizer,
    lacks_momenta,
    optimizer_kind,
    restore_optimizer,
    set_learning_rate,
)
from dlib.learning.step_record import (
    DIAGNOSTICS,
    TERMS,
    UNWEIGHTED,
    Position,
    Readout,
    StepRecord,
    fault_of,
)
from dlib.tasks import StepResult, Task
from dlib.utils import distributed
from dlib.utils.device import host_waits
from dlib.utils.errors import Diverged
from dlib.utils.graphs import replaying
from dlib.utils.logging import EventLog, logger, progress
from dlib.utils.reproducibility import seed_all
from dlib.utils.tensors import not_finite
from dlib.utils.timing import StepClock

MAX_SKIPPED_IN_ROW = 10
DIAGNOSED_EVERY = 8  # minibatches of an epoch


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
        self.optimizer = build_optimizer(cfg, groups)
        # Only float16 needs its losses scaled; bfloat16 has float32's range.
        scaled = cfg.amp and task.device.type == "cuda" and cfg.amp_dtype != "bfloat16"
        self.scaler = torch.amp.GradScaler(task.device.type, enabled=scaled)
        self.average = WeightAverage(task.model, cfg.ema_decay) if cfg.ema_decay > 0 else None
        task.network = wrap_for_training(cfg, task)
        self.statistics = NormStatistics(task.model)
        self.sound_since_state = False  # whether a sound step came after the last ``state``
        self._open: StepRecord | None = None
        self._said: str | None = None  # beside the progress bar

    def train_epoch(self, epoch: int) -> Iterator[int]:
        """Train one epoch from ``position`` on; yields the step number after every minibatch.

        On CUDA the host reads the numbers of a step one step later, see ``settle``.
        """
        position = self.position
        if position.epoch != epoch:
            self.position = position = Position(
                epoch=epoch, step=position.step, trained=False, skipped_in_row=position.skipped_in_row
            )
        rates = set_learning_rate(self.cfg, self.optimizer, self._base_rates, epoch - 1)
        self.task.model.train()
        self.task.start_epoch(epoch)
        self.statistics = NormStatistics(self.task.model)
        self.loader.set_epoch(epoch)
        batches, total = self.loader.iterate(epoch, position.step_in_epoch), len(self.loader)
        bar = progress(
            batches, f"epoch {epoch}/{self.cfg.max_epochs}", total=total, start=position.step_in_epoch
        )
        source = iter(bar)
        while True:
            start = time.perf_counter()
            clock = StepClock(self.task.device)
            with clock.measure("data"):
                batch = next(source, None)
            if batch is None:
                break
            numbers = self._step(batch.to(self.task.device), epoch, clock)
            position.step_in_epoch += 1
            position.step += 1
            self.settle()
            elapsed = time.perf_counter() - start
            self._open = StepRecord(position.step, len(batch), rates, Readout(numbers), clock, elapsed)
            if not host_waits(self.task.device):
                self.settle()
            if self._said is not None:
                bar.set_postfix_str(self._said, refresh=False)
            yield position.step
        self.settle()
        self.task.model.check_frozen()
        position.trained = True
        self.task.end_epoch()

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold so that a run resumes exactly.

        It needs no random states: every random number of a step is derived from seed, epoch, step and sample.
        """
        self.settle()
        self.sound_since_state = False
        return {
            "model": self.task.model.state_dict(),
            "losses": self.task.loss_state(),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_kind": optimizer_kind(self.cfg),
            "scaler": self.scaler.state_dict(),
            "bfloat16": self.task.bfloat16,
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
        self.task.bfloat16 = state.get("bfloat16")
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

    def _step(self, batch: Batch, epoch: int, clock: StepClock) -> dict[str, Tensor]:
        """Train on one minibatch without a wait for the device; all numbers about it, scalars on the device.

        Whether a step is sound is known on the device alone: there it decides what the optimizer, the average and the
        statistics do.
        """
        position = self.position
        seed_all(self.cfg.seed, epoch, position.step_in_epoch, distributed.rank())
        diagnose = self._diagnoses(position.step_in_epoch)
        self.statistics.keep()
        with replaying(self.cfg.cuda_graphs and not self.cfg.compile):
            result = self.task.training_step(batch, epoch, clock, diagnose)
        finite = self._finite_forward(result)  # [2]
        with clock.measure("network"):
            gradients = self._backward(result.loss, finite)  # bool []
            sound = finite.eq(1).all() & gradients
            self._update(sound)
            self.statistics.restore_unless(sound)
            if self.average:
                self.average.update(self.task.model, sound)
        numbers = {
            "loss": result.loss,
            "finite/loss": finite[0],
            "finite/statistics": finite[1],
            "finite/gradients": gradients,
            "scale": self.scaler.scale(torch.ones((), device=result.loss.device)),
        }
        for kind, values in (
            (TERMS, result.terms),
            (UNWEIGHTED, result.unweighted),
            (DIAGNOSTICS, result.diagnostics),
        ):
            numbers.update({f"{kind}/{name}": value for name, value in values.items()})
        if result.correct is not None:
            numbers["correct"] = result.correct
        return numbers

    def _finite_forward(self, result: StepResult) -> Tensor:
        """Share of the processes whose loss is finite, and whose batch norm statistics are: [2]."""
        loss = torch.isfinite(result.loss.detach())
        both = torch.stack([loss, self.statistics.finite(loss.device)]).float()
        return distributed.mean_over_processes(both)

    def _backward(self, loss: Tensor, finite: Tensor) -> Tensor:
        """Gradients of the loss, without the scaler's scale and clipped; whether they are finite, bool [].

        They are means over all processes, and the same in each. After a forward pass that is not finite they are NaN:
        so the scaler sees it too.
        """
        self.optimizer.zero_grad(set_to_none=True)
        gate = torch.where(finite.eq(1).all(), 1.0, math.nan)
        self.scaler.scale(loss * gate).backward()
        self.scaler.unscale_(self.optimizer)
        trained = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if self.cfg.grad_clip > 0:
            norm = nn.utils.clip_grad_norm_(trained, self.cfg.grad_clip)
        else:
            norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        return norm.isfinite()

    def _update(self, sound: Tensor) -> None:
        """One step of the optimizer if ``sound``, bool []; else the weights and momenta stay as they are.

        Fused kernels read ``sound`` on the device. Before the first sound step the host reads it: a kernel that skips
        that step would leave the new momenta as uninitialized memory.
        """
        if not lacks_momenta(self.optimizer):
            # How a GradScaler tells fused optimizers what to skip.
            self.optimizer.grad_scale, self.optimizer.found_inf = None, (~sound).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            del self.optimizer.grad_scale, self.optimizer.found_inf  # type: ignore[attr-defined]
        elif sound:
            self.optimizer.step()
        self.scaler.update()

    def _diagnoses(self, step_in_epoch: int) -> bool:
        """Whether the costly numbers are computed for this minibatch: some of every epoch, and its last one.

        This depends on the place in the epoch alone, so that a resumed epoch has the same means.
        """
        return step_in_epoch % DIAGNOSED_EVERY == 0 or step_in_epoch + 1 == len(self.loader)

    def settle(self) -> None:
        """Read the numbers of the last step, if they have not been read: count what is skipped, and log.

        Raises Diverged when too many steps in a row were skipped.
        """
        step, self._open = self._open, None
        if step is None:
            return
        numbers = step.readout.values()
        fault = fault_of(numbers, self.scaler.is_enabled())
        if fault:
            self._skip(step.number, fault)
        else:
            self.position.skipped_in_row = 0
            # A step that the scaler has skipped while it looks for its scale is no fault, but proves nothing.
            self.sound_since_state |= numbers["finite/gradients"] == 1
        logged = step.number % self.cfg.log_every == 0
        self._said = step.log(numbers, self.position, self.events if logged else None)

    def _skip(self, step: int, fault: str) -> None:
        """Log that a step was skipped. Raises Diverged when too many steps in a row were skipped."""
        self.position.skipped_in_row += 1
        message = f"step {step} is skipped: its {fault} not finite"
        logger.warning(message)
        self.events.write("warning", step=step, message=message)
        if self.position.skipped_in_row >= MAX_SKIPPED_IN_ROW:
            raise Diverged(
                f"{MAX_SKIPPED_IN_ROW} steps in a row are skipped, in the last the {fault} not finite: lower "
                "--opt__lr, or the weight of a term that is named"
            )

    def check_finite(self) -> None:
        """Raises Diverged in every process if the weights, their average or the optimizer's state are not finite."""
        self.settle()
        state = {"network": self.task.model.state_dict(), "optimizer": self.optimizer.state_dict()["state"]}
        if self.average:
            state["average"] = self.average.state_dict()["average"]
        bad = not_finite(state)
        found = distributed.gather_objects(bad)
        name = next((name for name in found if name), None)
        if name:
            raise Diverged(f"{name} is not finite after step {self.position.step}: lower --opt__lr")


def wrap_for_training(cfg: Config, task: Task) -> nn.Module:
    """The task's model as training calls it: synchronized over processes, compiled with ``--compile``."""
    network: nn.Module = task.model
    if distributed.world_size() > 1:
        if cfg.sync_bn and task.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        device_ids = [task.device.index] if task.device.type == "cuda" else None
        network = DistributedDataParallel(network, device_ids=device_ids)
    if cfg.compile:
        network.compile()
    return network
