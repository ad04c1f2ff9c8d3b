"""A model as plain settings, and back: what ``config_model.yaml`` beside a best model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dlib.models.classifier import CamClassifier, STDClassifier
from dlib.models.options import ModelSettings
from dlib.models.unet import UnetCoLoCAM
from dlib.models.weights import load_best_model
from dlib.utils.errors import UserError
from dlib.utils.files import write_text

CONFIG_MODEL = "config_model.yaml"
_ARCHITECTURES: dict[str, type[CamClassifier]] = {"STDClassifier": STDClassifier, "UnetCoLoCAM": UnetCoLoCAM}


def model_settings(model: CamClassifier) -> dict[str, Any]:
    """What ``model`` is, weights apart, as plain values; keys are the names of the flags."""
    return {"arch": type(model).__name__, **model.settings.to_dict()}


def build_model(
    arch: str, settings: ModelSettings, encoder_weights: str | None = None, weights_dir: Path | None = None
) -> STDClassifier | UnetCoLoCAM:
    """A network on the CPU.

    Args:
        arch: STDClassifier or UnetCoLoCAM.
        encoder_weights, weights_dir: see ``CamClassifier``.
    Raises ValueError when ``arch`` or a setting is wrong, UserError for ImageNet weights that cannot be had.
    """
    if arch not in _ARCHITECTURES:
        raise ValueError(f"unknown arch {arch!r}: choose {' or '.join(_ARCHITECTURES)}")
    model = _ARCHITECTURES[arch](
        settings.encoder_name,
        settings.num_classes,
        settings.head,
        encoder_weights=encoder_weights,
        in_channels=settings.in_channels,
        scale_in=settings.scale_in,
        weights_dir=weights_dir,
    )
    assert isinstance(model, STDClassifier | UnetCoLoCAM)
    return model


def write_model_settings(model: CamClassifier, folder: Path, **extra: Any) -> None:
    """Writes ``config_model.yaml`` into ``folder``, with further plain values if given."""
    text = yaml.safe_dump({**model_settings(model), **extra}, sort_keys=False)
    write_text(folder / CONFIG_MODEL, text)


def read_model_settings(folder: Path) -> dict[str, Any]:
    """Content of ``config_model.yaml`` in ``folder``. UserError if it is missing or not a mapping."""
    path = folder / CONFIG_MODEL
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} is missing; copy the whole folder of the best model") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable YAML; copy the folder of the best model again") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no settings; copy the folder of the best model again")
    return settings


def load_saved_model(folder: Path) -> STDClassifier | UnetCoLoCAM:
    """The best model in ``folder``, on the CPU, in eval mode. UserError if anything is wrong with it."""
    settings = read_model_settings(folder)
    try:
        if "arch" not in settings:
            raise ValueError("model settings lack arch")
        model = build_model(settings["arch"], ModelSettings.from_dict(settings))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CONFIG_MODEL}: {error}") from error
    load_best_model(model, folder)
    model.eval()
    return model
