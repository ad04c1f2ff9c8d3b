"""Random numbers that depend on what they are for, not on what happened before.

Every random choice of a run is a function of (seed, epoch, step or sample). A run that is killed and resumed, or
that uses another number of workers, therefore draws the same numbers as an undisturbed run.
"""

from __future__ import annotations

import random

import torch

from dlib.utils.errors import UserError
from dlib.utils.splitmix import mix


def seed_all(*numbers: int) -> None:
    """Set Python's and PyTorch's global generators from ``numbers``; for programs, never for libraries."""
    value = mix(*numbers)
    random.seed(value)
    torch.manual_seed(value)


def use_deterministic_algorithms(on: bool) -> None:
    """Make CUDA kernels give the same bits in every run (slower). CPU kernels always do, for one number of threads.

    Otherwise cuDNN measures once for each shape which of its convolutions is the fastest.
    """
    torch.backends.cudnn.benchmark = not on
    if not on:
        return
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
    except RuntimeError as error:
        raise UserError(f"--deterministic True: {error}") from error
