"""The extended log-barrier, a penalty for constraints f <= 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ELB(nn.Module):
    """Extended log-barrier of the constraints f <= 0 (Kervadec et al. 2019, eq. 4).

    −(1/t)·log(−f) where f <= −1/t², else its tangent t·f − (1/t)·log(1/t²) + 1/t: finite and differentiable
    for every finite f.

    Args:
        init_t: first barrier parameter t, > 0; larger is closer to a hard barrier.
        max_t: highest t, >= init_t.
        mulcoef: factor of t at each `update_t`, >= 1.
    Raises ValueError for other values.
    """

    t: Tensor  # [] float64: many small factors must not be lost by rounding

    def __init__(self, init_t: float = 1.0, max_t: float = 10.0, mulcoef: float = 1.01) -> None:
        super().__init__()
        if not init_t > 0:
            raise ValueError(f"init_t must be > 0, got {init_t}")
        if not max_t >= init_t:
            raise ValueError(f"max_t must be >= init_t = {init_t}, got {max_t}")
        if not mulcoef >= 1:
            raise ValueError(f"mulcoef must be >= 1, got {mulcoef}")
        self.max_t = float(max_t)
        self.mulcoef = float(mulcoef)
        self.register_buffer("t", torch.tensor(float(init_t), dtype=torch.float64))

    def forward(self, f: Tensor) -> Tensor:
        """Mean barrier of the values f (any shape, float): a scalar; 0 for no values."""
        return self.values(f).sum() / max(f.numel(), 1)

    def values(self, f: Tensor) -> Tensor:
        """Barrier of each value: same shape as f, at least float32."""
        f = f.float() if f.dtype in (torch.float16, torch.bfloat16) else f
        edge = -1 / self.t**2  # []
        tangent = self.t * f - torch.log(-edge) / self.t + 1 / self.t
        inside = f <= edge
        # The unused branch of `where` still gets a gradient: keep its logarithm away from zero.
        barrier = -torch.log(torch.where(inside, -f, 1.0)) / self.t
        return torch.where(inside, barrier, tangent)

    def update_t(self) -> None:
        """t ← min(t · mulcoef, max_t); once after every epoch."""
        self.t.mul_(self.mulcoef).clamp_(max=self.max_t)
