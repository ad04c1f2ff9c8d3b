"""Which card a process takes, by what --cudaid, CUDA_VISIBLE_DEVICES and the number of visible cards say."""

from __future__ import annotations

import itertools

import pytest
import torch

from dlib.utils import distributed
from dlib.utils.cards import card_names, card_of_process
from dlib.utils.errors import UsageError
from helpers.programs import start
from helpers.workplace import Workplace

A, B = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1234abcd-0000-1111-2222-333344445555"
MIG = "MIG-41b5cbd2-59c8-5d2b-8e8a-2d8a3c2b1f00"
OLD_MIG = f"MIG-{A}/1/2"

# CUDA_VISIBLE_DEVICES, --cudaid, visible cards, and the cards of all processes (or words of the error).
NOT_SET = [
    (None, "0", 1, [0]),
    (None, "0", 4, [0]),
    (None, "0", 4, [0, 1, 2, 3]),
    (None, "1", 4, [1, 2, 3]),
    (None, "0,2,3", 4, [0, 2, 3]),
    (None, "0,2,3", 4, [0]),
    (None, "3,0", 4, [3, 0]),
    (None, "2 , 3", 4, [2, 3]),
    (None, "02", 4, [2]),
    (None, "0,0", 1, [0, 0]),
    (None, "1", 1, "card 1 does not exist (this machine has 1): start fewer processes or change --cudaid"),
    (None, "0", 1, 2, "card 1 does not exist"),
    (None, "3", 4, 2, "card 4 does not exist"),
    (None, "0,7", 4, 2, "card 7 does not exist"),
    (None, "0,1", 4, 3, "--cudaid 0,1 names 2 cards, but this machine runs 3 processes"),
    (None, A, 1, "a card's name counts only where CUDA_VISIBLE_DEVICES lists it; give its number"),
]
ONE_CARD = [
    ("1", "1", 1, [0]),  # README: cudaid=1; export CUDA_VISIBLE_DEVICES=$cudaid; … --cudaid $cudaid
    ("1", "0", 1, [0]),
    ("0", "7", 1, [0]),
    ("1", "2,3", 1, [0]),
    ("1", "0,0", 1, [0, 0]),
    ("0,-1,1", "1", 1, [0]),  # CUDA stops at -1
    ("0,9,1", "0", 1, [0]),  # and at a card that is not there
    (A, "3", 1, [0]),
    (A, A, 1, [0]),
    (A, "GPU-8932", 1, [0]),
    ("GPU-8932", A, 1, [0]),
    ("gpu-8932F", A, 1, [0]),
    (MIG, MIG, 1, [0]),
    (MIG, "0", 1, [0]),
    (MIG, "MIG-41b5", 1, [0]),
    (OLD_MIG, OLD_MIG, 1, [0]),
    (OLD_MIG, "1", 1, [0]),
    (f"{MIG},{OLD_MIG}", MIG, 1, [0]),  # of several MIG parts CUDA shows one
    (f"{MIG},{OLD_MIG}", OLD_MIG, 1, f"shows 1 card, not this one; give one of {MIG}"),
    ("1", "1", 1, 2, "CUDA_VISIBLE_DEVICES='1' shows 1 card, but this machine runs 2 processes: start fewer"),
    ("1", "0,1", 1, 2, "shows 1 card, but this machine runs 2 processes"),
    (A, B, 1, f"--cudaid {B}: CUDA_VISIBLE_DEVICES='{A}' shows 1 card, not this one; give one of {A}"),
    ("1", A, 1, "not this one; give one of 1"),  # which card has this name cannot be told
]
SEVERAL = [
    ("2,3", "2,3", 2, [0, 1]),
    ("2,3", "3,2", 2, [1, 0]),
    ("2,3", "2,3", 2, [0]),
    ("2,3", "3", 2, [1]),
    ("2,3", "2", 2, [0, 1]),
    ("2,3", "0", 2, [0, 1]),  # the default
    ("2,3", "1", 2, [1]),
    ("2,3", "0,1", 2, [0, 1]),
    ("2,3,0", "0", 3, [2]),  # listed: the card, not the place
    ("1,2,3", "1", 3, [0, 1]),
    ("1,0", "0", 2, [1]),
    ("1,0", "0", 2, [0, 1]),  # after card 0 there is none left: 0 is the place
    ("1,0", "0,1", 2, [1, 0]),
    ("0,1,2,3", "0", 4, [0, 1, 2, 3]),
    ("0,1,2,3", "0,2,3", 4, [0, 2, 3]),
    ("4,5,6", "0,2", 3, [0, 2]),
    ("2,3,5", "0,2", 3, [0, 2]),  # 0 is not listed: both are places, never the same card twice
    (" 2 , 3 ", "3", 2, [1]),
    ("2,3,-1,5", "3", 2, [1]),
    (f"{A},{B}", B, 2, [1]),
    (f"{A},{B}", f"{B},{A}", 2, [1, 0]),
    (f"{A},{B}", A, 2, [0, 1]),
    (f"{A},{B}", "1", 2, [1]),
    (f"{A},{B}", f"1,{A}", 2, [1, 0]),
    ("GPU-89,GPU-12", f"{B},{A}", 2, [1, 0]),
    ("2,3", "5", 2, "--cudaid 5: CUDA_VISIBLE_DEVICES='2,3' shows 2 cards, not this one; give one of 2, 3"),
    ("2,3", "3", 2, 2, "not one of its own to each of 2 processes; give --cudaid 2,3"),
    ("2,3", "2,3", 2, 3, "--cudaid 2,3 names 2 cards, but this machine runs 3 processes"),
    ("2,3", "0", 2, 3, "shows 2 cards, but this machine runs 3 processes"),
    ("2,3,-1,5", "5", 2, "give one of 2, 3"),  # CUDA does not show what follows -1
    (f"{A},{B}", f"0,{A}", 2, 2, "not one of its own to each of 2 processes"),
    (f"{A},{B}", "GPU-ffff", 2, "not this one"),
    ("GPU-89aa,GPU-89bb", "GPU-89", 2, "not this one"),  # could be either
]


@pytest.mark.parametrize("row", [*NOT_SET, *ONE_CARD, *SEVERAL], ids=str)
def test_cards(row: tuple) -> None:
    """Every process gets its card, or every one the same line."""
    visible, cudaid, count, *rest = row
    if isinstance(rest[-1], list):
        (cards,) = rest
        found = [card_of_process(visible, cudaid, count, rank, len(cards)) for rank in range(len(cards))]
        assert found == cards
        return
    processes = rest[0] if len(rest) > 1 else 1
    lines = set()
    for rank in range(processes):
        with pytest.raises(UsageError) as error:
            card_of_process(visible, cudaid, count, rank, processes)
        lines.add(str(error.value))
    (line,) = lines
    assert rest[-1] in line
    assert "\n" not in line


LISTS = [None, "0", "1", "2,3", "1,0", "0,1,2", "3,-1,1", "GPU-a", "GPU-a,GPU-b", "MIG-a", "x", "0,0", "²"]
IDS = ["0", "1", "3", "0,1", "2,3", "1,0", "0,0", "GPU-a", "GPU-b,GPU-a", "MIG-a", "0,GPU-a"]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_all_combinations(count: int) -> None:
    """A card that exists or one line; two processes share a card only if --cudaid names it twice."""
    for visible, cudaid, processes in itertools.product(LISTS, IDS, [1, 2, 3]):
        try:
            cards = [card_of_process(visible, cudaid, count, rank, processes) for rank in range(processes)]
        except UsageError:
            continue
        assert all(0 <= card < count for card in cards)
        assert len(set(cards)) == processes or cudaid == "0,0", (visible, cudaid, cards)
        if visible is None and processes == 1:
            assert cards == [int(cudaid.split(",")[0])]


@pytest.mark.parametrize(
    "cudaid", ["", "gpu0", "0,", "-1", "1.5", "GPU-", "GPU-a b", "٣", "1" * 5000, "0\n1"]
)
def test_no_card(cudaid: str) -> None:
    with pytest.raises(
        UsageError, match="expected card numbers separated by commas, such as 0 or 0,1"
    ) as error:
        card_names(cudaid)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 250


def show(monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int) -> None:
    """Make this a machine on which CUDA shows so many cards."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_the_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, "2,3", 2)
    for rank, place in (("0", 1), ("1", 0)):
        monkeypatch.setenv("LOCAL_RANK", rank)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        assert distributed.device_of_process("auto", "3,2", 0) == torch.device("cuda", place)
    show(monkeypatch, "3,0", 2)
    assert distributed.pick_device("auto", None) == torch.device("cuda", 0)


@pytest.mark.parametrize("visible", ["", "-1", "9"])
def test_a_variable_that_hides_all_cards(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    show(monkeypatch, visible, 0)
    assert distributed.pick_device("auto", "1").type == "cpu"
    code, _, error = start(workplace.flags(device="cuda", cudaid=1))
    assert (code, error) == (
        2,
        f"error: --device cuda: no CUDA card can be used here with CUDA_VISIBLE_DEVICES={visible!r}; "
        "leave the flag out to compute on the CPU\n",
    )


def test_a_wrong_card_ends_the_program_in_one_line(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(monkeypatch, "2,3", 2)
    code, out, error = start(workplace.flags(cudaid=5))
    assert (code, out, error) == (
        2,
        "",
        "error: --cudaid 5: CUDA_VISIBLE_DEVICES='2,3' shows 2 cards, not this one; give one of 2, 3\n",
    )


def test_the_second_card_of_a_machine(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """``export CUDA_VISIBLE_DEVICES=1; … --cudaid 1`` gets as far as the data."""
    show(monkeypatch, "1", 1)
    code, _, error = start(workplace.flags(cudaid=1, data_root=workplace.folder))
    assert code == 1
    assert error.startswith("error: dataset tiny not found")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    code, _, error = start(workplace.flags(cudaid=1, data_root=workplace.folder))
    assert code == 2
    assert error.startswith("error: card 1 does not exist (this machine has 1)")
