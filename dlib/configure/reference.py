"""``--help`` and the reference page doc/flags.md, both made from the flags table.

``python -m dlib.configure.reference`` writes the page and the bash completion of all commands. ``--check`` only tells
whether these files are up to date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from dlib.commands import command
from dlib.configure.flag import Flag
from dlib.configure.table import FLAGS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "doc" / "flags.md"
COMPLETION = ROOT / "cmds" / "completion.bash"


def help_text(program: str) -> str:
    """What ``--help`` prints: flags in groups, with type or choices, and default."""
    parser = argparse.ArgumentParser(
        usage=f"{program} --flag value ...",
        description="CoLo-CAM: object localization in videos from class labels alone. First --task STD_CL, "
        "then cmds/promote.sh, then --task CoLo-CAM (or TCAM, F_CL). doc/flags.md has the same list.",
        add_help=False,
    )
    parser.add_argument_group("Help").add_argument("--help", action="store_true", help="this list")
    for title, members in groupby(FLAGS.values(), key=attrgetter("group")):
        group = parser.add_argument_group(title)
        for flag in members:
            group.add_argument(
                f"--{flag.name}", metavar=_metavar(flag), help=_meaning(flag).replace("%", "%%")
            )
    return parser.format_help()


def page_text() -> str:
    """The reference page in Markdown."""
    lines = [
        "# Flags",
        "",
        "Made by `python -m dlib.configure.reference` from `dlib/configure/flags_*.py`; do not edit by hand.",
        "Write a flag as `--flag value` or `--flag=value`; the last one wins. `--config FILE.yml` reads",
        "`flag: value` lines; a flag on the command line wins over them.",
        "Type `str2bool`: yes/no/true/false/t/f/y/n/1/0, any case.",
    ]
    for title, members in groupby(FLAGS.values(), key=attrgetter("group")):
        lines += [
            "",
            f"## {title}",
            "",
            "| flag | type | default | values | meaning |",
            "|---|---|---|---|---|",
        ]
        for flag in members:
            cells = (
                f"`--{flag.name}`",
                flag.type_name,
                f"`{_show(flag.default)}`",
                "any text" if flag.kind is str and not flag.choices else flag.expected,
                flag.help.replace("<", "&lt;")
                + (f" (no effect: {flag.no_effect})" if flag.no_effect else ""),
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


@command()
def main(argv: Sequence[str]) -> int:
    """Write both files. With ``--check`` write nothing, and return 1 if one differs from the table."""
    # Imported here: the commands import the package of this module.
    from dlib.commands.completion import completion_text

    stale = []
    for path, text in ((PAGE, page_text()), (COMPLETION, completion_text())):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if "--check" in argv and stale:
        print(f"out of date: {', '.join(stale)}; run python -m dlib.configure.reference", file=sys.stderr)
        return 1
    return 0


def _metavar(flag: Flag) -> str:
    if flag.choices and len(flag.choices) <= 4:
        return "|".join(str(choice) for choice in flag.choices if choice != "")
    return flag.type_name


def _meaning(flag: Flag) -> str:
    choices = f"; one of {', '.join(map(str, filter(None, flag.choices)))}" if len(flag.choices) > 4 else ""
    effect = f"; no effect: {flag.no_effect}" if flag.no_effect else ""
    return f"{flag.help}{choices}{effect} (default: {_show(flag.default)})"


def _show(value: object) -> str:
    return '""' if value == "" else str(value)


if __name__ == "__main__":
    sys.exit(main())
