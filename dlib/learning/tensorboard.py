"""``--tensorboard True``: the numbers of ``log.jsonl`` as TensorBoard curves, if it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlib.utils.logging import EventLog, logger

# The number in an event that is the x value of its curves; other events have no curves.
_AXES = {"step": "step", "epoch": "epoch", "validation": "epoch"}


class TensorBoardLog(EventLog):
    """Writes every event to ``log.jsonl`` and its numbers to ``tensorboard/`` beside it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        from torch.utils.tensorboard import SummaryWriter

        self._folder = path.parent / "tensorboard"
        self._open: Any = SummaryWriter
        self._writer: Any = SummaryWriter(str(self._folder))

    def forget_after(self, step: int, validated: bool) -> None:
        super().forget_after(step, validated)
        self._writer.close()
        self._writer = self._open(str(self._folder), purge_step=step + 1)

    def write(self, event: str, **values: Any) -> None:
        super().write(event, **values)
        axis = _AXES.get(event)
        if axis is not None:
            for name, number in flat(values):
                self._writer.add_scalar(f"{event}/{name}", number, values[axis])
        if event in ("validation", "test", "end"):
            self._writer.flush()
        if event == "end":
            self._writer.close()


def open_event_log(path: Path | None, tensorboard: bool) -> EventLog:
    """The run's event log; if TensorBoard is wanted and missing, one log line says so."""
    if path is not None and tensorboard:
        try:
            return TensorBoardLog(path)
        except ImportError:
            logger.warning(
                "--tensorboard True: the package is not installed (pip install tensorboard);"
                " the run continues without it"
            )
    return EventLog(path)


def flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
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
