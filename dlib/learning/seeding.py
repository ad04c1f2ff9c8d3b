"""CoLo-CAM's start: the classifier that seeds it, its stored CAMs, and how good it is by itself."""

from __future__ import annotations

from typing import Any

import torch

from dlib.configure.config import Config
from dlib.datasets.loaders import eval_loader
from dlib.datasets.metadata import scaled_boxes
from dlib.learning.cam_store import fill_cam_store
from dlib.learning.data import Data
from dlib.learning.evaluation import evaluate
from dlib.learning.results import with_validation_thresholds
from dlib.tasks import CoLoCam, SeederTask
from dlib.tasks.diagnosis import seed_purity
from dlib.utils.signals import StopRequest


class Seeding:
    """Gives the train split its CAMs, and measures the seeding classifier on validation and test."""

    def __init__(self, cfg: Config, task: CoLoCam, data: Data, stop: StopRequest) -> None:
        self._cfg = cfg
        self._task = task
        self._data = data
        self._stop = stop
        self.seeder = SeederTask(cfg, task.classes, task.device, task.build_seeder())
        if task.needs_cams():
            data.train.cams = fill_cam_store(cfg, self.seeder, data.train, stop)
        self._purity: float | None = None

    def test_report(self) -> dict[str, Any]:
        """CorLoc of the classifier's CAMs on test, also at the thresholds that validation chose for them."""
        val = self._evaluate("val", self._cfg.val_cam_curve_interval)
        return with_validation_thresholds(self._evaluate("test", self._cfg.cam_curve_interval), val.to_dict())

    def purity(self) -> float:
        """Share of foreground seeds that lie inside a true box, on validation frames: a diagnosis, not a signal."""
        if self._purity is None:
            inside, count = 0, 0
            loader = eval_loader(self._data.val, self._cfg.batch_size, num_workers=self._cfg.num_workers)
            for batch in self._stop.watch(loader):
                batch = batch.to(self.seeder.device)
                with torch.no_grad():
                    cams, _ = self.seeder.cams(batch)
                seeds = self._task.pseudo_labels(cams, batch.keys, epoch=1)["seeds"]
                boxes = [
                    torch.from_numpy(scaled_boxes(self._data.val.metadata, frame_id, self._cfg.crop_size))
                    for frame_id in batch.ids
                ]
                hits, seen = seed_purity(seeds.cpu(), boxes)
                inside, count = inside + hits, count + seen
            self._stop.check()
            self._purity = inside / max(count, 1)
        return self._purity

    def _evaluate(self, split: str, interval: float) -> Any:
        dataset = self._data.val if split == "val" else self._data.test
        label = f"classifier's CAMs on {split}"
        return evaluate(self.seeder, dataset, self._cfg, interval, self._stop, label)
