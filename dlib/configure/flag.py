"""What a flag is: a dataclass field with type, default, choices, range and help; text becomes its value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import typing
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from dlib.utils.errors import UsageError

_TRUE = {"yes", "true", "t", "y", "1"}
_FALSE = {"no", "false", "f", "n", "0"}
_NULL = {"", "none", "null", "~"}
_INT_LIMIT = 2**63


@dataclass(frozen=True)
class Flag:
    """One line of the flags table.

    ``ge``, ``gt``, ``le``, ``odd`` limit numbers. ``aliases``: other words for a text, each with the value that it
    stands for. ``no_effect``: why this flag, which users' scripts may have, changes nothing
    here; a value other than the default then gives a warning.
    """

    name: str
    kind: type  # bool, int, float or str
    nullable: bool
    default: Any
    help: str
    group: str
    choices: tuple[Any, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    no_effect: str = ""
    odd: bool = False
    aliases: tuple[tuple[str, str], ...] = ()

    @property
    def type_name(self) -> str:
        """The type as the reference page shows it."""
        return "str2bool" if self.kind is bool else self.kind.__name__

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            names = [str(choice) if choice != "" else '""' for choice in self.choices]
            return f"one of {', '.join(names)}" + (" or None" if self.nullable else "")
        words = {
            bool: "a truth value (True or False)",
            int: "an odd integer" if self.odd else "an integer",
            float: "a number",
            str: "text",
        }[self.kind]
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in ((">=", self.ge), (">", self.gt), ("<=", self.le))
            if bound is not None
        ]
        return f"{words} {' and '.join(bounds)}".rstrip()

    def convert(self, text: str, source: str = "") -> Any:
        """Value of ``text``, found at ``source``; else UsageError with flag, value and what was expected."""
        try:
            return self._parse(text)
        except ValueError:
            raise UsageError(f"{source}--{self.name} {shorten(text)!r}: expected {self.expected}") from None

    def check(self, value: Any) -> Any:
        """``value`` (already of some Python type) if this flag may hold it, else UsageError."""
        if value is None and self.nullable:
            return None
        if isinstance(value, bool) != (self.kind is bool) or value is None:
            raise UsageError(f"--{self.name} {value!r}: expected {self.expected}")
        return self.convert(str(value))

    def _parse(self, text: str) -> Any:
        if self.nullable and text.strip().lower() in _NULL:
            return None
        if self.kind is bool:
            return str2bool(text)
        if self.kind is str:
            if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
                raise ValueError("control characters")
            value: Any = dict(self.aliases).get(text.strip().lower(), text)
        elif self.kind is int:
            if not re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", text):
                raise ValueError("not an integer")
            value = int(text)
        else:
            if "_" in text:
                raise ValueError("not a number")
            value = float(text)
        if self.kind is not str and not self._in_range(value):
            raise ValueError("out of range")
        if not self.choices:
            return value
        found = self._choices_like(value)
        if not found:
            raise ValueError("not a choice")
        return found[0]

    def spelled(self, value: Any) -> Any:
        """``value`` as the choices spell it, if it is one of them in upper or lower case; else unchanged."""
        found = self._choices_like(value) if isinstance(value, str) else []
        return found[0] if found else value

    def _choices_like(self, value: Any) -> list[Any]:
        return [choice for choice in self.choices if str(choice).lower() == str(value).strip().lower()]

    def _in_range(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and abs(value) < _INT_LIMIT
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and not (self.odd and value % 2 == 0)
        )


def flag(default: Any, help: str, **more: Any) -> Any:
    """Dataclass field of one flag; ``more``: choices, ge, gt, le, no_effect, see ``Flag``.

    The flag's name, type and (for a Literal) choices are those of the field.
    """
    return dataclasses.field(default=default, metadata={"flag": {"help": help, **more}})


def like(group: type, name: str, **changes: Any) -> Any:
    """Dataclass field of a flag that is like flag ``name`` of ``group``; ``changes`` are arguments of ``flag``."""
    (field,) = (field for field in dataclasses.fields(group) if field.name == name)
    return flag(**{"default": field.default, **field.metadata["flag"], **changes})


def flags_of(group: type) -> list[Flag]:
    """The flags that one group of the table declares; the group's title is its docstring's first line."""
    title = (group.__doc__ or group.__name__).splitlines()[0].rstrip(".")
    hints = typing.get_type_hints(group)
    flags = []
    for field in dataclasses.fields(group):
        if "flag" not in field.metadata:
            continue
        kind, nullable, words = _kind(hints[field.name])
        more = {"choices": words, **field.metadata["flag"]}
        flags.append(Flag(field.name, kind, nullable, field.default, group=title, **more))
    return flags


def _kind(hint: Any) -> tuple[type, bool, tuple[Any, ...]]:
    """Type of a flag's values, whether None is one of them, and a Literal's words."""
    if typing.get_origin(hint) is Literal:
        words = typing.get_args(hint)
        return type(words[0]), False, words
    alternatives = typing.get_args(hint)
    kind = next((a for a in alternatives if a is not type(None)), hint)
    return kind, type(None) in alternatives, ()


def str2bool(text: str) -> bool:
    """Truth value of yes/no/true/false/t/f/y/n/1/0 in any case; ValueError for anything else."""
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"not a truth value: {text!r}")


def nearest(name: str, names: typing.Iterable[str]) -> str | None:
    """The name most like a misspelled one, or None if no name is near.

    Names that have ``name`` as their last part (``lr`` of ``opt__lr``, ``seed`` of ``MYSEED``) or as their first come
    before others; up to three of them are joined by "or".
    """
    known, short = list(names), name.lstrip("-").lower()
    # After "__" begins the name that the flag has in its own group.
    parts = [other for other in known if other.endswith(f"__{short}")] or [
        o for o in known if o.lower().endswith(short) or o.lower().lstrip("-").startswith(f"{short}_")
    ]
    if parts and len(short) > 1:
        return " or ".join(sorted(parts, key=len)[:3])
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return found[0] if found else None


def shorten(text: str, limit: int = 80) -> str:
    """``text``, cut if it is too long for a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
