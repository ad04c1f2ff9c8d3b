"""What one localized frame costs: network and CAM, without reading files and without the metric."""

from __future__ import annotations

from pathlib import Path

from dlib.configure.config import Config
from dlib.configure.constants import BEST_LOCALIZATION, TEST
from dlib.datasets.splits import read_frames
from dlib.learning.evaluation import whole_frames
from dlib.localizer import find_weights
from dlib.models import load_best_model
from dlib.tasks import build_task
from dlib.utils import distributed
from dlib.utils.files import read_json, write_json
from dlib.utils.timing import seconds_of


def frame_cost(folder: Path, method: str = "") -> dict[str, float]:
    """``seconds`` per test frame and ``parameters`` of the best model in ``folder``, read out with ``method``.

    Median of three batches, or one frame if that takes over a second; kept in ``cost.json``.
    """
    kept = folder / "cost.json"
    if kept.exists():
        return read_json(kept)
    cfg = Config.from_yaml(folder / "config.yml")
    cfg = cfg.replace(method=method) if method else cfg
    device = distributed.pick_device(cfg.device, cfg.cudaid, 0)
    frames = read_frames(cfg, TEST)
    task = build_task(cfg, frames.metadata.class_names, device, initialize=False)
    load_best_model(task.model, find_weights(folder, BEST_LOCALIZATION))
    task.model.eval()
    batch = whole_frames(frames, [0]).to(device)

    def localize() -> None:
        task.maps(batch.images, batch.frames, batch.labels)

    seconds = seconds_of(device, localize)
    if seconds < 1:
        batch = whole_frames(frames, range(min(cfg.batch_size, len(frames)))).to(device)
        seconds = sorted(seconds_of(device, localize) for _ in range(3))[1] / len(batch)
    found = {"seconds": seconds, "parameters": sum(p.numel() for p in task.model.parameters())}
    write_json(kept, found)
    return found
