"""What a run says about itself while it works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlib.configure.checks import config_warnings
from dlib.configure.config import Config
from dlib.datasets.loaders import TrainLoader
from dlib.datasets.splits import Data
from dlib.learning.trainer import Trainer
from dlib.metrics import LocalizationReport
from dlib.utils.logging import EventLog, logger
from dlib.utils.text import percent

COLLAPSED_FRAMES = 0.5  # of the frames: from this share on, the maps count as collapsed
_COLLAPSE = "the maps collapse"


def say_what_runs(cfg: Config, data: Data, environment: dict[str, str], folder: Path) -> None:
    """The first lines of a run: task, data, device, and flags that have no effect here."""
    logger.info(f"{cfg.task} with {cfg.encoder_name}, {cfg.method}, {cfg.spatial_pooling} -> {folder}")
    logger.info(
        f"{cfg.dataset}: {len(data.classes)} classes, {len(data.train)} train shots, {len(data.val)} validation "
        f"and {len(data.test)} test frames"
    )
    logger.info(f"device: {environment['device']}")
    if environment["device"].startswith("CPU"):
        logger.info("no CUDA card is used: --cudaid has no effect")
    for warning in config_warnings(cfg):
        logger.warning(warning)


def say_length(cfg: Config, loader: TrainLoader) -> None:
    """How long the run is, if ``min_steps`` has made its epochs longer."""
    repeats = loader.layout.repeats
    if repeats > 1:
        steps = len(loader.plan(1))
        logger.info(
            f"--min_steps {cfg.min_steps}: each epoch shows the {len(loader.dataset)} train shots {repeats} times, so "
            f"that {cfg.max_epochs} epochs have {steps * cfg.max_epochs} steps ({steps} each)"
        )


def epoch_summary(trainer: Trainer, diagnostics: dict[str, float | None]) -> dict[str, Any]:
    """The ``epoch`` event of ``log.jsonl``: means, rates, and where the time went.

    ``diagnostics`` are the task's numbers for the epoch; those without a value are left out.
    """
    means = trainer.position.means()
    sums = trainer.position.sums
    seconds = {name.partition("/")[2]: value for name, value in sums.items() if name.startswith("seconds/")}
    total = sum(seconds.values()) or 1.0
    plain = means.get("diagnostics", {})
    norms = {name: plain.pop(name) for name in list(plain) if name.startswith("grad_norm/")}
    if norms:
        plain["grad_norms"] = {name.removeprefix("grad_norm/"): norm for name, norm in norms.items()}
    return {
        "epoch": trainer.position.epoch,
        "step": trainer.position.step,
        "train": {name: means.get(name) for name in ("loss", "terms", "raw", "accuracy")},
        "lr": [group["lr"] for group in trainer.optimizer.param_groups],
        "images_per_s": sums["images"] / max(sums["elapsed"], 1e-9),
        "seconds": seconds,
        "shares": {name: value / total for name, value in seconds.items()},
        "diagnostics": {**plain, **{name: value for name, value in diagnostics.items() if value is not None}},
    }


def say_epoch(cfg: Config, summary: dict[str, Any]) -> None:
    train = summary["train"]
    if train["loss"] is None:
        logger.info(f"epoch {summary['epoch']}/{cfg.max_epochs}: no step had a finite loss")
        return
    terms = ", ".join(f"{name} {value:.4g}" for name, value in (train["terms"] or {}).items())
    shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(summary["shares"].items()))
    logger.info(
        f"epoch {summary['epoch']}/{cfg.max_epochs}: loss {train['loss']:.4f} ({terms}), lr {summary['lr'][0]:.2g}, "
        f"{summary['images_per_s']:.1f} images/s (time: {shares})"
    )


def say_validation(epoch: int, report: LocalizationReport, improved: list[str]) -> None:
    best = f"; new {' and '.join(improved).replace('_', ' ')}" if improved else ""
    logger.info(f"validation after epoch {epoch}: {_in_short(report)}{best}")


def say_final_validation(criterion: str, report: LocalizationReport) -> None:
    logger.info(f"validation of {criterion.replace('_', ' ')}, seen as in test: {_in_short(report)}")


def _in_short(report: LocalizationReport) -> str:
    return (
        f"CorLoc {percent(report.headline)} (without thresholds {percent(report.without_thresholds)}), "
        f"classification {percent(report.classification)}"
    )


def warn_of_collapse(events: EventLog, summary: dict[str, Any], advice: str) -> None:
    """Warns once if the maps have become all foreground or all background, with the task's ``advice``."""
    diagnostics = summary["diagnostics"]
    collapsed = diagnostics.get("collapsed_share")
    if collapsed is None or collapsed <= COLLAPSED_FRAMES or events.has_warned(_COLLAPSE):
        return
    side = "foreground" if diagnostics["fg_share_mean"] > 0.5 else "background"
    message = (
        f"{_COLLAPSE}: {collapsed:.0%} of the frames are nearly all {side} (mean foreground share "
        f"{diagnostics['fg_share_mean']:.0%}); {advice}"
    )
    logger.warning(message)
    events.write("warning", epoch=summary["epoch"], step=summary["step"], message=message)
