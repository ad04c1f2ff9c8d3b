"""Tasks by name."""

from __future__ import annotations

from dlib.configure.constants import COLOCAM, STD_CL
from dlib.tasks.base import StepResult, Task
from dlib.tasks.colocam import CoLoCam, SeederTask
from dlib.tasks.std_cl import StdCl

TASK_CLASSES: dict[str, type[Task]] = {STD_CL: StdCl, COLOCAM: CoLoCam}

__all__ = ["TASK_CLASSES", "CoLoCam", "SeederTask", "StdCl", "StepResult", "Task"]
