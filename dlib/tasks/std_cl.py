"""STD_CL: an image classifier whose class activation maps localize (the WSOL baselines)."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.models import CamClassifier, learning_rate_groups
from dlib.tasks.base import StepResult, Task
from dlib.tasks.networks import build_classifier
from dlib.utils.distributed import mean_over_processes
from dlib.utils.timing import StepClock


class StdCl(Task):
    """Cross entropy on single frames; the CAM method reads the maps out."""

    def build_model(self) -> CamClassifier:
        weights = self.cfg.encoder_weights if self.initialize else None
        model = build_classifier(self.cfg, len(self.classes), weights)
        if self.cfg.freeze_encoder:
            model.freeze_encoder()
        return model

    def parameter_groups(self) -> list[dict[str, Any]]:
        base, fast = learning_rate_groups(self.model)
        groups = [
            {"params": base, "lr": self.cfg.opt__lr},
            {"params": fast, "lr": self.cfg.opt__lr * self.cfg.opt__lr_classifier_ratio},
        ]
        return [group for group in groups if group["params"]]

    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        with clock.measure("network"), self.autocast(self.cfg.amp):
            logits = self.network(self.images(batch))  # [B, classes]
        loss, correct = classification_loss(self.cfg, logits, batch.labels)
        return StepResult(loss, {"classification": loss}, {"classification": loss}, correct)


def classification_loss(cfg: Config, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy of ``logits`` [B, C], mean over the samples of all processes, and how many were right.

    Scaled by this process's share of samples, so that the mean over processes is the mean over samples, also if the
    last minibatch does not divide evenly.
    """
    logits = logits.float()
    label_smoothing = cfg.std_label_smooth_e if cfg.std_label_smooth else 0.0
    share = len(labels) / mean_over_processes(logits.new_full((), float(len(labels))))
    loss = share * F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return loss, (logits.argmax(dim=1) == labels).sum()
