"""Which parameters of a classifier learn faster: the last layers, ×10 by default."""

from __future__ import annotations

from torch import nn

from dlib.models.classifier import CamClassifier


def learning_rate_groups(model: CamClassifier) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Splits the trainable parameters, each once.

    Returns: those at the base learning rate, as the encoder says, and those at the higher one (the encoder's last
        layers, the head).
    """
    prefixes = tuple(f"encoder.{prefix}" for prefix in model.encoder.base_rate_prefixes)
    base: list[nn.Parameter] = []
    fast: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (base if name.startswith(prefixes) else fast).append(parameter)
    return base, fast
