"""Tasks: what one way to train and to localize is made of. dlib/configure/tasks.py names them."""

from __future__ import annotations

import importlib

import torch

from dlib.configure.config import Config
from dlib.configure.tasks import TASKS
from dlib.tasks.base import Examples, StepResult, Task, Work

__all__ = ["Examples", "StepResult", "Task", "Work", "build_task"]


def build_task(cfg: Config, classes: list[str], device: torch.device, initialize: bool = True) -> Task:
    """The task of ``--task``; arguments as of `Task`. Raises UserError for weights that cannot be had."""
    module, _, name = TASKS[cfg.task].where.partition(":")
    task: type[Task] = getattr(importlib.import_module(module), name)
    return task(cfg, classes, device, initialize)
