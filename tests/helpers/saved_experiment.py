"""Builds an experiment folder around a randomly initialised model, and small video clips."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml

from dlib.configure.config import Config, model_tag
from dlib.configure.constants import BEST_LOCALIZATION, COLOCAM, F_CL, STD_CL, TCAM
from dlib.models import ModelSettings, best_model_state, build_model, write_model_settings

CLASSES = ["bird", "cat", "train"]
SWITCH = {COLOCAM: "sl_clc", TCAM: "sl_tc", F_CL: "sl_fc"}
TAUS = {"bird": 0.2, "cat": 0.4, "train": None}


def save_experiment(
    root: Path, task: str = STD_CL, method: str = "LayerCAM", crop: int = 32, encoder: str = "resnet18"
) -> Path:
    """An experiment as a finished run leaves it, reduced to what prediction and evaluation read."""
    cfg = Config.from_values(
        {
            "task": task,
            "method": method,
            "encoder_name": encoder,
            "dataset": "tiny",
            "crop_size": crop,
        }
        | ({SWITCH[task]: True} if task in SWITCH else {})
    )
    torch.manual_seed(3)
    model = build_model(cfg.arch, ModelSettings(encoder, len(CLASSES), cfg.head_options()))
    folder = root / f"{task}-{method}"
    weights = folder / model_tag(cfg, BEST_LOCALIZATION)
    weights.mkdir(parents=True)
    torch.save(best_model_state(model), weights / "7_best_model.pth")
    extra = {"task": task, "method": method, "dataset": "tiny", "classes": CLASSES, "crop_size": crop}
    write_model_settings(model, weights, **extra, box_v2_metric=False)
    (folder / "config.yml").write_text(cfg.to_yaml())
    (folder / f"thresholds-{BEST_LOCALIZATION}.yaml").write_text(yaml.safe_dump(TAUS))
    return folder


def both_tasks(root: Path) -> dict[str, Path]:
    return {task: save_experiment(root, task) for task in (STD_CL, COLOCAM)}
