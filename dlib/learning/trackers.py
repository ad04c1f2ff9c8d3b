"""``--log_to``: the numbers of ``log.jsonl`` in a tracker too. The file stays the truth; none is imported unasked.

A tracker is one small class: it gets numbers with their place on the x axis, and is told when a run resumes.
"""

from __future__ import annotations

import csv
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from dlib.utils.errors import UserError
from dlib.utils.files import write_text
from dlib.utils.logging import EventLog, logger

Event = dict[str, Any]
# The number in an event that is the x value of its numbers; other events have none, except tests, which get the last.
_AXES = {"step": "step", "epoch": "epoch", "validation": "epoch"}
_OF_TEST = ("headline", "classification", "corloc")


class Tracker(ABC):
    """Gets the numbers of a run in ``folder``; ``config`` are its flags. Raises ImportError without its ``package``."""

    package: ClassVar[str]

    @abstractmethod
    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def log(self, axis: str, x: int, numbers: Mapping[str, float]) -> None:
        """Numbers by name at place ``x`` of the axis, "step" or "epoch"."""

    def resume(self, step: int, kept: Iterable[Event]) -> None:
        """The run resumes after ``step``: of its events so far these are ``kept``, later ones will come again."""

    def flush(self) -> None:
        """Called when the numbers should be visible."""

    def close(self) -> None:
        """Called at the end of the run."""


class TensorBoard(Tracker):
    """Curves in ``tensorboard/``."""

    package = "tensorboard"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = str(folder / "tensorboard")
        self._open: Any = SummaryWriter
        self._writer: Any = SummaryWriter(self._folder)

    def log(self, axis: str, x: int, numbers: Mapping[str, float]) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(name, number, x)

    def resume(self, step: int, kept: Iterable[Event]) -> None:
        self._writer.close()
        self._writer = self._open(self._folder, purge_step=step + 1)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Csv(Tracker):
    """``metrics.csv``: a line for each number."""

    package = ""
    HEAD = ("name", "axis", "x", "value")

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._path = folder / "metrics.csv"
        if not self._path.exists():
            self.resume(0, ())

    def log(self, axis: str, x: int, numbers: Mapping[str, float]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows((name, axis, x, value) for name, value in numbers.items())

    def resume(self, step: int, kept: Iterable[Event]) -> None:
        write_text(self._path, ",".join(self.HEAD) + "\r\n")
        for event in kept:
            if placed := place(event):
                self.log(*placed)


class Wandb(Tracker):
    """A run of Weights & Biases, in the project ``colocam`` ($WANDB_PROJECT, $WANDB_MODE and so on are theirs)."""

    package = "wandb"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import os

        import wandb

        # The same folder is the same run, also when it resumes.
        number = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "colocam"),
            name=folder.name[:128],
            id=number,
            resume="allow",
            dir=str(folder),
            config=dict(config),
        )
        for axis in ("step", "epoch"):
            self._run.define_metric(axis)
        for event, axis in (*_AXES.items(), ("test", "epoch")):
            self._run.define_metric(f"{event}/*", step_metric=axis)

    def log(self, axis: str, x: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, axis: x})

    def close(self) -> None:
        self._run.finish()


class Mlflow(Tracker):
    """A run of MLflow ($MLFLOW_TRACKING_URI says where), in the experiment ``colocam``."""

    package = "mlflow"

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        import mlflow

        self._mlflow: Any = mlflow
        mlflow.set_experiment("colocam")
        record = folder / "mlflow_run.txt"
        if record.exists():
            mlflow.start_run(run_id=record.read_text(encoding="utf-8").strip())
            return
        run = mlflow.start_run(run_name=folder.name)
        write_text(record, f"{run.info.run_id}\n")
        mlflow.log_params({name: str(value)[:500] for name, value in config.items()})

    def log(self, axis: str, x: int, numbers: Mapping[str, float]) -> None:
        # Other characters than these are refused in names.
        self._mlflow.log_metrics(
            {re.sub(r"[^\w\-. /]", "_", name): number for name, number in numbers.items()}, step=x
        )

    def close(self) -> None:
        self._mlflow.end_run()


TRACKERS: dict[str, type[Tracker]] = {
    "wandb": Wandb,
    "mlflow": Mlflow,
    "csv": Csv,
    "tensorboard": TensorBoard,
}


class TrackedLog(EventLog):
    """Writes every event to ``log.jsonl``, and its numbers to trackers. One that fails is left out with a warning."""

    def __init__(self, path: Path, trackers: Mapping[str, Tracker]) -> None:
        super().__init__(path)
        self._trackers = dict(trackers)
        self._epoch = 0

    def write(self, event: str, **values: Any) -> None:
        super().write(event, **values)
        self._epoch = values.get("epoch", self._epoch)
        placed = place({"event": event, **values}, self._epoch)

        def follow(tracker: Tracker) -> None:
            if placed:
                tracker.log(*placed)
            if event in ("validation", "test", "end"):
                tracker.flush()
            if event == "end":
                tracker.close()

        self._each(follow)

    def flush(self) -> None:
        self._each(lambda tracker: tracker.flush())

    def forget_after(self, step: int, validated: bool) -> None:
        super().forget_after(step, validated)
        kept = list(self._read())
        self._epoch = max((event.get("epoch", 0) for event in kept), default=0)
        self._each(lambda tracker: tracker.resume(step, kept))

    def _each(self, work: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                work(tracker)
            except Exception as error:  # of a server, a network, a library: the training is worth more
                del self._trackers[name]
                logger.warning(f"{name} gets no more numbers ({_reason(error)}); log.jsonl has them all")


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def open_event_log(
    path: Path | None, log_to: str = "", tensorboard: bool = False, config: Mapping[str, Any] | None = None
) -> EventLog:
    """The run's event log.

    Args:
        path: None in all processes but the main one.
        log_to: a name of ``TRACKERS``, or empty.
        tensorboard: TensorBoard too; if that is missing, one log line says so.
    Raises UserError where the package of ``log_to`` is missing or refuses to start.
    """
    if path is None:
        return EventLog(None)
    names = [log_to] if log_to else []
    if tensorboard and log_to != "tensorboard":
        names.append("tensorboard")
    trackers = {}
    for name in names:
        kind = TRACKERS[name]
        try:
            trackers[name] = kind(path.parent, config or {})
        except ImportError as error:
            if name == log_to:
                raise UserError(
                    f"--log_to {name}: needs the package {kind.package}: pip install {kind.package}"
                ) from error
            logger.warning(
                "--tensorboard True: the package is not installed (pip install tensorboard);"
                " the run continues without it"
            )
        except Exception as error:
            raise UserError(
                f"--log_to {name}: cannot start ({_reason(error)}); leave the flag out"
            ) from error
    return TrackedLog(path, trackers) if trackers else EventLog(path)


def place(event: Event, epoch: int = 0) -> tuple[str, int, dict[str, float]] | None:
    """Axis, x and numbers of an event; None for one without a place. A test belongs to ``epoch``."""
    kind = event["event"]
    values = {name: value for name, value in event.items() if name not in ("event", "time")}
    if kind == "test":
        report = {name: values["report"].get(name) for name in _OF_TEST}
        return "epoch", epoch, dict(flat(report, f"test/{values['criterion']}/"))
    axis = _AXES.get(kind)
    return None if axis is None else (axis, values[axis], dict(flat(values, f"{kind}/")))


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """All numbers in nested dicts and lists, with their path: ``{"a": {"b": [1]}}`` -> ``[("a/b/0", 1)]``."""
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}/")
        elif isinstance(value, list):
            found += flat({str(i): item for i, item in enumerate(value)}, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", float(value)))
    return found
