"""``--dry_run``: what a run would do and cost, found by doing a little of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from dlib.configure.config import Config, experiment_dir
from dlib.datasets.batch import Batch
from dlib.datasets.loaders import TrainLoader
from dlib.datasets.splits import Data, build_train_loader
from dlib.learning.evaluation import whole_frames
from dlib.learning.precision import choose_precision
from dlib.tasks import Task, Work, build_task
from dlib.utils.distributed import is_main, world_size
from dlib.utils.environment import most_memory
from dlib.utils.logging import logger
from dlib.utils.text import duration
from dlib.utils.timing import StepClock, seconds_of

_MEASURED_STEPS = 2
_CAM_SIDE = 28  # of a stored map of a frame of 224 pixels
_NOT_COUNTED = (
    "reading frames, boxes from maps, checkpoints, pictures; CAMs of another classifier are computed again"
)


def show_plan(cfg: Config, data: Data, device: torch.device) -> None:
    """Print data counts, parameters, steps, memory and time; nothing is written.

    Time and memory come from two training steps and one batch of evaluation frames on this machine. The data are read;
    the weights do not change.
    """
    task = build_task(cfg, data.classes, device)
    choose_precision(cfg, task)
    task.set_sampling(data.train)
    loader = build_train_loader(cfg, data.train, pin_memory=False)
    loader.set_epoch(1)
    steps = len(loader)
    step, frame, extra = _measure(cfg, data, task, loader)
    parameters = list(task.model.parameters())
    trained = sum(p.numel() for group in task.parameter_groups() for p in group["params"])
    times = {
        "training": steps * cfg.max_epochs * step,
        "validation": len(data.val) * (cfg.max_epochs + 1) * frame / world_size(),
        "test": 2 * len(data.test) * frame / world_size(),
        **extra,
    }
    if not is_main():
        return
    peak = most_memory(device)
    spent = ", ".join(f"{duration(seconds)} {what}" for what, seconds in times.items())
    lines = [
        f"folder      {experiment_dir(cfg)}",
        f"data        {cfg.dataset}: {len(data.classes)} classes, {len(data.train)} train shots, "
        f"{len(data.val)} validation and {len(data.test)} test frames",
        f"model       {cfg.arch} with {cfg.encoder_name}: {sum(p.numel() for p in parameters):,} parameters, "
        f"{trained:,} trained",
        f"steps       {steps} per epoch (batch {cfg.batch_size} x {world_size()}), {steps * cfg.max_epochs} in "
        f"{cfg.max_epochs} epochs",
        f"memory      {peak / 2**30:.1f} GiB at least ({device.type})",
        f"time        about {duration(sum(times.values()))}: {spent} ({step:.2f}s a step)",
        f"not counted {_NOT_COUNTED}",
    ]
    logger.info("dry run: nothing is written\n" + "\n".join(lines))


def _measure(
    cfg: Config, data: Data, task: Task, loader: TrainLoader
) -> tuple[float, float, dict[str, float]]:
    """Seconds of one training step, of one evaluated frame, and of all other work of the task by title."""
    seconds = []
    task.model.train()
    # The stored CAMs may not exist yet. As in a run, the loader finds what a step needs of them.
    data.train.cams, data.train.regions = _AnyCams(), task.region_reader()
    batches = loader.iterate(1)
    for _, batch in zip(range(_MEASURED_STEPS), batches, strict=False):
        batch = batch.to(task.device)
        seconds.append(seconds_of(task.device, partial(_train_on, task, batch)))
    task.model.zero_grad(set_to_none=True)
    task.model.eval()
    count = min(cfg.eval_batch_size or cfg.batch_size, len(data.val))
    frames = whole_frames(data.val, range(count)).to(task.device)
    frame = _per_frame(task, frames, lambda: task.maps(frames.images, frames.frames, frames.labels))
    return min(seconds), frame, _of_extra_work(task, task.extra_work(data), frames)


class _AnyCams:
    """Random maps of low resolution in the place of stored ones."""

    def read(self, frame_id: str) -> torch.Tensor:
        return torch.rand(_CAM_SIDE, _CAM_SIDE)

    def read_together(self, frame_ids: Sequence[str]) -> torch.Tensor:
        return torch.rand(len(frame_ids), _CAM_SIDE, _CAM_SIDE)


def _of_extra_work(task: Task, works: list[Work], frames: Batch) -> dict[str, float]:
    """Seconds of the works, by title."""
    times: dict[str, float] = defaultdict(float)
    for work in works:
        processes = world_size() if work.shared else 1
        once = _per_frame(task, frames, partial(work.handle, frames)) if work.frames else 0.0
        times[work.title] += work.frames * once / processes
    return dict(times)


def _train_on(task: Task, batch: Batch) -> None:
    task.training_step(batch, 1, StepClock(), False).loss.backward()


def _per_frame(task: Task, frames: Batch, work: Callable[[], Any]) -> float:
    """Seconds of ``work`` per frame of ``frames``, from the second of two passes: the first has one-time costs."""
    return min(seconds_of(task.device, work) for _ in range(2)) / len(frames)
