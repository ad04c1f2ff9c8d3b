"""Which visible card a process uses: what ``--cudaid`` names, with the numbers of ``CUDA_VISIBLE_DEVICES``.

CUDA shows only the cards that the variable lists, and numbers them from 0 in the order of the list. It stops at the
first entry that it does not accept. If it shows n cards, the first n entries count.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from dlib.utils.errors import UsageError

VARIABLE = "CUDA_VISIBLE_DEVICES"
_NUMBER = re.compile("[0-9]{1,9}")
_NAME = re.compile(r"(GPU|MIG)-[\w/.:-]+", re.ASCII | re.IGNORECASE)


def card_names(cudaid: str) -> list[str]:
    """The cards that ``--cudaid`` names: numbers such as "2", without leading zeros, or names as nvidia-smi -L
    prints them (``GPU-…``, ``MIG-…``). Raises UsageError for any other text."""
    names = [part.strip() for part in cudaid.split(",")]
    if not all(_NUMBER.fullmatch(name) or _NAME.fullmatch(name) for name in names):
        raise UsageError(
            f"--cudaid {cudaid[:80]!r}: expected card numbers separated by commas, such as 0 or 0,1,"
            " or names (GPU-…, MIG-…)"
        )
    return [str(int(name)) if name.isdigit() else name for name in names]


def card_of_process(visible: str | None, cudaid: str, count: int, local_rank: int, processes: int = 1) -> int:
    """Index, from 0 to ``count`` - 1, of the visible card of process ``local_rank``.

    The ``i``-th process uses the ``i``-th card that ``cudaid`` names. If it names one card for several processes, they
    use this card and the visible ones after it. Without ``visible`` a number is the index itself. With it, the first
    of these ways to read ``cudaid`` counts that gives every process a card:

    1. numbers are those of the machine, as ``visible`` lists them: with "2,3", card 3 is index 1;
    2. numbers are indices, as without ``visible``; where a single card is visible, any number means that card.

    Names (``GPU-…``, ``MIG-…``) are looked up in ``visible``; both may be abbreviated.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES``; None: not set.
        count: how many cards CUDA shows.
        processes: how many of this run are on this machine.
    Raises UsageError, the same for every ``local_rank``, when ``cudaid`` does not give each process a card.
    """
    names = card_names(cudaid)
    processes = max(processes, local_rank + 1)
    if 1 < len(names) < processes:
        raise UsageError(
            f"--cudaid {cudaid} names {len(names)} cards, but this machine runs {processes} processes"
        )
    names = names[:processes]
    for reading in _readings(visible, count):
        cards = _cards(names, reading, processes)
        if all(card is not None and card < count for card in cards) and len(set(cards)) >= len(set(names)):
            return cards[local_rank] or 0
    raise UsageError(_why_not(visible, cudaid, names, count, processes))


Reading = Callable[[str], int | None]


def _readings(visible: str | None, count: int) -> list[Reading]:
    """Ways from a number or name to a visible card's index, in the order in which they are tried; None: no card."""
    if visible is None:
        return [lambda name: int(name) if name.isdigit() else None]
    listed = [entry.strip() for entry in visible.split(",")][:count]

    def of_machine(name: str) -> int | None:
        found = [index for index, entry in enumerate(listed) if _is_same(name, entry)]
        return found[0] if len(found) == 1 else None

    def of_process(name: str) -> int | None:
        if not name.isdigit():
            return of_machine(name)
        return 0 if count == 1 else int(name)

    return [of_machine, of_process]


def _is_same(name: str, entry: str) -> bool:
    if _NUMBER.fullmatch(entry):
        return name == str(int(entry))
    name, entry = name.lower(), entry.lower()
    named = _NAME.fullmatch(name) and _NAME.fullmatch(entry)
    return bool(named) and (name.startswith(entry) or entry.startswith(name))


def _cards(names: list[str], reading: Reading, processes: int) -> list[int | None]:
    cards = [reading(name) for name in names]
    if len(cards) == 1 and cards[0] is not None:
        return [cards[0] + i for i in range(processes)]
    return cards


def _why_not(visible: str | None, cudaid: str, names: list[str], count: int, processes: int) -> str:
    if visible is None:
        if unknown := [name for name in names if not name.isdigit()]:
            return (
                f"--cudaid {unknown[0]}: a card's name counts only where {VARIABLE} lists it; give its number"
            )
        cards = _cards(names, int, processes)
        absent = next(card for card in cards if card is not None and card >= count)
        return f"card {absent} does not exist (this machine has {count}): start fewer processes or change --cudaid"
    shown = f"{VARIABLE}={visible[:200]!r} shows {count} card{'' if count == 1 else 's'}"
    if processes > count:
        return f"{shown}, but this machine runs {processes} processes: start fewer, or list more cards"
    fitting = [entry.strip() for entry in visible[:200].split(",")][:count]
    if processes == 1:
        return f"--cudaid {cudaid[:80]}: {shown}, not this one; give one of {', '.join(fitting)}"
    return (
        f"--cudaid {cudaid[:80]}: {shown}, but not one of its own to each of {processes} processes; "
        f"give --cudaid {','.join(fitting[:processes])}"
    )
