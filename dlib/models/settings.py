"""A model as plain settings, and back: what ``config_model.yaml`` beside a best model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from dlib.models.classifier import CamClassifier, STDClassifier
from dlib.models.unet import UnetCoLoCAM
from dlib.models.weights import load_best_model
from dlib.utils.errors import UserError
from dlib.utils.files import write_text

CONFIG_MODEL = "config_model.yaml"
_ARCHITECTURES: dict[str, type[CamClassifier]] = {"STDClassifier": STDClassifier, "UnetCoLoCAM": UnetCoLoCAM}
_REQUIRED = ("arch", "encoder_name", "num_classes", "spatial_pooling")
_OPTIONAL = (
    *("support_background", "wc_modalities", "wc_kmax", "wc_kmin", "wc_alpha", "wc_dropout"),
    *("lse_r", "in_channels", "scale_in"),
)


def model_settings(model: CamClassifier) -> dict[str, Any]:
    """What ``build_model`` needs to make ``model`` again, weights apart; keys are the names of the flags."""
    return dict(model.settings)


def build_model(
    settings: dict[str, Any], encoder_weights: str | None = None, weights_dir: Path | None = None
) -> STDClassifier | UnetCoLoCAM:
    """A model from settings such as ``model_settings`` gives; other keys are ignored.

    Raises ValueError when a setting is missing or wrong, UserError for ImageNet weights that cannot be had.
    """
    missing = [key for key in _REQUIRED if key not in settings]
    if missing:
        raise ValueError(f"model settings lack {', '.join(missing)}")
    if settings["arch"] not in _ARCHITECTURES:
        raise ValueError(f"unknown arch {settings['arch']!r}: choose {' or '.join(_ARCHITECTURES)}")
    model = _ARCHITECTURES[settings["arch"]](
        settings["encoder_name"],
        settings["num_classes"],
        pooling=settings["spatial_pooling"],
        encoder_weights=encoder_weights,
        weights_dir=weights_dir,
        **{key: settings[key] for key in _OPTIONAL if key in settings},
    )
    assert isinstance(model, STDClassifier | UnetCoLoCAM)
    return model


def write_model_settings(model: CamClassifier, folder: Path, **extra: Any) -> None:
    """Writes ``config_model.yaml`` into ``folder``, with further plain values if given."""
    write_text(folder / CONFIG_MODEL, yaml.safe_dump({**model_settings(model), **extra}, sort_keys=False))


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
        model = build_model(settings)
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CONFIG_MODEL}: {error}") from error
    load_best_model(model, folder)
    model.eval()
    return model
