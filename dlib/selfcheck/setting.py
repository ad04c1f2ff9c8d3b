"""What the checks train: networks with random weights, on frames that are drawn here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dlib.cams import normalize_cams, upsample_cams
from dlib.configure.config import parse_args
from dlib.datasets.batch import Batch
from dlib.datasets.video_dataset import stacked_regions
from dlib.learning.trainer import Trainer
from dlib.tasks import Task, build_task
from dlib.tasks.decoder.task import DecoderTask
from dlib.utils.logging import EventLog

CLASSES = [f"class {number}" for number in range(10)]
# Losses and pseudo-labels of the papers' command lines.
TASKS = {
    "STD_CL": "--task STD_CL --method LayerCAM",
    "CoLo-CAM": "--task CoLo-CAM --freeze_cl True --sl_clc True --sl_clc_min 1000 --sl_clc_max 1000 --sl_clc_ksz 3 "
    "--sl_clc_max_p 0.7 --sl_clc_min_p 0.1 --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True "
    "--sl_clc_roi_method largest --crf_clc True --rgb_jcrf_clc True --rgb_jcrf_clc_lambda 9 "
    "--rgb_jcrf_clc_lambda_style adaptive --max_sizepos_clc True --max_sizepos_clc_lambda 0.01 --sample_n_from_seq 2",
}


@dataclass(frozen=True)
class Size:
    """What is trained: a network, minibatches of ``batch`` frames [3, side, side], ``steps`` in an epoch."""

    encoder: str
    batch: int
    side: int
    steps: int


def frames(count: int, side: int, seed: int = 0) -> torch.Tensor:
    """Drawn pictures [count, 3, side, side], uint8: smooth colours with edges and noise, as videos have them."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    blocks = nn.functional.interpolate(coarse.flip(0).round(), size=(side, side), mode="nearest")
    noise = torch.randn(count, 3, side, side, generator=generator) * 0.02
    return ((0.7 * smooth + 0.3 * blocks + noise).clamp(0, 1) * 255).to(torch.uint8)


def batch_for(task: Task, count: int, side: int, seed: int = 0) -> Batch:
    """``count`` frames, two of each shot, on the CPU; with CAMs and regions if the task learns from them."""
    numbers = torch.arange(count)
    batch = Batch(
        frames=frames(count, side, seed),
        labels=numbers // 2 % len(CLASSES),
        ids=[str(number) for number in range(count)],
        indices=numbers,
        sequence=numbers // 2,
        order=numbers % 2,
        keys=numbers + 1000 * seed,
    )
    if isinstance(task, DecoderTask):
        coarse = torch.rand(count, 7, 7, generator=torch.Generator().manual_seed(seed))
        batch.cams = normalize_cams(upsample_cams(coarse, (side, side)))
        reader = task.region_reader()
        if reader is not None:
            pairs = zip(batch.cams, batch.frames, strict=True)
            found = [region for cam, pixels in pairs if (region := reader(cam, pixels, 1))]
            batch.cams = torch.stack([region.cam for region in found])
            vars(batch).update(stacked_regions(found))
    return batch


class Batches:
    """A loader that gives the same minibatches in every epoch."""

    def __init__(self, batches: list[Batch], steps: int) -> None:
        self.batches, self.steps = batches, steps

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is the same."""

    def iterate(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for step in range(start_step, self.steps):
            yield self.batches[step % len(self.batches)]

    def state(self) -> dict[str, Any]:
        return {}

    def go_on(self, state: dict[str, Any] | None, epoch: int, steps: int) -> tuple[int, str]:
        return steps, ""


def trainer_for(name: str, device: torch.device, size: Size, flags: str = "") -> Trainer:
    """A trainer of a task with random weights, the same on every device."""
    fixed = f"--encoder_name {size.encoder} --encoder_weights None --batch_size {size.batch}"
    fixed += f" --crop_size {size.side} --resize_size {size.side} --log_every 1000000"
    cfg = parse_args(f"{TASKS[name]} {fixed} {flags}".split())
    torch.manual_seed(0)
    task = build_task(cfg, CLASSES, device, initialize=False)
    batches = [batch_for(task, size.batch, size.side, seed) for seed in range(2)]
    if device.type == "cuda":
        batches = [batch.pin_memory() for batch in batches]
    return Trainer(cfg, task, Batches(batches, size.steps), EventLog(None))  # type: ignore[arg-type]
