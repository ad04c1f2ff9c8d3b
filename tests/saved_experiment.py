"""Builds an experiment folder around a randomly initialised model, and small video clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import yaml

from dlib.configure.config import Config, model_tag
from dlib.configure.constants import BEST_LOCALIZATION, COLOCAM, STD_CL
from dlib.models import STDClassifier, UnetCoLoCAM, best_model_state, write_model_settings

CLASSES = ["bird", "cat", "train"]
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
            "sl_clc": task == COLOCAM,
        }
    )
    torch.manual_seed(3)
    kind = STDClassifier if task == STD_CL else UnetCoLoCAM
    model = kind(encoder, len(CLASSES), cfg.head_options())
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


def scene(index: int, width: int, height: int) -> np.ndarray:
    """A bright disc that moves over a textured ground, uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    ground = 60 + 30 * np.sin(x / 4) * np.cos(y / 5)
    disc = (x - width * (0.3 + 0.02 * index)) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
    return np.stack([np.where(disc, 230, ground), ground, np.where(disc, 40, ground)], -1).astype(np.uint8)


def write_clip(
    path: Path, frames: int, width: int = 48, height: int = 36, rate: Fraction = Fraction(25)
) -> Path:
    """An H.264 clip of ``scene``; sides must be even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(i, width, height), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and no pictures."""
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path
