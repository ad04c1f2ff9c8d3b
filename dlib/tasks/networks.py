"""Models as the flags describe them."""

from __future__ import annotations

from pathlib import Path

from dlib.configure.config import Config
from dlib.configure.constants import ENCODERS
from dlib.encoders import Encoder
from dlib.models import ModelSettings, STDClassifier, UnetCoLoCAM, build_model
from dlib.utils.errors import UsageError
from dlib.utils.lazy import load_object


def network_settings(cfg: Config, num_classes: int) -> ModelSettings:
    """The flags that shape a network."""
    return ModelSettings(cfg.encoder_name, num_classes, cfg.head_options(), cfg.in_channels, cfg.scale_in)


def build_classifier(cfg: Config, num_classes: int, encoder_weights: str | None) -> STDClassifier:
    _check_size(cfg)
    weights_dir = Path(cfg.pretrained_root) / "imagenet"
    model = build_model("STDClassifier", network_settings(cfg, num_classes), encoder_weights, weights_dir)
    assert isinstance(model, STDClassifier)
    return model


def build_unet(cfg: Config, num_classes: int) -> UnetCoLoCAM:
    """The task's network with a decoder."""
    _check_size(cfg)
    model = build_model(cfg.arch, network_settings(cfg, num_classes))
    assert isinstance(model, UnetCoLoCAM)
    return model


def _check_size(cfg: Config) -> None:
    """Raises UsageError if the encoder cannot see images of these sizes."""
    encoder: type[Encoder] = load_object(ENCODERS[cfg.encoder_name])
    for name, size in (("crop_size", cfg.crop_size), ("eval_size", cfg.eval_size)):
        side, multiple = int(size * cfg.scale_in), encoder.side_multiple
        if side % multiple:
            scaled = f" × --scale_in {cfg.scale_in} is {side}" if cfg.scale_in != 1 else ""
            raise UsageError(
                f"--{name} {size}{scaled}: --encoder_name {cfg.encoder_name} needs a multiple of {multiple}"
            )
