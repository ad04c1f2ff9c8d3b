"""The files of a run, read for curves, report, comparison and status.

The experiment may still be running, or may have been killed: missing files and a broken line of ``log.jsonl`` are
normal, and a later record of a step or epoch (after a resume) replaces the earlier one. Content that no run writes
(values of another kind, a file that is not JSON) is a UserError that names the file.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION, tested_criteria
from dlib.configure.table import spelled
from dlib.utils import text
from dlib.utils.errors import UserError
from dlib.visualization.shapes import CONFIG, EVENTS, RESULTS, check_shape

Record = dict[str, Any]
GALLERY = Path("test", "vizu", "50")  # drawn test frames, below <experiment>/<criterion>
_KEYS = {BEST_LOCALIZATION: "headline", BEST_CLASSIFICATION: "classification"}  # what is best, in a report
# Flags whose values have another name in results.json.
_FLAGS = {"encoder": "encoder_name", "pooling": "spatial_pooling", "seed": "MYSEED"}
_STEP_LINE = re.compile(rb'"event"\s*:\s*"step"')


@dataclass
class Experiment:
    """One experiment folder; every part may be empty while the run has not written it yet."""

    folder: Path
    config: Record = field(default_factory=dict)
    start: Record = field(default_factory=dict)  # the log's first event
    results: Record = field(default_factory=dict)
    steps: list[Record] = field(default_factory=list)  # thinned out, by step
    epochs: list[Record] = field(default_factory=list)  # by epoch
    validations: list[Record] = field(default_factory=list)  # by epoch, epoch 0 first
    warnings: list[str] = field(default_factory=list)
    tests: dict[str, Record] = field(default_factory=dict)  # criterion -> report
    finished: bool = False

    def setting(self, name: str, default: Any = None) -> Any:
        """A value of the run by its name in results.json: from there, else from the flags in config.yml."""
        value = self.results.get(name)
        return self.config.get(_FLAGS.get(name, name), default) if value is None else value

    @property
    def name(self) -> str:
        return str(self.setting("exp_id") or self.folder.name)

    @property
    def max_epochs(self) -> int:
        return int(number(self.setting("max_epochs")) or 0)

    @property
    def epoch(self) -> int:
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def tested(self) -> bool:
        """Whether the best models are tested: then all is done except the last files."""
        return set(self.criteria) <= set(self.results.get("test") or {})

    @property
    def criteria(self) -> tuple[str, ...]:
        """The best models that this run tests and draws."""
        return tested_criteria(str(self.setting("task")), self.config.get("freeze_cl") is True)

    def best(self, criterion: str) -> Record | None:
        """{"epoch", "step", "value"} of the best validation so far; the first epoch wins ties.

        None before the first one, and if nothing could be measured (a run's own records then say -1).
        """
        known = below(self.results, "best", criterion)
        if known:
            value, epoch = number(known.get("value")), number(known.get("epoch"))
            return None if value is None or value < 0 or epoch is None else known
        key = _KEYS[criterion]
        found: Record | None = None
        for record in self.validations:
            value = number(record["report"].get(key))
            if value is not None and (found is None or value > found["value"]):
                found = {"epoch": record.get("epoch", 0), "step": record.get("step"), "value": value}
        return found

    def best_value(self, criterion: str) -> float | None:
        """Percent of that best model on validation: seen as in test, else (a running run) as after its epoch."""
        final = number(below(self.results, "val", criterion, _KEYS[criterion]))
        best = self.best(criterion)
        return None if best is None else best["value"] if final is None else final

    def report(self, criterion: str, split: str = "test") -> Record | None:
        """Localization report of the best model by ``criterion`` on ``split``, if there is one."""
        found = below(self.results, split, criterion)
        return found or (self.tests.get(criterion) if split == "test" else None)

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median time between the ends of the last epochs (training and validation together)."""
        ends = [end for e in self.epochs[-6:] if (end := _moment(e.get("time")))]
        gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(ends) if b > a]
        if gaps:
            return statistics.median_high(gaps)
        sums = [sum(s for s in (e.get("seconds") or {}).values() if number(s)) for e in self.epochs[-1:]]
        return sums[0] if sums and sums[0] > 0 else None

    @property
    def seconds_left(self) -> float | None:
        each = self.seconds_per_epoch
        return None if each is None else max(0, self.max_epochs - self.epoch) * each


def number(value: Any) -> float | None:
    """``value`` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond all floats
        return None


def read_experiment(folder: Path, max_steps: int = 1000) -> Experiment:
    """Read the existing files of an experiment.

    Args:
        folder: experiment folder.
        max_steps: about how many step records to keep, evenly spaced; the others are not parsed.
    Raises UserError if the folder holds neither config.yml, log.jsonl nor results.json, or one of them is not what
    a run writes.
    """
    names = ("config.yml", "log.jsonl", "results.json")
    if not any((folder / name).is_file() for name in names):
        raise UserError(
            f"{folder}: no experiment there (none of {', '.join(names)}); give an experiment folder."
        )
    experiment = Experiment(folder, finished=(folder / "passed.txt").is_file())
    results = _read_dict(folder / "results.json", json.loads)
    check_shape(results, RESULTS, folder / "results.json")
    experiment.results = spelled(results)
    events = read_log(folder / "log.jsonl", max_steps)
    found: dict[str, dict[int, Record]] = {"step": {}, "epoch": {}, "validation": {}}
    for event in events:
        kind = str(event.get("event"))
        check_shape(event, EVENTS.get(kind, {}), folder / "log.jsonl", kind)
        if kind == "start" and not experiment.start:
            experiment.start = event
        elif kind in ("step", "epoch") and number(event.get(kind)) is not None:
            found[kind][int(event[kind])] = event
        elif kind == "validation" and isinstance(event.get("report"), dict):
            found[kind][int(number(event.get("epoch")) or 0)] = event
        elif kind == "test" and isinstance(event.get("report"), dict):
            experiment.tests[str(event.get("criterion"))] = event["report"]
        elif kind == "warning":
            experiment.warnings.append(str(event.get("message", "")))
    experiment.steps, experiment.epochs, experiment.validations = (
        [records[at] for at in sorted(records)] for records in found.values()
    )
    config = _read_dict(folder / "config.yml", yaml.safe_load)
    check_shape(config, CONFIG, folder / "config.yml")
    experiment.config = spelled(config or experiment.start.get("config") or {})
    return experiment


def read_log(path: Path, max_steps: int) -> list[Record]:
    """Events of a log.jsonl; lines that are not complete JSON objects (after a kill) are left out."""
    lines = _read_bytes(path).splitlines()
    is_step = [bool(_STEP_LINE.search(line)) for line in lines]
    stride = max(1, math.ceil(sum(is_step) / max(1, max_steps)))
    events, seen = [], 0
    for line, step in zip(lines, is_step, strict=True):
        seen += step
        if step and (seen - 1) % stride:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def gallery_folders(experiment: Experiment) -> dict[str, Path]:
    """Folder of drawn test frames by criterion, if there is one."""
    folders = {criterion: experiment.folder / criterion / GALLERY for criterion in experiment.criteria}
    return {criterion: path for criterion, path in folders.items() if (path / "gallery.json").is_file()}


def read_records(path: Path) -> list[Record]:
    """A JSON file that holds a list of objects; empty if the file is missing or broken."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []


def series(records: Iterable[Record], x: str, *path: str) -> tuple[list[float], list[float]]:
    """Points (record[x], record[path…]) of all records where both are finite numbers."""
    points = [(number(record.get(x)), number(below(record, *path))) for record in records]
    known = [(at, y) for at, y in points if at is not None and y is not None]
    return [at for at, _ in known], [y for _, y in known]


def keys_of(records: Iterable[Record], *path: str) -> list[str]:
    """Names below ``path`` in any of the records, in order of first appearance."""
    found = (below(record, *path) for record in records)
    return list(dict.fromkeys(name for value in found if isinstance(value, dict) for name in value))


def below(record: Any, *path: str) -> Any:
    """The value that ``path`` leads to in nested objects; None where there is none."""
    value: Any = record
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def duration(seconds: Any) -> str:
    """Seconds as text; a dash for a value that is not a number."""
    return text.duration(number(seconds))


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _read_bytes(path: Path) -> bytes:
    """Content of a file; empty if there is none yet."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _read_dict(path: Path, parse: Callable[[bytes], Any]) -> Record:
    """An object with text as names; empty if there is no file, or an empty one."""
    data = _read_bytes(path)
    if not data.strip():
        return {}
    try:
        content = parse(data)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{path}: cannot be read ({reason})") from error
    check_shape(content, {}, path)
    return {str(name): value for name, value in content.items()}
