"""The number format of a run's training steps on a CPU: bfloat16 with ``--amp True``, where it is faster."""

from __future__ import annotations

import torch

from dlib.configure.config import Config
from dlib.tasks import Task
from dlib.utils import distributed
from dlib.utils.bfloat16 import LEAST_GAIN, native_bfloat16, training_gain
from dlib.utils.environment import device_name
from dlib.utils.logging import logger

_FRAMES = 2  # of the timed passes: the fewest with which batch norm works on 1×1 features


def choose_precision(cfg: Config, task: Task) -> None:
    """Set ``task.bfloat16``, the same in every process, and say what was chosen and why.

    A choice that the task has already, from a checkpoint, stays if it can: a resumed run then gives the same bits.
    """
    before = task.bfloat16
    if task.device.type != "cpu" or not cfg.amp:
        task.bfloat16 = None
        return
    task.bfloat16, reason = _choice(cfg, task, before)
    now, then = ("bfloat16" if chosen else "float32" for chosen in (task.bfloat16, before))
    if before is not None and now != then:
        logger.warning(f"--amp True: training continues in {now} (was {then}), {reason}")
    else:
        logger.info(f"--amp True: training in {now}, {reason}")


def _choice(cfg: Config, task: Task, before: bool | None) -> tuple[bool, str]:
    """Whether to train in bfloat16, and why."""
    if cfg.amp_dtype == "float16":
        return False, "as a CPU has no fast float16"
    if not all(distributed.gather_objects(native_bfloat16())):
        return False, f"as this machine has no bfloat16 ({device_name(task.device)})"
    if cfg.amp_dtype == "bfloat16":
        return True, "as --amp_dtype says"
    if before is not None:
        return before, "as the run began"
    if cfg.deterministic:
        return False, "as --deterministic True does not choose by time; --amp_dtype bfloat16 would choose it"
    gain = distributed.broadcast_object(_gain(cfg, task) if distributed.is_main() else 0.0)
    return gain >= LEAST_GAIN, f"as bfloat16 is {gain:.2f} times as fast with this network"


def _gain(cfg: Config, task: Task) -> float:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_FRAMES, 3, cfg.crop_size, cfg.crop_size, generator=generator)
    return training_gain(
        task.model, images.contiguous(memory_format=task.memory_format), task.bfloat16_layout
    )
