"""Time to load a training batch: frames, and frames with their stored CAMs, in one process and in workers."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks import Row
from benchmarks.pictures import images
from dlib.cams.store import CamStore
from dlib.datasets.loaders import train_loader
from dlib.datasets.metadata import SplitMetadata
from dlib.datasets.video_dataset import VideoDataset

_SIDE, _BATCH, _SHOTS, _FRAMES = 224, 32, 64, 4
_WORKERS = (0, 1, 2)


def run(rounds: int = 3) -> Iterator[Row]:
    """Milliseconds per frame of complete epochs, after one that starts the workers."""
    with tempfile.TemporaryDirectory() as folder:
        metadata, store = _shots(Path(folder))
        for what, cams in (("frames", None), ("frames and CAMs", store)):
            for workers in _WORKERS:
                dataset = VideoDataset(
                    metadata, Path(folder), train=True, crop_size=_SIDE, n_frames=2, style="before", cams=cams
                )
                loader = train_loader(dataset, _BATCH, num_workers=workers)
                times = [_epoch_ms_per_frame(loader.iterate(epoch)) for epoch in range(rounds + 1)]
                yield {
                    "what": f"{what} of {_SIDE}² (JPEG 320 x 240), {workers} workers",
                    "ours_ms": statistics.median(times[1:]),
                    "note": "ms a frame",
                }


def _epoch_ms_per_frame(batches: Iterator) -> float:
    start, frames = time.perf_counter(), 0
    for batch in batches:
        frames += len(batch.frames)
    return 1e3 * (time.perf_counter() - start) / frames


def _shots(folder: Path) -> tuple[SplitMetadata, CamStore]:
    """Shots of JPEG frames below ``folder``, and their CAMs."""
    pictures = images(_FRAMES, 320)[0].permute(0, 2, 3, 1).numpy().astype(np.uint8)[:, :240]
    store = CamStore(folder / "cams")
    ids = [f"class/data/{shot:04}/shots/001" for shot in range(_SHOTS)]
    for shot in ids:
        (folder / shot).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            name = f"{shot}/frame{number:04}.jpg"
            cv2.imwrite(str(folder / name), picture[..., ::-1])
            store.write(name, torch.rand(28, 28))
    labels = np.zeros(_SHOTS, np.int64)
    return SplitMetadata("train", ids, labels, {}, {}, ["class"], folder), store
