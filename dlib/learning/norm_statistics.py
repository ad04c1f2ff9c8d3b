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
        # Means and variances separate from the counters: tensors of one type are copied in a few kernels.
        kinds = (torch.Tensor.is_floating_point, lambda buffer: not buffer.is_floating_point())
        self._live: list[list[Tensor]] = [[b for b in buffers if of_kind(b)] for of_kind in kinds]
        self._kept = [[torch.empty_like(b) for b in group] for group in self._live]

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the statistics as they are."""
        for kept, live in zip(self._kept, self._live, strict=True):
            if live:
                torch._foreach_copy_(kept, live)

    @torch.no_grad()
    def finite(self) -> Tensor:
        """Whether all running means and variances are finite, bool []."""
        if not self._live[0]:
            return torch.tensor(True)
        return torch.stack(torch._foreach_norm(self._live[0], torch.inf)).isfinite().all()

    @torch.no_grad()
    def restore(self) -> None:
        """Restore what ``keep`` copied."""
        for kept, live in zip(self._kept, self._live, strict=True):
            if live:
                torch._foreach_copy_(live, kept)
