"""Flags opt__* and learning-rate schedules, against rates and updates worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dlib.configure.config import Config
from dlib.learning.optimizers import build_optimizer, learning_rate, set_learning_rate

STEPS = {"opt__name_lr_scheduler": "mystep", "opt__gamma": 0.1, "opt__step_size": 2, "opt__min_lr": 5e-4}


@pytest.mark.parametrize(
    ("change", "rates"),
    [
        ({}, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 5e-4]),
        ({"opt__name_lr_scheduler": "step"}, [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 1e-4]),
        ({"opt__gamma": 0.5}, [0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125]),
        ({"opt__step_size": 3}, [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]),
        ({"opt__min_lr": 0.02}, [0.1, 0.1, 0.02, 0.02, 0.02, 0.02, 0.02]),
        ({"opt__lr_scheduler": False}, [0.1] * 7),
        (
            {"opt__name_lr_scheduler": "cosine", "opt__t_max": 4.0, "opt__min_lr": 0.02},
            [0.1, 0.06 + 0.04 * math.sqrt(0.5), 0.06, 0.06 - 0.04 * math.sqrt(0.5), 0.02, 0.02, 0.02],
        ),
    ],
)
def test_schedules_by_hand(change: dict[str, Any], rates: list[float]) -> None:
    cfg = Config.from_values({"opt__lr": 0.1, **STEPS, **change})
    assert [learning_rate(cfg, 0.1, done) for done in range(7)] == pytest.approx(rates)


def test_every_group_keeps_its_own_rate() -> None:
    cfg = Config.from_values({"opt__lr": 0.1, **STEPS})
    one, two = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    optimizer = build_optimizer(cfg, [{"params": [one], "lr": 0.1}, {"params": [two], "lr": 1.0}])
    assert set_learning_rate(cfg, optimizer, [0.1, 1.0], 2) == pytest.approx([0.01, 0.1])
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.1])


def trajectory(cfg: Config, gradients: list[float]) -> list[float]:
    """A parameter that starts at 2 and gets these gradients."""
    weight = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = build_optimizer(cfg, [{"params": [weight], "lr": cfg.opt__lr}])
    found = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        found.append(float(weight.detach()))
    return found


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"opt__nesterov": False},
        {"opt__nesterov": False, "opt__dampening": 0.5},
        {"opt__momentum": 0.5},
        {"opt__weight_decay": 0.3},
        {"opt__lr": 0.03},
    ],
)
def test_sgd_by_hand(change: dict[str, Any]) -> None:
    flags = {"opt__lr": 0.1, "opt__momentum": 0.9, "opt__weight_decay": 0.0, **change}
    cfg = Config.from_values(flags)
    weight, speed, expected = 2.0, None, []
    for gradient in (1.0, -3.0, 2.0):
        gradient += cfg.opt__weight_decay * weight
        if speed is None:
            speed = gradient
        else:
            speed = cfg.opt__momentum * speed + (1 - cfg.opt__dampening) * gradient
        weight -= cfg.opt__lr * (gradient + cfg.opt__momentum * speed if cfg.opt__nesterov else speed)
        expected.append(weight)
    assert trajectory(cfg, [1.0, -3.0, 2.0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"opt__beta1": 0.5},
        {"opt__beta2": 0.9},
        {"opt__eps_adam": 0.1},
        {"opt__amsgrad": True},
        {"opt__weight_decay": 0.3},
    ],
)
def test_adam_by_hand(change: dict[str, Any]) -> None:
    cfg = Config.from_values(
        {"opt__name_optimizer": "adam", "opt__lr": 0.1, "opt__weight_decay": 0.0, **change}
    )
    weight, first, second, largest, expected = 2.0, 0.0, 0.0, 0.0, []
    gradients = [3.0, 0.1, -0.1, 0.2]
    for step, gradient in enumerate(gradients, 1):
        gradient += cfg.opt__weight_decay * weight
        first = cfg.opt__beta1 * first + (1 - cfg.opt__beta1) * gradient
        second = cfg.opt__beta2 * second + (1 - cfg.opt__beta2) * gradient**2
        largest = max(largest, second) if cfg.opt__amsgrad else second
        root = math.sqrt(largest / (1 - cfg.opt__beta2**step)) + cfg.opt__eps_adam
        weight -= cfg.opt__lr * first / (1 - cfg.opt__beta1**step) / root
        expected.append(weight)
    assert trajectory(cfg, gradients) == pytest.approx(expected, rel=1e-9)
    if change == {"opt__amsgrad": True}:
        # With β2 near 1 the second moment hardly falls: make it fall, or the flag would not be seen.
        fast = {"opt__name_optimizer": "adam", "opt__lr": 0.1, "opt__beta2": 0.1}
        plain, ams = (
            trajectory(Config.from_values({**fast, "opt__amsgrad": on}), gradients) for on in (False, True)
        )
        assert abs(plain[-1] - ams[-1]) > 1e-2
