"""Validation of a run's maps: after each epoch, and once more as they are tested."""

from __future__ import annotations

import torch

from dlib.configure.config import Config
from dlib.datasets.video_dataset import VideoDataset
from dlib.learning.evaluation import build_eval_loader, evaluate
from dlib.metrics import LocalizationReport
from dlib.models import MapMaker
from dlib.utils.signals import StopRequest


class Validation:
    """The validation split of a run. With ``--val_fast`` each frame is seen once after an epoch, at the crop's size.

    The worker processes of the validations after epochs are kept from one to the next, until ``close``.
    """

    def __init__(self, cfg: Config, frames: VideoDataset, device: torch.device, stop: StopRequest) -> None:
        self._cfg, self._frames, self._stop = cfg, frames, stop
        self._epoch_frames = frames.at_size(cfg.crop_size) if cfg.val_fast else frames
        self._loader = build_eval_loader(cfg, self._epoch_frames, device, keep_workers=True)

    def after_epoch(self, maker: MapMaker) -> LocalizationReport:
        """Of the maps of ``maker``, which makes them as they are tested. Raises as ``evaluate``."""
        cfg = self._cfg
        if cfg.val_fast:
            maker = maker.in_one_view(cfg.crop_size / cfg.eval_side)
        interval = cfg.val_cam_curve_interval
        return evaluate(maker, self._epoch_frames, cfg, interval, self._stop, "validation", self._loader)

    def as_tested(self, maker: MapMaker, label: str = "validation") -> LocalizationReport:
        """The same, in all views; ``label`` names the progress bar."""
        return evaluate(maker, self._frames, self._cfg, self._cfg.val_cam_curve_interval, self._stop, label)

    def close(self) -> None:
        """End the worker processes."""
        self._loader.close()
