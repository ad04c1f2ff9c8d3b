"""Numbers on their way from the device to the host: gathered in one tensor, copied without a wait, read later."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Readout:
    """Scalars of one training step.

    On CUDA the copy goes to page-locked memory while the host continues. The host waits only if it asks for the values
    before they are there; one step later they are.
    """

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        """``numbers``: tensors of one element; they are gathered where the first is. float32 is enough for a log."""
        self._names = list(numbers)
        device = next(iter(numbers.values())).device
        gathered = torch.stack(
            [
                value.detach().to(device, torch.float32, non_blocking=True).reshape(())
                for value in numbers.values()
            ]
        )
        self._host = gathered.to("cpu", non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if gathered.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(gathered.device))

    def values(self) -> dict[str, float]:
        """The numbers by name; waits until they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        return dict(zip(self._names, self._host.tolist(), strict=True))
