"""Random numbers that depend on what they are for, not on what happened before.

Every random choice of a run is a function of (seed, epoch, step or sample). A run that is killed and resumed, or
spread over other numbers of workers, therefore draws the same numbers as one that never was.
"""

from __future__ import annotations

import random

import torch

from dlib.utils.errors import UserError

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """One well-mixed 63-bit number from several integers (SplitMix64 finalizer, chained)."""
    state = 0
    for number in numbers:
        state = (state + (number & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seed_all(*numbers: int) -> None:
    """Set Python's and PyTorch's global generators from ``numbers``; for programs, never for libraries."""
    value = mix(*numbers)
    random.seed(value)
    torch.manual_seed(value)


def use_deterministic_algorithms(on: bool) -> None:
    """Let CUDA kernels give the same bits at every run (slower); the CPU's always do for one thread count."""
    if not on:
        return
    torch.backends.cudnn.benchmark = False
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
    except RuntimeError as error:
        raise UserError(f"--deterministic True: {error}") from error
