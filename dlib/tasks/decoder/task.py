"""The base of the tasks in which a U-Net decoder on a classifier learns full-resolution maps from CAMs."""

from __future__ import annotations

import copy
from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlib.cams import MapFolder, edge_maps
from dlib.cams.store import CamStore
from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.splits import Data
from dlib.datasets.video_dataset import FrameRequest
from dlib.losses import LossInputs
from dlib.losses.colocam import SelfLearning
from dlib.models import MapMaker, UnetCoLoCAM
from dlib.models.weights import load_best_model
from dlib.tasks.base import Examples, StepResult, Task, Work
from dlib.tasks.decoder.classifier import (
    cam_store_folder,
    classifier_folder,
    fill_cam_store,
    open_seed_maps,
    seeder_folder,
)
from dlib.tasks.decoder.diagnosis import SeedPurity, diagnose_maps
from dlib.tasks.decoder.labels import PseudoLabels, RegionReader, SeedRecipe, pseudo_labels
from dlib.tasks.decoder.losses import build_losses
from dlib.tasks.networks import build_classifier, build_unet
from dlib.utils.errors import UsageError
from dlib.utils.signals import StopRequest
from dlib.utils.timing import StepClock

_EXAMPLES = 12


class DecoderTask(Task):
    """Pseudo-labels from CAMs and the loss terms that the flags switch on train the decoder.

    A subclass says how the pseudo-labels of an epoch are drawn; its terms are rows of ``dlib/configure/terms.py``.

    Attributes:
        own_model: the best model so far, if it makes the source CAMs; never part of a checkpoint.
        seed_maps: another program's maps, if they are the source CAMs instead of the classifier's.
    """

    trains_maps = True
    model: UnetCoLoCAM

    def __init__(
        self, cfg: Config, classes: list[str], device: torch.device, initialize: bool = True
    ) -> None:
        if cfg.crf_backend == "cpp" and device.type != "cpu":
            raise UsageError(
                f"--crf_backend cpp: filters on the CPU only, not on {device.type}; use auto or torch"
            )
        super().__init__(cfg, classes, device, initialize)
        self.losses = build_losses(cfg).to(device)
        self.own_model: UnetCoLoCAM | None = None
        self.seed_maps: MapFolder | None = None
        self._store: CamStore | None = None
        self._purity: SeedPurity | None = None

    @abstractmethod
    def recipe(self, epoch: int) -> SeedRecipe:
        """How pseudo-labels are drawn in ``epoch``; the first epoch is 1."""

    def makes_own_maps(self, epoch: int) -> bool:
        """Whether the best model so far makes the source CAMs of ``epoch``; the classifier does otherwise."""
        return False

    def build_model(self) -> UnetCoLoCAM:
        model = build_unet(self.cfg, len(self.classes))
        if self.initialize:
            load_best_model(model, classifier_folder(self.cfg), parts=("encoder", "classification_head"))
        if self.cfg.freeze_cl:
            model.freeze_classifier()
        return model

    @cached_property
    def classifier(self) -> MapMaker:
        """Maps of the classifier that gives the seeds; it is in eval mode and has no gradient."""
        model = build_classifier(self.cfg, len(self.classes), encoder_weights=None)
        load_best_model(model, seeder_folder(self.cfg))
        model.requires_grad_(False).to(self.device).eval().to(memory_format=self.memory_format)
        return MapMaker(
            model,
            self.cfg.seed_cam_method or self.cfg.method,
            chunk_size=self.cfg.cam_chunk_size,
            amp_dtype=self.amp_dtype(self.cfg.amp_eval),
            memory_format=self.memory_format,
        )

    def parameter_groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": self.cfg.opt__lr}]

    def prepare(self, data: Data, stop: StopRequest) -> None:
        if self.needs_cams():
            if self.cfg.seed_maps:
                data.train.cams = self.seed_maps = open_seed_maps(self.cfg, data.train, stop)
            else:
                data.train.cams = self._store = fill_cam_store(self.cfg, self.classifier, data.train, stop)
            data.train.regions = self.region_reader()
        self._purity = SeedPurity(self, data.val, stop)

    def close(self) -> None:
        if self._store is not None:
            self._store.release()

    def references(self) -> dict[str, MapMaker]:
        """The classifier that gives the seeds, with the same views of a frame and the same rule of boxes."""
        if self.cfg.seed_maps:
            return {}
        cfg = self.cfg
        maker = replace(self.classifier, view_scale=cfg.map_view_scale, view_flip=cfg.map_view_flip)
        return {"classifier": replace(maker, box_features=cfg.box_features)}

    def diagnostics(self, epoch: int) -> dict[str, float | None]:
        if self._purity is None or not self._learns_from_seeds:
            return {}
        return {"seed_purity": self._purity(epoch)}

    def examples(self, data: Data) -> Examples | None:
        if not self.needs_cams():
            return None
        train = data.train
        items = np.linspace(0, len(train) - 1, min(_EXAMPLES, len(train))).astype(int).tolist()
        batch = train.load([FrameRequest(1, item, frame) for item in items for frame in train.draw(1, item)])
        cams = self.source_cams(batch.to(self.device), epoch=1)
        labels = self.pseudo_labels(cams, batch.keys, epoch=1)
        assert labels.seeds is not None  # everything was asked for
        assert labels.roi_boxes is not None
        return Examples(batch, cams, labels.seeds, labels.roi_boxes)

    def extra_work(self, data: Data) -> list[Work]:
        """The stored CAMs, the classifier's own measurement, and the seeds' purity.

        The purity is measured once for each recipe of seeds; with the model's own maps at most once an epoch.
        """
        frames = data.train.all_ids()
        stored = self.needs_cams() and not self.cfg.seed_maps
        missing = len(CamStore(cam_store_folder(self.cfg)).missing(frames)) if stored else 0
        boxed = sum(frame_id in data.val.metadata.boxes for frame_id in data.val.metadata.ids)
        boxed *= self._learns_from_seeds
        epochs = range(1, self.cfg.max_epochs + 1)
        own = [epoch for epoch in epochs if self.makes_own_maps(epoch)]
        recipes = {self.recipe(epoch) for epoch in epochs if not self.makes_own_maps(epoch)}

        def read_classifier(batch: Batch) -> tuple[Tensor, Tensor]:
            return self.classifier(batch.images, batch.frames, batch.labels)

        def read_own(batch: Batch) -> tuple[Tensor, Tensor]:
            return self.maps(batch.images, batch.frames, batch.labels)

        def draw(batch: Batch) -> PseudoLabels:
            cams = torch.rand(len(batch), *batch.frames.shape[2:], device=self.device)
            return self.pseudo_labels(cams, batch.keys, epoch=1)

        purity = "seed purity"
        by_classifier = [
            Work(
                f"CAM store ({missing} of {len(frames)} train frames are missing)", missing, read_classifier
            ),
            Work("classifier's CAMs on validation and test", len(data.val) + len(data.test), read_classifier),
            Work(purity, boxed * bool(recipes), read_classifier, shared=False),
        ]
        return [
            *([] if self.cfg.seed_maps else by_classifier),
            Work(purity, boxed * len(own), read_own, shared=False),
            Work(purity, boxed * (len(recipes) + len(own)), draw, shared=False),
        ]

    @property
    def _learns_from_seeds(self) -> bool:
        return any(isinstance(term, SelfLearning) for term in self.losses)

    def needs_cams(self) -> bool:
        """Whether training frames must come with the classifier's CAMs."""
        return bool(self.needs)

    @cached_property
    def needs(self) -> set[str]:
        """What the terms need that is made from CAMs: names of fields of `LossInputs`."""
        return {name for term in self.losses for name in term.from_cams}

    def region_reader(self) -> RegionReader | None:
        """What finds the regions of stored CAMs in the loader's workers; None if no term needs regions.

        Connected components are found on the CPU: for CAMs on another device the host would wait.
        """
        epochs = range(1, max(self.cfg.max_epochs, 1) + 1)
        recipes = [None if self.makes_own_maps(epoch) else self.recipe(epoch) for epoch in epochs]
        if not any(recipe and recipe.needs_regions(self.needs) for recipe in recipes):
            return None
        return RegionReader(tuple(recipes), self.cfg.seed_refine_sigma_rgb, self.cfg.seed_refine_sigma_xy)

    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        with clock.measure("network"), self.autocast(self.cfg.amp):
            output = self.network(self.images(batch))
        map_logits = output.maps.float()  # [B, 2, H, W]
        with clock.measure("seeds"), torch.no_grad():
            labels = self._labels(batch, epoch) if self.needs_cams() else None
        inputs = LossInputs(
            map_logits=map_logits,
            probabilities=map_logits.softmax(dim=1),
            images=batch.frames.float(),
            sequence=batch.sequence,
            order=batch.order,
            deep_features=output.features,
            class_logits=output.logits,
            labels=batch.labels,
            **(vars(labels) if labels else {}),
        )
        total, terms, unweighted = self.losses(inputs, epoch, clock)
        correct = (output.logits.argmax(dim=1) == batch.labels).sum()
        with clock.measure("other"):
            diagnostics = diagnose_maps(inputs, terms, norms=diagnose)
        return StepResult(total, terms, unweighted, correct, diagnostics)

    def start_epoch(self, epoch: int) -> None:
        if self.cfg.freeze_decoder_bn and epoch > 1:
            for module in self.model.decoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def end_epoch(self) -> None:
        self.losses.update_t()

    def on_new_best(self) -> None:
        if self.makes_own_maps(self.cfg.max_epochs):
            self.own_model = copy.deepcopy(self.model).eval()

    def restore_best(self, weights: Path) -> None:
        self.on_new_best()
        if self.own_model is not None:
            load_best_model(self.own_model, weights)

    def loss_state(self) -> dict[str, Any]:
        return self.losses.state_dict()

    def load_loss_state(self, state: dict[str, Any]) -> None:
        self.losses.load_state_dict(state)

    def own_maps(self, epoch: int) -> MapMaker | None:
        """The network of this run that makes the source CAMs of ``epoch``; None: the classifier does."""
        if self.own_model is None or not self.makes_own_maps(epoch):
            return None
        precision = self.training_dtype(self.cfg.amp)
        return MapMaker(
            self.own_model, self.cfg.method, amp_dtype=precision, memory_format=self.memory_format
        )

    def source_cams(self, batch: Batch, epoch: int) -> Tensor:
        """CAMs [B, H, W] that seeds are drawn from: the classifier's, which come with the batch, or the model's own."""
        own = self.own_maps(epoch)
        if own is not None:
            return self.refined(own(batch.images, batch.frames)[0], batch)
        if batch.cams is None:
            raise RuntimeError("this batch was loaded without CAMs: Task.prepare was not called")
        return self.refined(batch.cams, batch) if batch.regions is None else batch.cams

    def refined(self, cams: Tensor, batch: Batch) -> Tensor:
        """CAMs [B, H, W] with the edges of the batch's frames, if the flags want it."""
        return edge_maps(cams, batch.frames, self.cfg.seed_refine_sigma_rgb, self.cfg.seed_refine_sigma_xy)

    def pseudo_labels(self, cams: Tensor, keys: Tensor, epoch: int) -> PseudoLabels:
        """Pseudo-labels from source CAMs [B, H, W] in ``epoch``; ``keys`` as in ``pseudo_labels``."""
        return pseudo_labels(cams, keys, self.recipe(epoch))

    def _labels(self, batch: Batch, epoch: int) -> PseudoLabels:
        regions = None if self.own_maps(epoch) else batch.regions
        cams = self.source_cams(batch, epoch)
        return pseudo_labels(cams, batch.keys, self.recipe(epoch), self.needs, regions)
