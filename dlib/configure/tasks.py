"""The tasks that the program has, one entry each. A new method is one entry here and one module in dlib/tasks."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.constants import COLOCAM, STD_CL


@dataclass(frozen=True)
class TaskEntry:
    """One task.

    Attributes:
        name: value of ``--task``; it also names folders.
        arch: the only ``--arch`` that goes with it.
        where: its subclass of ``dlib.tasks.Task``, as ``module:class``; imported when a run needs it.
        builds_on_classifier: it starts from a promoted classifier.
    """

    name: str
    arch: str
    where: str
    builds_on_classifier: bool = False


TASKS: dict[str, TaskEntry] = {}


def register_task(entry: TaskEntry) -> None:
    """Add a task. Raises ValueError if its name is taken."""
    if entry.name in TASKS:
        raise ValueError(f"there is a task {entry.name} already")
    TASKS[entry.name] = entry


register_task(TaskEntry(STD_CL, "STDClassifier", "dlib.tasks.std_cl:StdCl"))
register_task(TaskEntry(COLOCAM, "UnetCoLoCAM", "dlib.tasks.colocam.task:CoLoCam", builds_on_classifier=True))
