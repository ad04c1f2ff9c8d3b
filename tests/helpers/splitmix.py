"""SplitMix64 in whole numbers of Python, and its numbers as published for checking other programs."""

from __future__ import annotations

MASK = 2**64 - 1
SEED = 1234567
# The first numbers of the seed.
PUBLISHED = [
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
]


def output(state: int, number: int = 1) -> int:
    """The ``number``-th number of a generator that starts from ``state``, in 0..2^64 - 1."""
    z = (state + number * 0x9E3779B97F4A7C15) & MASK
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)
