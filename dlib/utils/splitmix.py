"""SplitMix64 (Steele, Lea & Flood 2014, with Stafford's constants): numbers that are mixed well.

The same function for Python's integers and for int64 tensors, whose products wrap modulo 2^64 on every device.
"""

from __future__ import annotations

from torch import Tensor

MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SIGN = 1 << 63


def signed(number: int) -> int:
    """The int64 with the bits of ``number`` modulo 2^64."""
    return ((number + _SIGN) & MASK) - _SIGN


GOLDEN = signed(_GOLDEN)  # the difference of two neighbouring states of the generator


def finalize(state: int) -> int:
    """A bijection of 0 … 2^64 − 1 in which every output bit depends on every input bit."""
    state = ((state ^ (state >> 30)) * _FIRST) & MASK
    state = ((state ^ (state >> 27)) * _SECOND) & MASK
    return state ^ (state >> 31)


def mix(*numbers: int) -> int:
    """One well-mixed 63-bit number from several integers, chained."""
    state = 0
    for number in numbers:
        state = finalize((state + (number & MASK) + _GOLDEN) & MASK)
    return state >> 1


def shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift of int64 (torch shifts them arithmetically)."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def finalize_tensor(x: Tensor) -> Tensor:
    """``finalize`` of the bits of an int64 tensor of any shape."""
    x = (x ^ shift_right(x, 30)).mul_(signed(_FIRST))
    x = x.bitwise_xor_(shift_right(x, 27)).mul_(signed(_SECOND))
    return x.bitwise_xor_(shift_right(x, 31))
