"""The pictures and pages of an experiment, drawn from what it wrote and from its best weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlib.configure.config import Config
from dlib.datasets.images import read_image
from dlib.datasets.metadata import scaled_boxes
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.learning.evaluation import cams_of
from dlib.metrics import LocalizationReport
from dlib.tasks import Examples, Task
from dlib.utils.logging import logger
from dlib.visualization.curves import write_curves
from dlib.visualization.gallery import (
    Reference,
    choose_samples,
    gallery_samples,
    write_gallery,
    write_seed_examples,
)
from dlib.visualization.measured import best_taus
from dlib.visualization.overlays import overlay
from dlib.visualization.records import GALLERY
from dlib.visualization.report import write_report

_TRAIN_CAMS = 10


def draw_progress(cfg: Config, folder: Path, curves: bool) -> None:
    """Report (and curves) from the logs so far. A fault in drawing is logged, but never ends a training."""
    try:
        if curves:
            write_curves(folder)
        if cfg.report:
            write_report(folder)
    except Exception as error:
        logger.warning(f"curves or report could not be drawn: {type(error).__name__}: {error}")


def draw_test(
    cfg: Config,
    task: Task,
    test: VideoDataset,
    report: LocalizationReport,
    folder: Path,
    reference_reports: Mapping[str, dict[str, Any]],
) -> None:
    """Overlays of chosen test frames under ``folder/test/vizu/50``, and the gallery that the report shows.

    ``reference_reports``: the test reports of the task's ``references``, by name; they have the thresholds.
    """
    if cfg.vizu_n == 0:
        return
    metadata = test.metadata
    truth = [scaled_boxes(metadata, frame_id, test.crop_size) for frame_id in metadata.ids]
    rows = [row for row in report.samples_table() if len(truth[row["index"]])]
    samples = gallery_samples(rows, metadata.ids, truth)
    # Four groups (best, median, worst, random) and the failures share the pictures of a class.
    chosen = choose_samples(samples, per_group=max(1, cfg.vizu_n // 5))
    indices = sorted(chosen)
    batch_size = cfg.eval_batch_size or cfg.batch_size
    reference = None
    for name, maker in list(task.references().items())[:1]:
        cams = cams_of(maker, test, indices, batch_size)
        reference = Reference(name, cams, best_taus(reference_reports[name]))
    write_gallery(
        folder / GALLERY,
        samples,
        lambda index: read_image(test.data_dir / metadata.ids[index]),
        cams_of(task.maps, test, indices, batch_size),
        reference,
        chosen=chosen,
        cam_name=cfg.task if task.trains_maps else cfg.method,
        multi_contour=cfg.box_v2_metric,
    )


def draw_train_progress(cfg: Config, task: Task, train: VideoDataset, epoch: int, folder: Path) -> None:
    """CAMs of some train frames, the same ones after every epoch, as ``train_cams/<item>/<epoch>.png``."""
    count = min(cfg.plot_tr_cam_progress_n or _TRAIN_CAMS, len(train))
    items = np.linspace(0, len(train) - 1, count).astype(int).tolist()
    batch = train.load([FrameRequest(0, item, train.allowed(item)[0], whole=True) for item in items])
    task.model.eval()
    on_device = batch.to(task.device)
    cams = task.maps(on_device.images, on_device.frames, on_device.labels)[0].cpu().numpy()  # [B, H, W]
    for item, frame, cam in zip(items, batch.frames.permute(0, 2, 3, 1).numpy(), cams, strict=True):
        path = folder / "train_cams" / f"{item:05d}" / f"{epoch:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        overlay(frame, cam, None, (), f"epoch {epoch}").save(path)


def draw_examples(examples: Examples | None, folder: Path) -> None:
    """Training frames with their CAM, ROI and seeds, if the task has them."""
    if examples is None:
        return
    write_seed_examples(
        folder / "seeds",
        examples.batch.ids,
        examples.batch.frames.permute(0, 2, 3, 1).numpy(),
        examples.cams.cpu().numpy(),
        examples.seeds.cpu().numpy(),
        examples.boxes.cpu().numpy(),
    )
