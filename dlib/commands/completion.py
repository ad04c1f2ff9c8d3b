"""Completion for bash: commands of ``colocam``, their flags, and the values of flags with choices.

source <(colocam completion)          in this terminal
source cmds/completion.bash           the same file, in a checkout
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from dlib.commands.door import command
from dlib.commands.parsing import CommandParser
from dlib.commands.registry import COMMANDS
from dlib.configure.table import FLAGS

# The values of each flag: None if it takes none, empty if any text is allowed.
Values = Mapping[str, tuple[str, ...] | None]


def completion_text() -> str:
    """The script; if it offers nothing, bash offers files."""
    cases = []
    for name, entry in COMMANDS.items():
        if name == "train":
            cases += _cases(name, train_flags(), None)
        else:
            parser: CommandParser = entry.load().parser()
            cases += _cases(name, parser.flags, parser.words)
    return "\n".join(
        [
            "# Bash completion for colocam and main.py, made by: python -m dlib.configure.reference",
            "# Use: source cmds/completion.bash, then: colocam <Tab>, python main.py --<Tab>,",
            "# torchrun … main.py --<Tab>",
            "_colocam() {",
            '    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}" words',
            "    local name=train",
            '    if [[ "${COMP_WORDS[0]##*/}" == colocam ]]; then',
            '        name="${COMP_WORDS[1]}"',
            "        if ((COMP_CWORD == 1)); then name=colocam previous=; fi",
            '    elif [[ "${COMP_WORDS[*]}" != *main.py* ]]; then',
            "        return",
            "    fi",
            '    case "$name $previous $current" in',
            f'        "colocam "*) words="--help {" ".join(COMMANDS)}" ;;',
            *cases,
            "        *) return ;;",
            "    esac",
            '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
            "}",
            "complete -o bashdefault -o default -F _colocam colocam python python3 torchrun",
            "",
        ]
    )


def train_flags() -> Values:
    """The flags of main.py."""
    flags: dict[str, tuple[str, ...] | None] = {"--help": None}
    for flag in FLAGS.values():
        values = tuple(str(choice) for choice in flag.choices if choice != "")
        if flag.nullable and values:
            values = (*values, "None")
        flags[f"--{flag.name}"] = ("True", "False") if flag.kind is bool else values
    return flags


def _cases(name: str, flags: Values, words: tuple[str, ...] | None) -> list[str]:
    """Lines of the script's ``case`` for one command; ``words`` as in ``CommandParser``."""
    cases = [
        f'        "{name} {flag} "*) words="{" ".join(values)}" ;;'
        for flag, values in flags.items()
        if values
    ]
    # After these comes any text, such as a path.
    free = [f'"{name} {flag} "*' for flag, values in flags.items() if values == ()]
    if free:
        cases.append(f"        {' | '.join(free)}) return ;;")
    # Where words other than flags are expected, flags are offered only after their first dash.
    dash = "" if words is None else '" -"*'
    cases.append(f'        "{name} "*{dash}) words="{" ".join(flags)}" ;;')
    if words:
        cases.append(f'        "{name} {name} "*) words="{" ".join(words)}" ;;')
    return cases


def parser() -> CommandParser:
    return CommandParser("completion", __doc__)


@command()
def main(arguments: Sequence[str]) -> None:
    parser().read(arguments)
    print(completion_text(), end="")


if __name__ == "__main__":
    sys.exit(main())
