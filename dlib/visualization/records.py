"""What a run wrote, read back for curves, report, comparison and status.

This tolerates an experiment that is still running or was killed: missing files and a broken line of
``log.jsonl`` are normal, and a later record of a step or epoch (after a resume) replaces the earlier one.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION, CRITERIA
from dlib.utils.errors import UserError

Record = dict[str, Any]
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
        """A run's fact by name: from results.json, else from the flags in config.yml."""
        value = self.results.get(name)
        return self.config.get(name, default) if value is None else value

    @property
    def name(self) -> str:
        return str(self.setting("exp_id") or self.folder.name)

    @property
    def max_epochs(self) -> int:
        return int(self.setting("max_epochs") or 0)

    @property
    def epoch(self) -> int:
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def tested(self) -> bool:
        """Whether both best models are tested: all is done but the last files."""
        return set(CRITERIA) <= set(self.results.get("test") or {})

    def best(self, criterion: str) -> Record | None:
        """{"epoch", "step", "value"} of the best validation so far; the first epoch wins ties."""
        known = (self.results.get("best") or {}).get(criterion)
        if known:
            return known
        key = {BEST_LOCALIZATION: "headline", BEST_CLASSIFICATION: "classification"}[criterion]
        found: Record | None = None
        for record in self.validations:
            value = number(record["report"].get(key))
            if value is not None and (found is None or value > found["value"]):
                found = {"epoch": record.get("epoch", 0), "step": record.get("step"), "value": value}
        return found

    def report(self, criterion: str, split: str = "test") -> Record | None:
        """Localization report of the best model by ``criterion`` on ``split``, where there is one."""
        found = (self.results.get(split) or {}).get(criterion)
        return found or (self.tests.get(criterion) if split == "test" else None)

    @property
    def seconds_per_epoch(self) -> float | None:
        """Median time between the ends of the last epochs (training and validation together)."""
        ends = [datetime.fromisoformat(e["time"]) for e in self.epochs[-6:] if isinstance(e.get("time"), str)]
        gaps = sorted((b - a).total_seconds() for a, b in itertools.pairwise(ends) if b > a)
        if gaps:
            return gaps[len(gaps) // 2]
        sums = [sum(s for s in (e.get("seconds") or {}).values() if number(s)) for e in self.epochs[-1:]]
        return sums[0] if sums and sums[0] > 0 else None

    @property
    def seconds_left(self) -> float | None:
        each = self.seconds_per_epoch
        return None if each is None else max(0, self.max_epochs - self.epoch) * each


def number(value: Any) -> float | None:
    """``value`` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_experiment(folder: Path, max_steps: int = 1000) -> Experiment:
    """Read what is there of an experiment.

    Args:
        folder: experiment folder.
        max_steps: about how many step records to keep, evenly spaced; the rest is not even parsed.
    Raises UserError if the folder holds neither config.yml, log.jsonl nor results.json.
    """
    names = ("config.yml", "log.jsonl", "results.json")
    if not any((folder / name).is_file() for name in names):
        raise UserError(
            f"{folder}: no experiment there (none of {', '.join(names)}); give an experiment folder."
        )
    experiment = Experiment(folder, finished=(folder / "passed.txt").is_file())
    experiment.results = _read_dict(folder / "results.json")
    events = read_log(folder / "log.jsonl", max_steps)
    steps: dict[int, Record] = {}
    epochs: dict[int, Record] = {}
    validations: dict[int, Record] = {}
    for event in events:
        kind = event.get("event")
        if kind == "start" and not experiment.start:
            experiment.start = event
        elif kind == "step" and number(event.get("step")) is not None:
            steps[int(event["step"])] = event
        elif kind == "epoch" and number(event.get("epoch")) is not None:
            epochs[int(event["epoch"])] = event
        elif kind == "validation" and isinstance(event.get("report"), dict):
            validations[int(event.get("epoch", 0))] = event
        elif kind == "test" and isinstance(event.get("report"), dict):
            experiment.tests[str(event.get("criterion"))] = event["report"]
        elif kind == "warning":
            experiment.warnings.append(str(event.get("message", "")))
    experiment.steps = [steps[key] for key in sorted(steps)]
    experiment.epochs = [epochs[key] for key in sorted(epochs)]
    experiment.validations = [validations[key] for key in sorted(validations)]
    logged = experiment.start.get("config")
    experiment.config = _read_config(folder / "config.yml") or (logged if isinstance(logged, dict) else {})
    return experiment


def read_log(path: Path, max_steps: int) -> list[Record]:
    """Events of a log.jsonl; lines that are not whole JSON objects (a kill in mid-write) are left out."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    is_step = [bool(_STEP_LINE.search(line)) for line in lines]
    stride = max(1, math.ceil(sum(is_step) / max(1, max_steps)))
    events, seen = [], 0
    for line, step in zip(lines, is_step, strict=True):
        seen += step
        if step and (seen - 1) % stride:
            continue
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def gallery_folders(experiment: Experiment) -> dict[str, Path]:
    """Folder of drawn test frames by criterion; the criterion is a part of the folder's name."""
    found: dict[str, Path] = {}
    for path in sorted(experiment.folder.glob("*/test/vizu/50/gallery.json")):
        top = path.relative_to(experiment.folder).parts[0]
        for criterion in CRITERIA:
            if criterion in top:
                found[criterion] = path.parent
    return found


def read_records(path: Path) -> list[Record]:
    """A JSON file that holds a list of objects; empty if the file is missing or broken."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return []
    return [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []


def series(records: Iterable[Record], x: str, *path: str) -> tuple[list[float], list[float]]:
    """Points (record[x], record[path…]) of all records where both are finite numbers."""
    xs, ys = [], []
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        at, y = number(record.get(x)), number(value)
        if at is not None and y is not None:
            xs.append(at)
            ys.append(y)
    return xs, ys


def keys_of(records: Iterable[Record], *path: str) -> list[str]:
    """Names below ``path`` in any of the records, in order of first appearance."""
    names: dict[str, None] = {}
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, dict):
            names.update(dict.fromkeys(value))
    return list(names)


def duration(seconds: float | None) -> str:
    """Seconds as people read them: 42 s, 3 min 05 s, 2 h 10 min, 1 d 4 h."""
    if seconds is None:
        return "–"
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02d} s"
    if s < 86400:
        return f"{s // 3600} h {s % 3600 // 60:02d} min"
    return f"{s // 86400} d {s % 86400 // 3600} h"


def _read_dict(path: Path) -> Record:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_config(path: Path) -> Record:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
