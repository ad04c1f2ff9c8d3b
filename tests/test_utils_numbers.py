"""Mixed numbers against published ones, and numbers as people read them."""

from __future__ import annotations

import pytest
import torch

from dlib.utils.splitmix import GOLDEN, MASK, finalize, finalize_tensor, mix, signed
from dlib.utils.text import duration, percent
from helpers.splitmix import PUBLISHED, SEED


def test_splitmix_gives_the_published_numbers() -> None:
    states = [(SEED + k * GOLDEN) & MASK for k in range(1, 6)]
    assert [finalize(state) for state in states] == PUBLISHED
    found = finalize_tensor(torch.tensor([signed(state) for state in states])).tolist()
    assert [number & MASK for number in found] == PUBLISHED
    assert mix(SEED) == PUBLISHED[0] >> 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (7830, "2 h 10 min"),
        (100_800, "1 d 4 h"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_percents() -> None:
    assert (percent(None), percent(12.34), percent(100.0)) == ("–", "12.3", "100.0")
