"""Kinds of values in the files of an experiment, for all values that curves, report, comparison and status use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlib.utils.errors import UserError

Shape = Any  # a dict: an object, "*" being any other name; NUMBER; [NUMBER]: a list of numbers
NUMBER = (int, float)
ANY_NAME = "*"

_NUMBERS = {ANY_NAME: NUMBER}
_CORLOC = {"corloc": _NUMBERS, "per_class": {ANY_NAME: {"corloc": _NUMBERS}}}
REPORT = {
    "corloc": _NUMBERS,
    "top1": _NUMBERS,
    "classification_per_class": _NUMBERS,
    "per_class": {ANY_NAME: {"corloc": _NUMBERS, "best_tau": _NUMBERS, "top1": _NUMBERS}},
    "curves": {"taus": [NUMBER], ANY_NAME: {ANY_NAME: [NUMBER]}},
    "at_val_taus": _CORLOC,
    "box_rule": _CORLOC,
}
RESULTS = {
    "max_epochs": NUMBER,
    "best": {ANY_NAME: {"epoch": NUMBER, "step": NUMBER, "value": NUMBER}},
    "val": {ANY_NAME: REPORT},
    "test": {ANY_NAME: REPORT},
    "classifier_val": REPORT,
    "classifier_test": REPORT,
    "times": _NUMBERS,
    "environment": {},
}
CONFIG = {"max_epochs": NUMBER}
EVENTS = {
    "start": {"config": CONFIG, "environment": {}},
    "epoch": {"lr": [NUMBER], "seconds": _NUMBERS},
    "validation": {"epoch": NUMBER, "report": REPORT},
    "test": {"report": REPORT},
}
OUTCOMES = {ANY_NAME: _NUMBERS}


def check_shape(content: Any, shape: Shape, path: Path, where: str = "") -> None:
    """UserError that names the file and the place in it, if ``content`` holds another kind of value.

    A missing value or None is right everywhere except in lists.
    """
    if isinstance(shape, dict):
        _expect(content, dict, path, where)
        for name, value in content.items():
            inner = shape.get(name, shape.get(ANY_NAME))
            if inner is not None and value is not None:
                check_shape(value, inner, path, f"{where}.{name}" if where else str(name))
    elif isinstance(shape, list):
        _expect(content, list, path, where)
        for value in content:
            if not isinstance(value, shape[0]):  # checked here first: curves are long
                _expect(value, shape[0], path, f"{where}: an entry")
    else:
        _expect(content, shape, path, where)


def _expect(value: Any, kind: Any, path: Path, where: str) -> None:
    if not isinstance(value, kind):
        raise UserError(f"{path}: {where or 'the content'} is {_name(type(value))}, expected {_name(kind)}")


def _name(kind: Any) -> str:
    if kind in (NUMBER, int, float):
        return "a number"
    return {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}.get(kind, "nothing")
