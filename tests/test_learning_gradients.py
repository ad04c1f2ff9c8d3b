"""Several processes wait for the gradient of every trained parameter: none may be left out of the loss."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlib.configure.constants import ENCODERS, POOLINGS, WGAP
from dlib.models import STDClassifier, UnetCoLoCAM
from dlib.poolings import HeadOptions


def without_gradient(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.parametrize(
    ("encoder", "pooling"),
    [*((e, "WGAP") for e in ENCODERS), *(("resnet18", p) for p in POOLINGS if p != WGAP)],
)
def test_class_loss_reaches_every_parameter(encoder: str, pooling: str) -> None:
    model = STDClassifier(encoder, 3, HeadOptions(pooling))
    side = 96 if encoder == "inceptionv3" else 32
    logits = model.eval()(torch.rand(2, 3, side, side))
    logits.square().sum().backward()
    assert without_gradient(model) == []


@pytest.mark.parametrize("frozen", [False, True])
def test_maps_reach_every_parameter(frozen: bool) -> None:
    model = UnetCoLoCAM("resnet18", 3)
    if frozen:
        model.freeze_classifier()
    output = model(torch.rand(2, 3, 64, 64))
    loss = output.maps.square().sum() + (0.0 if frozen else output.logits.square().sum())
    loss.backward()
    assert without_gradient(model) == []
    assert any(p.requires_grad for p in model.encoder.parameters()) is not frozen
