"""``colocam COMMAND``: every command by its name, also as ``python -m dlib.commands COMMAND``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress

from dlib.commands.door import command
from dlib.commands.parsing import by_colocam
from dlib.commands.registry import COMMANDS
from dlib.configure.flag import nearest, shorten
from dlib.utils.errors import UsageError


def help_text() -> str:
    """What ``colocam --help`` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: colocam COMMAND [--flag value ...]",
            "",
            "CoLo-CAM: object localization in videos from class labels alone.",
            "",
            "Commands:",
            *(f"  {name:<{width}}  {entry.summary}" for name, entry in COMMANDS.items()),
            "",
            "colocam COMMAND --help shows the flags of one command.",
        ]
    )


@command()
def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        with suppress(BrokenPipeError):  # the reader, such as head, stopped reading before the end
            print(help_text())
        return 0
    name, *words = arguments
    if name not in COMMANDS:
        guess = nearest(name, COMMANDS)
        hint = f"did you mean {guess}?" if guess else "colocam --help lists the commands"
        raise UsageError(f"{shorten(name)!r} is not a command; {hint}")
    before = by_colocam.set(True)
    try:
        code: int = COMMANDS[name].load().main(words)
    finally:
        by_colocam.reset(before)
    return code


if __name__ == "__main__":
    sys.exit(main())
