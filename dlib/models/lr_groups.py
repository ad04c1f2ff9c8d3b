"""Which parameters of a classifier learn faster: the last layers, ×10 by default."""

from __future__ import annotations

from torch import nn

# Prefixes of the encoder's parameters that learn at the base rate.
_BASE = {
    "resnet50": ("conv1.", "bn1.", "layer1.", "layer2.", "layer3."),
    "resnet18": ("conv1.", "bn1.", "layer1.", "layer2.", "layer3."),
    "vgg16": ("features.",),
    "inceptionv3": ("Mixed", "Conv2d_1", "Conv2d_2", "Conv2d_3", "Conv2d_4"),
    "mobilenet_v2": tuple(f"features.{i}." for i in range(14)),
}


def learning_rate_groups(
    encoder_name: str, model: nn.Module
) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Splits the trainable parameters, each once.

    Args:
        model: STDClassifier with that encoder.
    Returns: those at the base learning rate, those at the higher one (the encoder's last layers, the head).
    Raises ValueError for an unknown encoder.
    """
    if encoder_name not in _BASE:
        raise ValueError(f"unknown encoder {encoder_name!r}: choose one of {', '.join(_BASE)}")
    prefixes = tuple(f"encoder.{prefix}" for prefix in _BASE[encoder_name])
    base: list[nn.Parameter] = []
    fast: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (base if name.startswith(prefixes) else fast).append(parameter)
    return base, fast
