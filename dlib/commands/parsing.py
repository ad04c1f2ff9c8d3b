"""The parser of all commands except train: argparse, with errors of one line that names the remedy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextvars import ContextVar
from typing import NoReturn, get_args

from dlib.commands.registry import COMMANDS
from dlib.configure.flag import nearest, shorten, str2bool
from dlib.configure.literals import Colormap
from dlib.utils.errors import UsageError

by_colocam = ContextVar("by_colocam", default=False)


def called_as(name: str) -> str:
    """How the user started the command ``name``: with ``colocam``, or without it."""
    return f"colocam {name}" if by_colocam.get() else COMMANDS[name].without_colocam


class CommandParser(argparse.ArgumentParser):
    """Parser of the command ``name`` of the registry; ``description`` keeps its line breaks.

    Its methods raise UsageError for a wrong command line.
    """

    def __init__(self, name: str, description: str | None, usage: str | None = None) -> None:
        super().__init__(
            prog=called_as(name),
            usage=usage,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The values of a command line; the error for a misspelled flag names the nearest flag."""
        found, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].partition("=")[0]
            guess = nearest(flag, self.flags) if flag.startswith("-") else None
            kind = "flag" if flag.startswith("-") else "word"
            hint = f"did you mean {guess}?" if guess else f"{self.prog} --help lists what there is"
            raise UsageError(f"unknown {kind} {shorten(flag)}; {hint}")
        return found

    def read_before_dashes(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """The values of the words before ``--``, and the words after it, which are for another program."""
        words = [*arguments, "--"]
        at = words.index("--")
        return self.read(words[:at]), words[at + 1 : len(arguments)]

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    @property
    def flags(self) -> dict[str, tuple[str, ...] | None]:
        """Each flag and the values that it can have: None if it takes none, empty if any text is allowed."""
        return {
            flag: None if action.nargs == 0 else tuple(map(str, action.choices or ()))
            for action in self._actions
            for flag in action.option_strings
            if flag.startswith("--")
        }

    @property
    def words(self) -> tuple[str, ...] | None:
        """Values of the words that are not flags: None if there are no such words, empty if any text is allowed."""
        found = [action for action in self._actions if not action.option_strings]
        return tuple(str(choice) for action in found for choice in action.choices or ()) if found else None

    def add_switch(self, name: str, what: str) -> None:
        """A flag that is True or False, and False without its value; ``what`` it does."""
        self.add_argument(name, type=_truth, default=False, metavar="BOOL", help=f"{what} (False)")

    def add_map_flags(self) -> None:
        """The flags of how a map is drawn over its frame."""
        self.add_argument(
            "--opacity",
            type=_share,
            default=0.6,
            help="of a map where its value is 1, from 0 to 1 (%(default)s)",
        )
        self.add_argument(
            "--colormap", choices=get_args(Colormap), default="heat", help="colours of a map (%(default)s)"
        )


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 0 to 1")
    return share


def _truth(text: str) -> bool:
    try:
        return str2bool(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False") from error
