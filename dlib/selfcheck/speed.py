"""How fast the device trains and evaluates."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.nn import functional

from dlib.crf import IMAGE_RANGE, DenseCRFLoss, joint_color_crf
from dlib.datasets.images import read_image
from dlib.datasets.transforms import resize_image
from dlib.learning.trainer import Trainer
from dlib.selfcheck.setting import TASKS, Size, batch_for, frames, trainer_for
from dlib.utils.device import finish
from dlib.utils.environment import most_memory
from dlib.utils.graphs import replaying
from dlib.utils.timing import StepClock

WARM_UP = 5  # steps


CARD = Size("resnet50", 32, 224, 20)
PROCESSOR = Size("resnet18", 8, 112, 3)


@dataclass(frozen=True)
class Speed:
    """A training step of one kind.

    Attributes:
        ms: per step, wall time.
        shares: of the time by part, in percent.
        peak_mib: most memory held, of the card (of the process on a CPU).
        ratio: of ms to that of a plain step of the same network: forward, backward, optimizer. None: not compared.
    """

    name: str
    ms: float
    images_per_s: float
    shares: dict[str, float]
    peak_mib: float
    ratio: float | None


def size_for(device: torch.device) -> Size:
    return CARD if device.type == "cuda" else PROCESSOR


def step_speeds(device: torch.device, compiled: bool) -> list[Speed]:
    """Steps of both tasks, with and without mixed precision, and with ``compiled`` through torch.compile."""
    kinds = ["", "--amp True"] if device.type == "cuda" else [""]
    if compiled:
        kinds.append("--amp True --compile True")
    return [step_speed(device, size_for(device), name, flags) for flags in kinds for name in TASKS]


def step_speed(device: torch.device, size: Size, name: str, flags: str) -> Speed:
    """One kind of step; CoLo-CAM's is compared with a plain step of its network."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    steps = WARM_UP + size.steps if device.type == "cuda" else size.steps + 1
    trainer = trainer_for(name, device, replace(size, steps=steps), flags)
    seconds = _per_step(device, trainer, size.steps)
    peak = most_memory(device)
    parts = trainer.position.means()["seconds"]
    total = sum(parts.values())
    ratio = None
    if name != "STD_CL" and "--compile" not in flags:
        plain = _plain_step(trainer)
        ratio = seconds / _time(device, plain, size.steps, warm_up=steps - size.steps)
    return Speed(
        f"{name} {flags}".strip(),
        1e3 * seconds,
        size.batch / seconds,
        {part: 100 * value / total for part, value in sorted(parts.items())},
        peak / 2**20,
        ratio,
    )


def _per_step(device: torch.device, trainer: Trainer, steps: int) -> float:
    """Seconds per step, after the first ones, as training takes them; the step's log included."""
    start = 0.0
    for step in trainer.train_epoch(1):
        if step == len(trainer.loader) - steps:
            finish(device)
            trainer.position.sums.clear()
            trainer.position.counts.clear()
            start = time.perf_counter()
    finish(device)
    return (time.perf_counter() - start) / steps


def _plain_step(trainer: Trainer) -> Callable[[], None]:
    """Forward, backward and update of the task's network without pseudo-labels and CRF."""
    task = trainer.task
    batch = next(iter(trainer.loader.iterate(1)))

    def run() -> None:
        here = batch.to(task.device)
        trainer.optimizer.zero_grad(set_to_none=True)
        with task.autocast(task.cfg.amp):
            output = task.network(task.images(here))
        assert here.cams is not None
        loss = functional.cross_entropy(output.maps.float(), (here.cams > 0.5).long())
        trainer.scaler.scale(loss).backward()
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()

    task.model.train()
    return run


def crf_ms(device: torch.device) -> dict[str, float]:
    """Value and gradient of the CRF terms for a minibatch, two frames of each shot, as in a step: milliseconds."""
    size = size_for(device)
    images = frames(size.batch, size.side).float().to(device)
    logits = torch.randn(size.batch, 2, size.side, size.side, generator=torch.Generator().manual_seed(0))
    maps = logits.softmax(1).to(device).requires_grad_()
    groups = [[i, i + 1] for i in range(0, size.batch, 2)]
    dense = DenseCRFLoss(1.0, 15.0, 100.0, value_range=IMAGE_RANGE)

    def joint() -> torch.Tensor:
        return joint_color_crf(images, maps, groups, 15.0, value_range=IMAGE_RANGE).sum()

    runs = {
        "dense CRF": lambda: dense(images, maps).backward(),
        "joint colour CRF": lambda: joint().backward(),
        "both CRFs": lambda: (dense(images, maps) + joint()).backward(),
    }
    with replaying(True):
        return {name: 1e3 * _time(device, run, size.steps, warm_up=4) for name, run in runs.items()}


def evaluation_images_per_s(device: torch.device) -> float:
    """Maps of CoLo-CAM's network in evaluation."""
    size = size_for(device)
    trainer = trainer_for("CoLo-CAM", device, size, "--amp_eval True")
    trainer.task.model.eval()
    batch = batch_for(trainer.task, size.batch, size.side).to(device)
    maker = trainer.task.maps
    return size.batch / _time(device, partial(maker, batch.images, batch.frames, batch.labels), size.steps)


def reading_ms() -> float:
    """Reading and resizing one 480 x 360 JPEG to 256 x 256 in one thread: milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.jpg"
        picture = functional.interpolate(frames(1, 120).float(), size=(360, 480), mode="bilinear")[0]
        Image.fromarray(picture.byte().permute(1, 2, 0).numpy()).save(path, quality=90)
        return 1e3 * _time(torch.device("cpu"), lambda: resize_image(read_image(path), 256), 20)


def _time(device: torch.device, run: Callable[[], object], rounds: int, warm_up: int = 2) -> float:
    """Mean seconds of a call; on a card of calls one after the other without a wait between them."""
    for _ in range(warm_up):
        run()
    finish(device)
    start = time.perf_counter()
    for _ in range(rounds):
        run()
    finish(device)
    return (time.perf_counter() - start) / rounds


def waits_of_a_step(device: torch.device, name: str) -> int | None:
    """How often PyTorch says that a step's own code makes the host wait for the card; None without a card."""
    if device.type != "cuda":
        return None
    trainer = trainer_for(name, device, Size("resnet18", 4, 96, steps=3), "--amp True")
    batch = batch_for(trainer.task, 4, 96).pin_memory()
    trainer.task.model.train()
    for _ in range(3):
        trainer._step(batch.to(device), 1, StepClock(device))
    finish(device)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            trainer._step(batch.to(device), 1, StepClock(device))
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return sum(
        "synchroniz" in str(warning.message) and "prototype" not in str(warning.message) for warning in said
    )
