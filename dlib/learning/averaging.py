"""A running average of the weights, which is evaluated and kept instead of the last weights (``--ema_decay``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """average ← decay · average + (1 − decay) · weights after every step, buffers copied.

    The decay grows from 0 as (1 + n) / (10 + n) at step n, so that the first steps are not held back by the
    initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._average = {name: value.detach().clone() for name, value in model.state_dict().items()}
        device = next(iter(self._average.values())).device
        self._steps = torch.zeros((), dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, model: nn.Module, sound: Tensor) -> None:
        """Average the weights in unless the step was not ``sound``, bool []; the host does not wait for it."""
        self._steps += sound
        held = (1 + self._steps.double()) / (10 + self._steps)
        gain = torch.where(sound, 1 - held.clamp(max=self._decay), 0.0).float()  # []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, gain)
            else:
                self._average[name].copy_(value)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Inside the context ``model`` has the averaged weights; afterwards its own weights again."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self._average)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": int(self._steps), "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps.fill_(int(state["steps"]))
        average: dict[str, Tensor] = state["average"]
        for name, value in average.items():
            self._average[name].copy_(value)
