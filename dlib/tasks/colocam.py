"""CoLo-CAM: a U-Net decoder on a frozen classifier learns full-resolution maps (Pattern Recognition 2025)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dlib.cams import (
    build_cam_extractor,
    edge_maps,
    region_of_interest,
    sample_seeds,
    seed_technique_at,
    temper_at,
    temper_cams,
    upsample_cams,
)
from dlib.configure.config import Config
from dlib.configure.constants import COLOCAM
from dlib.datasets.batch import Batch
from dlib.losses import LossInputs
from dlib.models import CamClassifier, STDClassifier, UnetCoLoCAM
from dlib.models.weights import load_best_model
from dlib.tasks.base import StepResult, Task
from dlib.tasks.colocam_losses import build_losses
from dlib.tasks.diagnosis import diagnose_maps
from dlib.tasks.networks import build_classifier, build_colocam
from dlib.tasks.pretrained import classifier_folder, seeder_folder
from dlib.utils.errors import UsageError
from dlib.utils.timing import StepClock


class CoLoCam(Task):
    """Seeds, CRF, joint colour CRF and size priors train the decoder (spec 2.4, 2.5, 2.7)."""

    name = COLOCAM
    model: UnetCoLoCAM

    def __init__(
        self, cfg: Config, classes: list[str], device: torch.device, initialize: bool = True
    ) -> None:
        if cfg.crf_backend == "cpp" and device.type != "cpu":
            raise UsageError(
                f"--crf_backend cpp: filters on the CPU only, not on {device.type}; use auto or torch"
            )
        super().__init__(cfg, classes, device, initialize)
        channels = self.model.decoder.out_channels
        if cfg.rgb_jcrf_clc_input_re_dim > channels:
            raise UsageError(
                f"--rgb_jcrf_clc_input_re_dim {cfg.rgb_jcrf_clc_input_re_dim}: the decoder of {cfg.encoder_name}"
                f" has only {channels} channels"
            )
        self.losses = build_losses(cfg).to(device)
        self._self_learner: nn.Module | None = None

    def build_model(self) -> CamClassifier:
        model = build_colocam(self.cfg, len(self.classes))
        if self.initialize:
            load_best_model(model, classifier_folder(self.cfg), parts=("encoder", "classification_head"))
        if self.cfg.freeze_cl:
            model.freeze_classifier()
        return model

    def build_seeder(self) -> STDClassifier:
        """The classifier whose CAMs give the seeds, in eval mode on the task's device."""
        seeder = build_classifier(self.cfg, len(self.classes), encoder_weights=None)
        load_best_model(seeder, seeder_folder(self.cfg))
        seeder.requires_grad_(False)
        return seeder.to(self.device).eval()

    def parameter_groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return [{"params": trained, "lr": self.cfg.opt__lr}]

    def needs_cams(self) -> bool:
        return any(term.from_cams for term in self.losses)

    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        with clock.measure("network"), self.autocast(self.cfg.amp):
            output = self.network(self.images(batch))
        map_logits = output.maps.float()  # [B, 2, H, W]
        with clock.measure("seeds"), torch.no_grad():
            seeding = (
                self.pseudo_labels(self.source_cams(batch, epoch), batch.keys, epoch)
                if self.needs_cams()
                else {}
            )
        inputs = LossInputs(
            map_logits=map_logits,
            probabilities=map_logits.softmax(dim=1),
            images=batch.raw.float(),
            sequence=batch.sequence,
            order=batch.order,
            deep_features=self.model.deep_features,
            class_logits=output.logits,
            labels=batch.labels,
            **seeding,
        )
        total, terms, raw = self.losses(inputs, epoch, clock)
        correct = (output.logits.argmax(dim=1) == batch.labels).sum()
        with clock.measure("other"):
            diagnostics = diagnose_maps(inputs, terms, norms=diagnose)
        return StepResult(total, terms, raw, correct, diagnostics)

    @torch.no_grad()
    def cams(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with self.autocast(self.cfg.amp_eval):
            output = self.model(self.images(batch))
        maps = foreground(output.maps, self.cfg.map_temperature)
        return self.finish_maps(maps, batch), output.logits.float()

    def start_epoch(self, epoch: int) -> None:
        if self.cfg.freeze_decoder_bn and epoch > 1:
            for module in self.model.decoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def end_epoch(self) -> None:
        self.losses.update_t()

    def on_new_best(self) -> None:
        if self.cfg.sl_clc_epoch_switch_to_sl >= 0:
            self._self_learner = copy.deepcopy(self.model).eval()

    def restore_best(self, weights: Path) -> None:
        if self.cfg.sl_clc_epoch_switch_to_sl >= 0:
            self._self_learner = copy.deepcopy(self.model).eval()
            load_best_model(self._self_learner, weights)

    def loss_state(self) -> dict[str, Any]:
        return self.losses.state_dict()

    def load_loss_state(self, state: dict[str, Any]) -> None:
        self.losses.load_state_dict(state)

    def pseudo_labels(self, cams: Tensor, keys: Tensor, epoch: int) -> dict[str, Tensor]:
        """What training takes from source CAMs (spec 2.5).

        Args:
            cams: [B, H, W] in 0..1.
            keys: int64 [B], one random key per image.
            epoch: the epoch under way; the heat of the CAMs and the seeding technique depend on it.
        Returns: ``seeds`` [B, H, W] (1, 0 or ignored), ``cams`` [B, H, W] as they were seeded from, ``roi_boxes``
            [B, 4] and ``fg_sizes`` [B], shares of the frame.
        """
        cfg = self.cfg
        switch = cfg.sl_clc_seed_epoch_switch_uniform
        heat = temper_at(epoch, cfg.sl_clc_knn_t, cfg.sl_clc_min_t, switch)
        if heat > 0:
            cams = temper_cams(cams, heat)
        roi = region_of_interest(
            cams,
            method=cfg.sl_clc_roi_method,
            mask=cfg.sl_clc_roi_mask,
            min_size=cfg.sl_clc_roi_min_size,
            erode_k=cfg.sl_clc_fg_erode_k,
            erode_iter=cfg.sl_clc_fg_erode_iter,
        )
        seeds = sample_seeds(
            cams,
            roi.masks if cfg.sl_clc_use_roi else None,
            max_n=cfg.sl_clc_max,
            min_n=cfg.sl_clc_min,
            max_p=cfg.sl_clc_max_p,
            min_p=cfg.sl_clc_min_p,
            ksz=cfg.sl_clc_ksz,
            technique=seed_technique_at(epoch, cfg.sl_clc_seed_tech, switch),
            ignore_index=cfg.seg_ignore_idx,
            keys=keys,
        )
        inside = (cams * roi.masks).sum(dim=(1, 2)) / cams[0].numel()  # [B] share of the frame
        return {"seeds": seeds, "cams": cams, "roi_boxes": roi.boxes, "fg_sizes": inside}

    def source_cams(self, batch: Batch, epoch: int) -> Tensor:
        """CAMs [B, H, W] that seeds are drawn from: the classifier's, which come with the batch, or its own."""
        switch = self.cfg.sl_clc_epoch_switch_to_sl
        if self._self_learner is not None and 0 <= switch <= epoch:
            with self.autocast(self.cfg.amp):
                own = foreground(self._self_learner(self.images(batch)).maps)
            return self.refined(own, batch)
        if batch.cams is None:
            raise RuntimeError("this batch was loaded without CAMs")
        return self.refined(batch.cams, batch)

    def refined(self, cams: Tensor, batch: Batch) -> Tensor:
        """CAMs [B, H, W] with the edges of the batch's frames, where the flags ask for it."""
        return edge_maps(cams, batch.raw, self.cfg.seed_refine_sigma_rgb, self.cfg.seed_refine_sigma_xy)


def foreground(map_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """CAM [B, H, W] of map logits [B, 2, H, W]: softmax over the two maps, channel 1 (spec 2.4)."""
    return F.softmax(map_logits.float() / temperature, dim=1)[:, 1]


class SeederTask(Task):
    """The classifier that seeds CoLo-CAM, evaluated and stored as a task of its own; it is never trained."""

    name = "seeder"

    def __init__(self, cfg: Config, classes: list[str], device: torch.device, seeder: STDClassifier) -> None:
        self._seeder = seeder
        super().__init__(cfg, classes, device, initialize=False)

    def build_model(self) -> CamClassifier:
        return self._seeder

    def parameter_groups(self) -> list[dict[str, Any]]:
        return []

    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        raise RuntimeError("the seeding classifier is not trained by CoLo-CAM")

    @torch.no_grad()
    def cams(self, batch: Batch) -> tuple[Tensor, Tensor]:
        images = self.images(batch)
        low, logits = self.low_resolution_cams(images, batch.labels)
        return upsample_cams(low, (images.shape[2], images.shape[3])), logits

    def low_resolution_cams(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """CAMs [B, h, w] as the CAM layer gives them, normalized, and logits [B, classes]."""
        method = self.cfg.seed_cam_method or self.cfg.method
        extractor = build_cam_extractor(self.model, method, chunk_size=self.cfg.cam_chunk_size)
        with self.autocast(self.cfg.amp_eval):
            return extractor.cams_and_logits(images, labels)
