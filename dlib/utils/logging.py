"""What a run says: lines on screen and in ``log.txt`` for people, events in ``log.jsonl`` for programs."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from dlib.utils.errors import UserError
from dlib.utils.files import write_text
from dlib.utils.filesystem import reason
from dlib.utils.screen import Bar, show

T = TypeVar("T")

logger = logging.getLogger("dlib")


class _ScreenHandler(logging.Handler):
    """Prints above a running progress bar; warnings and errors on the error stream."""

    def emit(self, record: logging.LogRecord) -> None:
        show(self.format(record), on_error_stream=record.levelno >= logging.WARNING)


class _LogFile(logging.FileHandler):
    """``log.txt``; on a full disk its lines are lost, but the run continues (other writers report a full disk)."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


class _Bars:
    """Whether progress bars are drawn; ``start_logging`` decides."""

    drawn = False


def start_logging(folder: Path | None, talks: bool, verbose: bool = True, bars: str = "auto") -> None:
    """Send log lines to the screen and to ``folder/log.txt``; a process with ``talks`` False writes nothing.

    ``bars``: "true", "false", or "auto": progress bars only on a terminal.
    """
    stop_logging()
    _Bars.drawn = talks and (bars == "true" or (bars == "auto" and sys.stderr.isatty()))
    logger.setLevel(logging.INFO if talks else logging.CRITICAL)
    logger.propagate = False
    if not talks:
        return
    screen = _ScreenHandler()
    screen.setLevel(logging.INFO if verbose else logging.WARNING)
    screen.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(screen)
    if folder is not None:
        file = _LogFile(folder / "log.txt", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(file)


def stop_logging() -> None:
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


class EventLog:
    """``log.jsonl``: one JSON object a line. Only the main process gives a path; the others write nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, event: str, **values: Any) -> None:
        if self._path is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"event": event, "time": time, **values}) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {self._path}: {reason(error)}") from error

    def flush(self) -> None:
        """Called when the run ends in any way; a line of the log is on the disk as soon as it is written."""

    def has_warned(self, beginning: str) -> bool:
        """Whether a warning that begins like this was written, by this process or by the run that it resumes."""
        return any(str(event.get("message", "")).startswith(beginning) for event in self._read())

    def _read(self) -> Iterator[dict[str, Any]]:
        """All complete events so far."""
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                yield event

    def forget_after(self, step: int, validated: bool) -> None:
        """Drop what a resumed run will log again: steps after ``step``, and its validation unless ``validated``.

        A line that was cut off in the middle when the run was killed is dropped too.
        """
        if self._path is None or not self._path.exists():
            return
        kept = []
        for event in self._read():
            at, of_epoch = event.get("step", -1), "epoch" in event and event["event"] != "step"
            repeated = at > step or (at == step and not validated and of_epoch)
            if not repeated and event["event"] not in ("test", "end"):
                kept.append(json.dumps(event))
        write_text(self._path, "".join(f"{line}\n" for line in kept))


def progress(items: Iterable[T], label: str, total: int | None = None, start: int = 0) -> tqdm[T]:
    """``items`` behind one progress bar, if bars are drawn."""
    return Bar(
        items,
        desc=label,
        total=total,
        initial=start,
        disable=not _Bars.drawn,
        leave=False,
        dynamic_ncols=True,
    )
