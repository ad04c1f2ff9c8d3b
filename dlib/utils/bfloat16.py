"""bfloat16 on CPUs: which processors compute in it, and whether a network's passes gain from it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

LEAST_GAIN = 1.1  # float32's time over bfloat16's; less is within what two measurements of the same differ by
_ROUNDS = 3
_MOST_SECONDS = 1.0  # after this time no further round begins


def native_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16 that PyTorch uses (AVX512-BF16 or AMX).

    Elsewhere bfloat16 is emulated, many times slower than float32. PyTorch's functions for it are private: one that is
    missing counts as no.
    """
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def training_gain(network: nn.Module, images: Tensor, layout: torch.memory_format) -> float:
    """Float32's processor time over bfloat16's, of a forward and a backward pass in training.

    Neither the network nor PyTorch's generator changes.

    Args:
        network: on the CPU; it gives a tensor or a tuple of tensors.
        images: float32 [B, 3, H, W] with B >= 2, normalized.
        layout: of the images that the bfloat16 passes get.
    """
    arranged = images.contiguous(memory_format=layout)
    with torch.random.fork_rng(devices=[]):
        network = copy.deepcopy(network).train()
        return _ratio(partial(_pass, network, images, False), partial(_pass, network, arranged, True))


def _ratio(plain: Callable[[], None], other: Callable[[], None]) -> float:
    """Time of ``plain`` over that of ``other``: the shortest of a few rounds in turns, after one that warms up."""
    both = (plain, other)
    for run in both:
        run()
    begin = time.perf_counter()
    rounds: list[list[float]] = []
    while len(rounds) < _ROUNDS and (not rounds or time.perf_counter() - begin < _MOST_SECONDS):
        rounds.append([_processor_time(run) for run in both])
    first, second = (min(times) for times in zip(*rounds, strict=True))
    return first / second


def _processor_time(run: Callable[[], None]) -> float:
    """Seconds of the processor for a call: other programs disturb it less than the clock."""
    start = time.process_time()
    run()
    return time.process_time() - start


def _pass(network: nn.Module, images: Tensor, half: bool) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = network(images)
    tensors = output if isinstance(output, tuple) else (output,)
    losses = [tensor.float().square().mean() for tensor in tensors if tensor.requires_grad]
    if losses:
        torch.stack(losses).sum().backward()
    network.zero_grad(set_to_none=True)
