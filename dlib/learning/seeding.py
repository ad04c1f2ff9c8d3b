"""CoLo-CAM's start: the classifier that seeds it, its stored CAMs, and how good it is by itself."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dlib.cams import seed_technique_at, temper_at, upsample_cams
from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.loaders import frame_loader
from dlib.datasets.metadata import scaled_boxes
from dlib.datasets.video_dataset import VideoDataset
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
        self._purity = SeedPurity(cfg, task, self.seeder, data.val, stop)

    def test_report(self) -> dict[str, Any]:
        """CorLoc of the classifier's CAMs on test, also at the thresholds that validation chose for them."""
        val = self._evaluate("val", self._cfg.val_cam_curve_interval)
        return with_validation_thresholds(self._evaluate("test", self._cfg.cam_curve_interval), val.to_dict())

    def diagnostics(self) -> dict[str, Callable[[int], float | None]]:
        """What an epoch's summary says of the seeds, as functions of the epoch; nothing where no seeds are used."""
        return {"seed_purity": self._purity} if self._cfg.sl_clc else {}

    def _evaluate(self, split: str, interval: float) -> Any:
        dataset = self._data.val if split == "val" else self._data.test
        label = f"classifier's CAMs on {split}"
        return evaluate(self.seeder, dataset, self._cfg, interval, self._stop, label)


class SeedPurity:
    """Share of foreground seeds that lie inside a true box, on validation frames: a diagnosis, not a signal.

    Frames without a box take no part: what their seeds hit is not known. The seeds change with the epoch (the heat of
    the CAMs, the technique, maps of its own instead of the classifier's); where they did not, the last value stands.
    """

    def __init__(
        self, cfg: Config, task: CoLoCam, seeder: SeederTask, val: VideoDataset, stop: StopRequest
    ) -> None:
        self._cfg, self._task, self._seeder, self._val, self._stop = cfg, task, seeder, val, stop
        self._ids = [frame_id for frame_id in val.metadata.ids if frame_id in val.metadata.boxes]
        self._stored: list[_Cams] | None = None  # the classifier's: low-resolution, they cost next to nothing
        self._last: tuple[tuple[Any, ...], float | None] | None = None  # of which seeds, and their purity

    def __call__(self, epoch: int) -> float | None:
        """Purity of the seeds of ``epoch``, 0..1; None without boxes or seeds."""
        seeds = (*seed_recipe(self._cfg, epoch), self._own_maps(epoch))
        if self._last is None or self._last[0] != seeds:
            self._last = (seeds, self._measure(epoch))
        return self._last[1]

    def _own_maps(self, epoch: int) -> weakref.ref[nn.Module] | None:
        """The network whose maps give the seeds of ``epoch``; None for the classifier. Never kept alive by us."""
        learner, switch = self._task._self_learner, self._cfg.sl_clc_epoch_switch_to_sl
        return weakref.ref(learner) if learner is not None and 0 <= switch <= epoch else None

    def _measure(self, epoch: int) -> float | None:
        inside, count = 0, 0
        sources = self._of_own_maps(epoch) if self._own_maps(epoch) else self._of_classifier()
        for source in sources:
            seeds = self._task.pseudo_labels(source.cams, source.keys, epoch)["seeds"]
            boxes = [
                torch.from_numpy(scaled_boxes(self._val.metadata, frame_id, self._cfg.crop_size))
                for frame_id in source.ids
            ]
            hits, seen = seed_purity(seeds.cpu(), boxes)
            inside, count = inside + hits, count + seen
        self._stop.check()
        return inside / count if count else None

    @torch.no_grad()
    def _of_own_maps(self, epoch: int) -> Iterator[_Cams]:
        for batch in self._frames():
            yield _Cams(self._task.source_cams(batch, epoch), batch.keys, batch.ids)

    @torch.no_grad()
    def _of_classifier(self) -> Iterator[_Cams]:
        if self._cfg.seed_refine_sigma_xy > 0:  # needs the frames too, which are too large to keep
            for batch in self._frames():
                cams, _ = self._seeder.cams(batch)
                yield _Cams(self._task.refined(cams, batch), batch.keys, batch.ids)
            return
        if self._stored is None:
            stored = []
            for batch in self._frames():
                low, _ = self._seeder.low_resolution_cams(self._seeder.images(batch), batch.labels)
                stored.append(_Cams(low.cpu(), batch.keys, batch.ids))
            self._stop.check()
            self._stored = stored
        size, device = self._cfg.crop_size, self._seeder.device
        for source in self._stop.watch(self._stored):
            yield _Cams(upsample_cams(source.cams.to(device), (size, size)), source.keys, source.ids)

    def _frames(self) -> Iterator[Batch]:
        """The validation frames with boxes, on the device."""
        loader = frame_loader(self._val, self._ids, self._cfg.batch_size, num_workers=self._cfg.num_workers)
        loader.while_waiting = self._stop.while_waiting
        for batch in self._stop.watch(loader):
            yield batch.to(self._seeder.device)


class _Cams(NamedTuple):
    """Maps that seeds are drawn from."""

    cams: Tensor  # [B, H, W]; stored ones [B, h, w]
    keys: Tensor  # [B]
    ids: list[str]


def seed_recipe(cfg: Config, epoch: int) -> tuple[float, str]:
    """Heat of the CAMs and technique of the seeds in ``epoch``, all of a seed's recipe that changes."""
    switch = cfg.sl_clc_seed_epoch_switch_uniform
    return (
        temper_at(epoch, cfg.sl_clc_knn_t, cfg.sl_clc_min_t, switch),
        seed_technique_at(epoch, cfg.sl_clc_seed_tech, switch),
    )
