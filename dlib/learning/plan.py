"""``--dry_run``: what a run would do and cost, found by doing a little of it."""

from __future__ import annotations

import resource
import time
from dataclasses import replace

import torch

from dlib.configure.config import Config, experiment_dir
from dlib.learning.data import Data, build_train_loader
from dlib.learning.evaluation import whole_frames
from dlib.tasks import TASK_CLASSES
from dlib.utils.distributed import is_main, world_size
from dlib.utils.logging import logger
from dlib.utils.timing import StepClock, readable

_MEASURED_STEPS = 2


def show_plan(cfg: Config, data: Data, device: torch.device) -> None:
    """Print data counts, parameters, steps, memory and time; nothing is written.

    Time and memory come from two training steps and one evaluation batch on this machine; the data are read, the
    weights are not changed.
    """
    task = TASK_CLASSES[cfg.task](cfg, data.classes, device)
    loader = build_train_loader(cfg, data.train, pin_memory=False)
    loader.set_epoch(1)
    steps = len(loader)
    step_seconds, frame_seconds = _measure(cfg, data, task, loader)
    parameters = list(task.model.parameters())
    trained = sum(p.numel() for group in task.parameter_groups() for p in group["params"])
    training = steps * cfg.max_epochs * step_seconds
    validation = len(data.val) * (cfg.max_epochs + 1) * frame_seconds / world_size()
    test = 2 * len(data.test) * frame_seconds / world_size()
    if not is_main():
        return
    lines = [
        f"folder      {experiment_dir(cfg)}",
        f"data        {cfg.dataset}: {len(data.classes)} classes, {len(data.train)} train shots, "
        f"{len(data.val)} validation and {len(data.test)} test frames",
        f"model       {cfg.arch} with {cfg.encoder_name}: {sum(p.numel() for p in parameters):,} parameters, "
        f"{trained:,} trained",
        f"steps       {steps} per epoch (batch {cfg.batch_size} x {world_size()}), {steps * cfg.max_epochs} in "
        f"{cfg.max_epochs} epochs",
        f"memory      {_peak_gib(device):.1f} GiB at least ({device.type})",
        f"time        about {readable(training)} training ({step_seconds:.2f}s a step), {readable(validation)} "
        f"validation, {readable(test)} test",
    ]
    logger.info("dry run: nothing is written\n" + "\n".join(lines))


def _measure(cfg: Config, data: Data, task, loader) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    seconds = []
    task.model.train()
    batches = loader.iterate(1)
    for _, batch in zip(range(_MEASURED_STEPS), batches, strict=False):
        if task.needs_cams():
            # The stored CAMs may not exist yet; any map costs the same.
            batch = replace(batch, cams=torch.rand(len(batch), cfg.crop_size, cfg.crop_size))
        batch = batch.to(task.device)
        start = time.perf_counter()
        task.training_step(batch, 1, StepClock(), False).loss.backward()
        seconds.append(time.perf_counter() - start)
    task.model.zero_grad(set_to_none=True)
    task.model.eval()
    frames = whole_frames(data.val, range(min(cfg.batch_size, len(data.val)))).to(task.device)
    start = time.perf_counter()
    task.cams(frames)
    return min(seconds), (time.perf_counter() - start) / len(frames)


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
