"""What a run has logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def events(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The events of ``log.jsonl`` in order: all, or those of one kind."""
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event for event in logged if kind in (None, event["event"])]
