"""Reading MATLAB files of box annotations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dlib.datasets.build.matprocess import MatProcess
from dlib.utils.errors import UserError

_READER = MatProcess()


def load_variable(path: Path, name: str) -> Any:
    """Variable ``name`` of a .mat file as scipy gives it. Raises UserError naming a file that cannot be read."""
    try:
        variables = _READER.load(path)
    except ValueError as error:
        raise UserError(f"{path}: not a readable .mat file ({error}); get it again") from error
    if name not in variables:
        raise UserError(f"{path}: has no variable {name!r}; get it again")
    return variables[name]


def read_sticks(path: Path) -> list[list[float]]:
    """Boxes [x0, y0, x1, y1] of a v1.0 ``*_sticks.mat``: variable ``coor``, cells of four numbers.

    Raises UserError naming the file.
    """
    cells = np.atleast_1d(np.asarray(load_variable(path, "coor")))
    if cells.size == 0:
        return []
    boxes = list(cells.ravel()) if cells.dtype == object else list(cells.reshape(-1, cells.shape[-1]))
    return [row for box in boxes for row in _rows(path, box)]


def read_frame_boxes(path: Path, name: str) -> list[tuple[str, list[list[float]]]]:
    """(frame's name, its boxes) of v2.2's ``bb_gtTraining`` or ``bb_gtTest``, in the file's order.

    The pairs may be a struct array with two fields, or a cell array with two columns.
    Raises UserError naming the file.
    """
    pairs = []
    for left, right in _pairs(path, np.asarray(load_variable(path, name))):
        label = np.asarray(left).ravel()
        if label.size != 1 or not isinstance(label[0], str):
            raise UserError(
                f"{path}: {name} has an entry whose first field is not a frame name; get it again"
            )
        pairs.append((str(label[0]).strip(), _rows(path, right)))
    return pairs


def _pairs(path: Path, value: np.ndarray) -> Iterator[tuple[Any, Any]]:
    if value.size == 0:
        return
    if value.dtype.names and len(value.dtype.names) >= 2:
        first, second = value.dtype.names[:2]
        for record in value.ravel():
            yield from _unpack(record[first], record[second])
    elif value.dtype == object and value.ndim == 2 and value.shape[1] == 2 and not _is_nested(value[0, 0]):
        yield from value
    elif value.dtype == object:
        for cell in value.ravel():
            if not isinstance(cell, np.ndarray):  # a sparse matrix, which would become a cell again
                raise UserError(f"{path}: a cell holds neither frame names nor boxes; get it again")
            yield from _pairs(path, cell)
    else:
        raise UserError(f"{path}: expected pairs of frame name and boxes, found {value.dtype}; get it again")


def _unpack(left: Any, right: Any) -> Iterator[tuple[Any, Any]]:
    """One pair, or one pair per cell where a single struct holds two cell columns."""
    names, boxes = np.asarray(left), np.asarray(right)
    if names.dtype == object and names.size > 1 and boxes.dtype == object and boxes.size == names.size:
        yield from zip(names.ravel(), boxes.ravel(), strict=True)
    else:
        yield left, right


def _is_nested(cell: Any) -> bool:
    value = np.asarray(cell)
    return value.dtype.names is not None or (value.dtype == object and value.size > 1)


def _rows(path: Path, value: Any) -> list[list[float]]:
    """The rows of an n×4 array, also if a cell holds it."""
    array = np.asarray(value)
    while array.dtype == object and array.size == 1 and isinstance(array.ravel()[0], np.ndarray):
        array = array.ravel()[0]
    if array.size == 0:
        return []
    boxes = None
    if array.dtype.kind in "biufO" and array.ndim and (array.size == 4 or array.shape[-1] == 4):
        with suppress(TypeError, ValueError):
            boxes = np.array([_number(value) for value in array.ravel()]).reshape(-1, 4)
    if boxes is None or not np.isfinite(boxes).all():
        raise UserError(f"{path}: a box is not four numbers (array of shape {array.shape}); get it again")
    return [[float(number) for number in row] for row in boxes]


def _number(value: Any) -> float:
    """A number, also if a cell holds it. Raises TypeError for text and complex numbers."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if not isinstance(value, int | float | np.integer | np.floating | np.bool_):
        raise TypeError(f"{type(value).__name__} is not a number")
    return float(value)
