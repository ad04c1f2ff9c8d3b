"""One pass over a split: CAMs, boxes, CorLoc, classification; the same numbers for any number of processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from dlib.cams import MapFolder, upsample_cams
from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.groups import shot_groups
from dlib.datasets.loaders import FixedLoader, eval_loader
from dlib.datasets.metadata import SplitMetadata, scaled_boxes
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.metrics import BoxEvaluator, LocalizationReport
from dlib.models import MapMaker
from dlib.utils import distributed
from dlib.utils.errors import Diverged
from dlib.utils.logging import progress
from dlib.utils.signals import StopRequest

CamArray = npt.NDArray[np.float32]


def build_eval_loader(
    cfg: Config, dataset: VideoDataset, device: torch.device, keep_workers: bool = False
) -> FixedLoader:
    """The loader of an evaluation split for this process, whose batches go to ``device``."""
    return eval_loader(
        dataset,
        batch_size=cfg.eval_batch_size or cfg.batch_size,
        together=cfg.box_frames,
        num_workers=cfg.num_workers,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        pin_memory=device.type == "cuda",
        keep_workers=keep_workers,
    )


def evaluate(
    maker: MapMaker,
    dataset: VideoDataset,
    cfg: Config,
    interval: float,
    stop: StopRequest,
    label: str,
    loader: FixedLoader | None = None,
) -> LocalizationReport:
    """Localization and classification of ``maker``'s maps and logits on all samples of ``dataset``.

    Raises Diverged when the model gives values that are not finite.

    Args:
        maker: its model is in eval mode during the call and gets its mode back.
        dataset: a split of single frames with boxes.
        interval: distance of the thresholds τ.
        stop: ends the evaluation early by raising Interrupted.
        label: name of the progress bar.
        loader: of ``dataset``, for a caller that evaluates it many times; None: a new one for this pass.
    """
    if loader is None:
        loader = build_eval_loader(cfg, dataset, maker.device)
    loader.while_waiting = stop.while_waiting
    groups = shot_groups(dataset.metadata, cfg.box_frames)
    evaluator = _evaluator(dataset.metadata.class_names, cfg, interval, groups)
    training = maker.model.training
    maker.model.eval()
    for batch in stop.watch(progress(loader, label, total=len(loader))):
        batch = batch.to(maker.device)
        cams, logits, _, features = maker.readout(batch.images, batch.frames, batch.labels)
        if not bool(cams.isfinite().all() & logits.isfinite().all()):
            raise Diverged(f"{label}: the network's maps or scores are not finite (NaN or infinity)")
        boxes = [scaled_boxes(dataset.metadata, frame_id, dataset.crop_size) for frame_id in batch.ids]
        evaluator.update(cams, batch.labels, logits, boxes, batch.indices, batch.frames, features)
    maker.model.train(training)
    stop.check()
    evaluator.merge(distributed.gather_objects(evaluator.state()))
    evaluator.close()
    return evaluator.compute()


def evaluate_maps(
    maps: MapFolder, metadata: SplitMetadata, cfg: Config, interval: float, label: str
) -> LocalizationReport:
    """Localization of another program's maps on all frames of a split; nothing is classified.

    The maps are resized to the crop's size, where boxes are compared as for a model's maps.

    Raises UserError for a missing or wrong map.
    """
    maps.check_complete(metadata.ids)
    evaluator = _evaluator(metadata.class_names, cfg, interval)
    items = progress(list(enumerate(metadata.ids)), label, total=len(metadata.ids))
    for index, frame_id in items:
        stored = maps.read(frame_id, metadata.sizes[frame_id])  # [h, w]
        boxes = [scaled_boxes(metadata, frame_id, cfg.crop_size)]
        resized = upsample_cams(stored[None], (cfg.crop_size, cfg.crop_size))  # [1, H, W]
        evaluator.update(resized, metadata.labels[index : index + 1], None, boxes, [index])
    evaluator.close()
    return evaluator.compute()


def _evaluator(
    classes: list[str], cfg: Config, interval: float, groups: Sequence[Sequence[int]] = ()
) -> BoxEvaluator:
    # Contours are searched in threads while the network computes: OpenCV releases the interpreter's lock.
    workers = min(4, os.cpu_count() or 1)
    return BoxEvaluator(classes, interval, cfg.box_v2_metric, workers=workers, groups=groups)


def cams_of(
    maker: MapMaker, dataset: VideoDataset, indices: Sequence[int], batch_size: int
) -> dict[int, CamArray]:
    """CAMs float32 [H, W] of single samples, by their index in the split; for pictures."""
    maker.model.eval()
    found: dict[int, CamArray] = {}
    for start in range(0, len(indices), batch_size):
        batch = whole_frames(dataset, indices[start : start + batch_size]).to(maker.device)
        cams, _ = maker(batch.images, batch.frames, batch.labels)  # [B, H, W]
        found |= zip(batch.indices.tolist(), cams.cpu().numpy(), strict=True)
    return found


def whole_frames(dataset: VideoDataset, indices: Sequence[int]) -> Batch:
    """The frames of an evaluation split with these indices, as one batch on the CPU."""
    return dataset.load([FrameRequest(0, index, 0, whole=True) for index in indices])
