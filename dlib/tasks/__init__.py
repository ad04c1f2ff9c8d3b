"""Tasks: each is one way to train and to localize. dlib/configure/constants.py lists them."""

from __future__ import annotations

import torch

from dlib.configure.config import Config
from dlib.configure.constants import TASKS
from dlib.tasks.base import Examples, StepResult, Task, Work
from dlib.utils.lazy import load_object

__all__ = ["Examples", "StepResult", "Task", "Work", "build_task"]


def build_task(cfg: Config, classes: list[str], device: torch.device, initialize: bool = True) -> Task:
    """The task of ``--task``; arguments as of `Task`. Raises UserError for weights that cannot be found or loaded."""
    kind: type[Task] = load_object(TASKS[cfg.task].task)
    return kind(cfg, classes, device, initialize)
