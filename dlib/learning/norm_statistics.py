"""Running statistics of batch norm: a forward pass changes them before it is known whether the loss is finite."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class NormStatistics:
    """The running statistics of the batch norms of ``model`` that are in training mode, with memory for one copy."""

    def __init__(self, model: nn.Module) -> None:
        layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        buffers = [buffer for layer in layers for buffer in layer.buffers(recurse=False)]
        # Means and variances separate from the counters: one flat copy of each type serves all layers in a few kernels.
        statistics = [buffer for buffer in buffers if buffer.is_floating_point()]
        counters = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._live = [group for group in (statistics, counters) if group]
        self._kept: list[Tensor] = []
        self._now: list[Tensor] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the statistics as they are."""
        self._kept, self._now = [_flat(group) for group in self._live], []

    @torch.no_grad()
    def finite(self, device: torch.device) -> Tensor:
        """Whether all running means, variances and counters are finite, bool [] on ``device``."""
        self._now = [_flat(group) for group in self._live]
        if not self._now:
            return torch.ones((), dtype=torch.bool, device=device)
        return torch.stack([flat.isfinite().all() for flat in self._now]).all().to(device)

    @torch.no_grad()
    def restore_unless(self, sound: Tensor) -> None:
        """Restore what ``keep`` copied unless ``sound``, bool []; call ``finite`` before."""
        for live, kept, now in zip(self._live, self._kept, self._now, strict=True):
            flat = torch.where(sound.to(now.device), now, kept)
            parts = flat.split([buffer.numel() for buffer in live])
            torch._foreach_copy_(
                live, [part.view_as(buffer) for part, buffer in zip(parts, live, strict=True)]
            )


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
