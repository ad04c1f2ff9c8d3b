"""Models as the flags ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlib.configure.config import Config
from dlib.models import STDClassifier, UnetCoLoCAM


def classifier_options(cfg: Config) -> dict[str, Any]:
    """The flags that shape an encoder and its head."""
    return {
        "pooling": cfg.spatial_pooling,
        "support_background": cfg.support_background,
        "wc_modalities": cfg.wc_modalities,
        "wc_kmax": cfg.wc_kmax,
        "wc_kmin": cfg.wc_kmin,
        "wc_alpha": cfg.wc_alpha,
        "wc_dropout": cfg.wc_dropout,
        "lse_r": cfg.lse_r,
        "in_channels": cfg.in_channels,
        "scale_in": cfg.scale_in,
        "weights_dir": Path(cfg.pretrained_root) / "imagenet",
    }


def build_classifier(cfg: Config, num_classes: int, encoder_weights: str | None) -> STDClassifier:
    return STDClassifier(
        cfg.encoder_name, num_classes, encoder_weights=encoder_weights, **classifier_options(cfg)
    )


def build_colocam(cfg: Config, num_classes: int) -> UnetCoLoCAM:
    return UnetCoLoCAM(cfg.encoder_name, num_classes, encoder_weights=None, **classifier_options(cfg))
