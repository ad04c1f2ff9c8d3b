"""A task of the tests in one file: the decoder learns that the brighter half of every frame is foreground."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F

from dlib.datasets.batch import Batch
from dlib.datasets.splits import Data
from dlib.models import CamClassifier, MapMaker
from dlib.tasks import StepResult, Task
from dlib.tasks.networks import build_unet
from dlib.utils.signals import StopRequest
from dlib.utils.timing import StepClock


class ToyTask(Task):
    trains_maps = True

    def build_model(self) -> CamClassifier:
        return build_unet(self.cfg, len(self.classes))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": self.cfg.opt__lr}]

    def prepare(self, data: Data, stop: StopRequest) -> None:
        self.shots = len(data.train)

    def references(self) -> dict[str, MapMaker]:
        return {"classifier": self.maps}

    def diagnostics(self, epoch: int) -> dict[str, float | None]:
        return {"shots": float(self.shots), "unknown": None}

    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        output = self.network(self.images(batch))
        grey = batch.frames.float().mean(dim=1)  # [B, H, W]
        bright = (grey > grey.flatten(1).median(dim=1).values[:, None, None]).long()
        maps = F.cross_entropy(output.maps, bright)
        classes = F.cross_entropy(output.logits, batch.labels)
        correct = (output.logits.argmax(dim=1) == batch.labels).sum()
        return StepResult(
            maps + classes, {"maps": maps, "class": classes}, {"maps": maps, "class": classes}, correct
        )
