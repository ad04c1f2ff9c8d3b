"""The gallery's frames on a page: pictures without boxes, and over them boxes that a script can move."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlib.visualization.page import Pictures
from dlib.visualization.panels import placed_box
from dlib.visualization.records import Experiment, Record, gallery_folders, number, read_records

_MOST_FRAMES = 24  # of a comparison


def embedded(record: Record, folder: Path, pictures: Pictures) -> Record | None:
    """The record with its picture as "picture"; None if that is missing, does not fit or lies outside ``folder``.

    A record with the boxes at every threshold gets "drawing" too: the boxes, and what the page's script needs.
    """
    drawing = _drawing(record)
    found = _embed(str(record.get("plain" if drawing else "image", "")), folder, pictures)
    if found is None:
        return None
    return {**record, "iou": number(record.get("iou")), "picture": found, "drawing": drawing}


def same_frames(experiments: Sequence[Experiment], criterion: str, pictures: Pictures) -> list[Record]:
    """The frames that the galleries of all experiments have in common, at most 24.

    Returns: for each frame "id", "label", "frame" (its picture, or None) and "cells": the map of each experiment, or
    None for one without pictures. The list is empty with fewer than two galleries.
    """
    found = [gallery_folders(e).get(criterion) for e in experiments]
    galleries = [
        (folder, {str(r.get("id")): r for r in read_records(folder / "gallery.json")} if folder else {})
        for folder in found
    ]
    drawn = [(folder, records) for folder, records in galleries if folder]
    if len(drawn) < 2:
        return []
    first_folder, first = drawn[0]
    common = [name for name in first if all(name in records for _, records in drawn)]
    rows = []
    for name in common[:_MOST_FRAMES]:
        cells = [
            _last_panel(records[name], folder, pictures) if folder else None for folder, records in galleries
        ]
        rows.append(
            {
                "id": name,
                "label": first[name].get("label", ""),
                "frame": _panel(first[name], 0, first_folder, pictures),
                "cells": cells,
            }
        )
    return [row for row in rows if any(row["cells"])]


def _last_panel(record: Record, folder: Path, pictures: Pictures) -> Record | None:
    """An experiment's own map with its boxes; of a gallery of an earlier version the whole picture."""
    own = _panel(record, -1, folder, pictures)
    if own is None:
        own = embedded({**record, "strip": None}, folder, pictures)
    return own and {**own, "iou": number(record.get("iou"))}


def _panel(record: Record, at: int, folder: Path, pictures: Pictures) -> Record | None:
    """One panel of a strip, by its place from the left (0: the frame) or from the right (-1)."""
    drawing = _drawing(record)
    if drawing is None:
        return None
    width, height = drawing["size"]
    at %= len(drawing["maps"]) + 1
    left = at * (width + drawing["gap"])
    found = _embed(str(record.get("plain", "")), folder, pictures, (left, 0, left + width, height))
    if found is None:
        return None
    inside = [{**r, "x": r["x"] - left} for r in drawing["rects"] if left <= r["x"] < left + width]
    return {"picture": found, "drawing": {"rects": inside, "width": width, "height": height}}


def _embed(name: str, folder: Path, pictures: Pictures, area: tuple[int, ...] | None = None) -> Any:
    path = folder / name
    if not (path.resolve().is_relative_to(folder.resolve()) and path.is_file()):
        return None
    return pictures.embed(path, area)


def _drawing(record: Record) -> Record | None:
    """The strip of a record with its boxes as rectangles; None if it has none, or one that no run writes."""
    strip: Any = record.get("strip")
    try:
        size, gap, side = [int(v) for v in strip["size"]], int(strip["gap"]), int(strip["side"])
        maps = [_map(entry) for entry in strip["maps"]]
        truth = [[float(v) for v in box] for box in record["gt"]]
        if len(size) != 2 or min(*size, side) < 1 or not maps:
            return None
        rects = []
        for panel in range(len(maps) + 1):
            left = panel * (size[0] + gap)
            rects += [_rect(box, side, size, left, "truth") for box in truth]
            if panel:
                box = maps[panel - 1]["box"] or [0, 0, 0, 0]
                rect = _rect(box, side, size, left, "predicted")
                rects.append({**rect, "map": panel - 1, "hidden": not any(box)})
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    width = (len(maps) + 1) * (size[0] + gap) - gap
    data = {"size": size, "gap": gap, "side": side, "maps": maps}
    return {**data, "width": width, "height": size[1], "rects": rects, "json": json.dumps(data)}


def _map(entry: Mapping[str, Any]) -> Record:
    box = entry["box"]
    steps = [[*(int(v) for v in step[:-1]), float(step[-1])] for step in entry["steps"]]
    if any(len(step) != 6 for step in steps):
        raise ValueError("a step is a level, a box and its IoU")
    return {
        "name": str(entry["name"]),
        "tau": number(entry["tau"]),
        "box": None if box is None else [int(v) for v in box],
        "iou": number(entry["iou"]),
        "peak": int(entry["peak"]),
        "steps": steps,
    }


def _rect(box: Sequence[float], side: int, size: Sequence[int], left: int, kind: str) -> Record:
    """A box in pixels of the strip; the part of a true box beyond its frame is cut off."""
    x0, y0, x1, y1 = placed_box(box, side, (size[0], size[1]))
    x0, y0, x1, y1 = max(0, x0), max(0, y0), min(size[0] - 1, x1), min(size[1] - 1, y1)
    return {
        "x": left + x0,
        "y": y0,
        "width": max(1, x1 - x0 + 1),
        "height": max(1, y1 - y0 + 1),
        "kind": kind,
    }
