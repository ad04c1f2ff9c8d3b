"""Models as the flags describe them."""

from __future__ import annotations

from pathlib import Path

from dlib.configure.config import Config
from dlib.models import CamClassifier, ModelSettings, STDClassifier, UnetCoLoCAM, build_model
from dlib.utils.errors import UsageError


def network_settings(cfg: Config, num_classes: int) -> ModelSettings:
    """The flags that shape a network."""
    return ModelSettings(cfg.encoder_name, num_classes, cfg.head_options(), cfg.in_channels, cfg.scale_in)


def build_classifier(cfg: Config, num_classes: int, encoder_weights: str | None) -> STDClassifier:
    weights_dir = Path(cfg.pretrained_root) / "imagenet"
    model = build_model("STDClassifier", network_settings(cfg, num_classes), encoder_weights, weights_dir)
    assert isinstance(model, STDClassifier)
    _check_size(cfg, model)
    return model


def build_unet(cfg: Config, num_classes: int) -> UnetCoLoCAM:
    """The task's network with a decoder."""
    model = build_model(cfg.arch, network_settings(cfg, num_classes))
    assert isinstance(model, UnetCoLoCAM)
    _check_size(cfg, model)
    return model


def _check_size(cfg: Config, model: CamClassifier) -> None:
    """Raises UsageError if the encoder cannot take images of the crop's size."""
    side, multiple = int(cfg.crop_size * model.scale_in), model.encoder.side_multiple
    if side % multiple:
        scaled = f" × --scale_in {model.scale_in} is {side}" if model.scale_in != 1 else ""
        raise UsageError(
            f"--crop_size {cfg.crop_size}{scaled}: --encoder_name {cfg.encoder_name} needs a multiple of {multiple}"
        )
