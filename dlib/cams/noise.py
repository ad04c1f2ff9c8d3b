"""Counter-based random numbers: a value is a function of (key, counter) alone.

So a sample's noise does not depend on its batch, on the process, on the device or on earlier draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dlib.utils.splitmix import GOLDEN, finalize_tensor, shift_right, signed

_UNIT = 2.0**-52


def combine(keys: Tensor, other: Tensor | int) -> Tensor:
    """A new int64 key from a key and a number (stream, index); shapes broadcast."""
    # Products of tensors wrap modulo 2^64 by themselves.
    other = signed(other * GOLDEN) if isinstance(other, int) else other * GOLDEN
    return finalize_tensor(finalize_tensor(keys + GOLDEN) + other)


def hash_uniform(keys: Tensor, count: int) -> Tensor:
    """``count`` numbers per key, uniform in (0, 1): int64 keys [...] -> float64 [..., count]."""
    counters = torch.arange(1, count + 1, device=keys.device) * GOLDEN
    bits = shift_right(finalize_tensor(keys.unsqueeze(-1) + counters), 12)  # [..., count], 52 bits
    return bits.to(torch.float64).add_(0.5).mul_(_UNIT)


def hash_normal(keys: Tensor, count: int) -> Tensor:
    """``count`` standard normal numbers per key (Box-Muller): int64 keys [...] -> float32 [..., count]."""
    half = (count + 1) // 2
    u = hash_uniform(keys, 2 * half)
    radius = u[..., :half].log().mul_(-2).sqrt_()
    angle = u[..., half:] * (2 * torch.pi)
    both = torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return both[..., :count].float()


def content_keys(images: Tensor) -> Tensor:
    """One key per image made from its pixels' bits: float32 [B, ...] -> int64 [B].

    The same picture has the same key in every batch: a sum modulo 2^64 does not depend on the order of its terms.
    """
    bits = images.float().flatten(1).contiguous().view(torch.int32).long()  # [B, n]
    places = torch.arange(1, bits.shape[1] + 1, device=bits.device) * GOLDEN
    return finalize_tensor(finalize_tensor(bits + places).sum(dim=1))
