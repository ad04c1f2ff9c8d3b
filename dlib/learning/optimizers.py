"""Optimizers and learning-rate schedules (the flags ``opt__*``)."""

from __future__ import annotations

import math
from typing import Any

import torch

from dlib.configure.config import Config


def build_optimizer(cfg: Config, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """SGD or Adam over ``groups``, each with its own base ``lr``.

    Fused kernels pass over memory once instead of once per operation.
    """
    shared: dict[str, Any] = {"lr": cfg.opt__lr, "weight_decay": cfg.opt__weight_decay, "fused": True}
    if cfg.opt__name_optimizer == "adam":
        betas = (cfg.opt__beta1, cfg.opt__beta2)
        return torch.optim.Adam(
            groups, betas=betas, eps=cfg.opt__eps_adam, amsgrad=cfg.opt__amsgrad, **shared
        )
    return torch.optim.SGD(
        groups,
        momentum=cfg.opt__momentum,
        dampening=cfg.opt__dampening,
        nesterov=cfg.opt__nesterov,
        **shared,
    )


def lacks_momenta(optimizer: torch.optim.Optimizer) -> bool:
    """Whether SGD has momenta that its next step makes; Adam makes its own as zeros, also in a step that it skips."""
    return not optimizer.state and any(group.get("momentum", 0) > 0 for group in optimizer.param_groups)


def restore_optimizer(
    optimizer: torch.optim.Optimizer, kind: str, state: dict[str, Any], state_kind: str
) -> None:
    """Continue with a checkpoint's momenta and this run's flags: a changed ``opt__weight_decay`` is used.

    Args:
        kind: what ``optimizer`` is, see ``optimizer_kind``.
        state_kind: what made ``state``. ValueError if it is another: its momenta would mean something else.
    """
    if kind != state_kind:
        raise ValueError(f"--opt__name_optimizer was {state_kind} and is {kind}")
    own = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, flags in zip(optimizer.param_groups, own, strict=True):
        group.update(flags)


def optimizer_kind(cfg: Config) -> str:
    """The optimizer's name, with the options that its state depends on."""
    maximum = cfg.opt__name_optimizer == "adam" and cfg.opt__amsgrad
    return cfg.opt__name_optimizer + (" with --opt__amsgrad" if maximum else "")


def learning_rate(cfg: Config, base: float, epochs_done: int) -> float:
    """Learning rate of a group with base rate ``base`` after ``epochs_done`` epochs.

    ``mystep``: base · gamma^(epochs_done // step_size), at least ``opt__min_lr``; ``step``: the same without the
    floor; ``cosine``: half a cosine from base to ``opt__min_lr`` over ``opt__t_max`` epochs.
    """
    if not cfg.opt__lr_scheduler:
        return base
    if cfg.opt__name_lr_scheduler == "cosine":
        done = min(epochs_done / cfg.opt__t_max, 1.0)
        return cfg.opt__min_lr + (base - cfg.opt__min_lr) * (1.0 + math.cos(math.pi * done)) / 2.0
    stepped = base * cfg.opt__gamma ** (epochs_done // cfg.opt__step_size)
    return max(stepped, cfg.opt__min_lr) if cfg.opt__name_lr_scheduler == "mystep" else stepped


def set_learning_rate(
    cfg: Config, optimizer: torch.optim.Optimizer, bases: list[float], epochs_done: int
) -> list[float]:
    """Give every group its rate for the coming epoch; returns the rates."""
    rates = [learning_rate(cfg, base, epochs_done) for base in bases]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return rates
