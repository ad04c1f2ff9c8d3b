"""Writing the metadata files of a dataset's splits (the folds); shared by all builders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dlib.datasets.images import open_image
from dlib.datasets.metadata import (
    BOXES_FILE,
    CLASSES_FILE,
    IDS_FILE,
    LABELS_FILE,
    SIZES_FILE,
    box_fault,
    is_plain,
)
from dlib.utils import files
from dlib.utils.errors import UserError

Box = tuple[float, float, float, float]
FOLDS_ROOT = Path("folds/wsol-done-right-splits")


@dataclass(frozen=True)
class Item:
    """One line of a split: a shot (train; without size) or a frame (width, height) with its known boxes."""

    id: str
    label: int
    size: tuple[int, int] | None = None
    boxes: tuple[Box, ...] = ()


def write_folds(folder: Path, class_names: Sequence[str], splits: dict[str, list[Item]]) -> None:
    """Write ``<folder>/<split>/*.txt`` and ``class_id.yaml``; files that are already right are not touched.

    A frame without known box gets the box 0,0,0,0. Each file is replaced in one step, so that an interrupted run
    leaves no half file.
    Raises UserError if a split has no item, or for a name that text files cannot hold.
    """
    for name in class_names:
        check_name(folder, name)
    for split, items in splits.items():
        if not items:
            raise UserError(
                f"{folder / split}: the split would be empty; more videos (with boxes) are needed"
            )
        for item in items:
            check_name(folder / split, item.id)
    for split, items in splits.items():
        sized = [item for item in items if item.size is not None]
        lines = {
            IDS_FILE: [item.id for item in items],
            LABELS_FILE: [f"{item.id},{item.label}" for item in items],
            SIZES_FILE: [f"{item.id},{item.size[0]},{item.size[1]}" for item in sized if item.size],
            BOXES_FILE: [_box_line(item.id, box) for item in sized for box in item.boxes or [(0, 0, 0, 0)]],
        }
        for name, texts in lines.items():
            write_if_changed(folder / split / name, "".join(f"{text}\n" for text in texts))
    classes = {name: index for index, name in enumerate(class_names)}
    write_if_changed(folder / CLASSES_FILE, yaml.safe_dump(classes, sort_keys=False, allow_unicode=True))


def check_name(where: Path, name: str) -> str:
    """The name itself. Raises UserError if it does not fit into a line of UTF-8 text."""
    if not name.isprintable() and not is_plain(name):  # the first test is the fast one
        raise UserError(f"{where}: the name {name!a} is not plain UTF-8 text; rename the file or folder")
    return name


def _box_line(name: str, box: Iterable[float]) -> str:
    return ",".join([name, *(f"{value:.10g}" for value in box)])


def write_if_changed(path: Path, text: str) -> None:
    """Write a UTF-8 file in one step, unless it has this content already."""
    if not (path.is_file() and path.read_bytes() == text.encode()):
        files.write_text(path, text)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the file's header. Raises UserError if it is no image, or too large for a frame."""
    with open_image(path, "get the file again or remove it") as image:
        return image.size


def checked_box(box: Sequence[float], size: tuple[int, int], where: str) -> Box:
    """The box as annotated, also if it reaches beyond its frame: clipping would change scores.

    Raises UserError naming ``where`` if the box is empty or lies outside its frame.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    fault = box_fault((x0, y0, x1, y1), size)
    if fault:
        raise UserError(f"{where}: the box {', '.join(f'{v:g}' for v in box)} {fault}; fix it")
    return (x0, y0, x1, y1)


def without_negatives(box: Sequence[float]) -> Box:
    """The box with 0 for negative values, as in the folds of YouTube-Objects."""
    x0, y0, x1, y1 = (float(value) if value > 0 else 0.0 for value in box)
    return (x0, y0, x1, y1)


def ordered_box(box: Sequence[float], where: str, notes: list[str]) -> Box:
    """The box with its corners in order; a note says if they were not."""
    x0, y0, x1, y1 = (float(value) for value in box)
    if x1 < x0 or y1 < y0:
        notes.append(f"{where}: swapped corners")
    return (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
