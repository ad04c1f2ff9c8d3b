"""Time to load a training batch: frames, frames with their stored CAMs, and with their regions of interest.

First in one process beside torchvision's own functions (decoding, resizing, cropping; no CAM), then whole epochs by
workers.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.io import decode_jpeg
from torchvision.transforms.v2 import functional as tvf

from benchmarks import Row, alternate, compare
from benchmarks.pictures import images
from benchmarks.step import PUBLISHED
from dlib.cams.store import CamStore
from dlib.configure.config import parse_args
from dlib.datasets.loaders import train_loader
from dlib.datasets.metadata import SplitMetadata
from dlib.datasets.video_dataset import FrameRequest, RegionFinder, VideoDataset
from dlib.tasks.colocam import CoLoCam

_SIDE, _RESIZED, _BATCH, _SHOTS, _FRAMES = 224, 256, 32, 64, 4
_WORKERS = (0, 1, 2)
_SIZE = "JPEG 480 x 360"


def run(rounds: int = 3) -> Iterator[Row]:
    """Milliseconds per frame: of batches in this process, and of epochs, after one that starts the workers."""
    with tempfile.TemporaryDirectory() as folder:
        metadata, store = _shots(Path(folder))
        yield from _beside_torchvision(Path(folder), metadata, store, rounds)
        for what, cams in (("frames", None), ("frames and CAMs", store)):
            for workers in _WORKERS:
                dataset = VideoDataset(
                    metadata, Path(folder), train=True, crop_size=_SIDE, n_frames=2, style="before"
                )
                dataset.cams = cams
                loader = train_loader(dataset, _BATCH, num_workers=workers)
                times = [_epoch_ms_per_frame(loader.iterate(epoch)) for epoch in range(rounds + 1)]
                yield {
                    "what": f"{what} of {_SIDE}² ({_SIZE}), {workers} workers",
                    "ours_ms": statistics.median(times[1:]),
                    "note": "ms a frame",
                }


def _beside_torchvision(folder: Path, metadata: SplitMetadata, store: CamStore, rounds: int) -> Iterator[Row]:
    """Batches in this process, on one thread, and the same number of frames by torchvision."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    settings: list[tuple[str, CamStore | None, RegionFinder | None]] = [
        ("frames", None, None),
        ("frames and CAMs", store, None),
        ("frames, CAMs and regions", store, _regions()),
    ]
    datasets = []
    for _, cams, regions in settings:
        datasets.append(VideoDataset(metadata, folder, train=True, crop_size=_SIDE, resize_size=_RESIZED))
        datasets[-1].cams, datasets[-1].regions = cams, regions
    requests = [FrameRequest(1, item, item % _FRAMES) for item in range(_BATCH)]
    paths = [folder / datasets[0].frame_id(item, frame) for _, item, frame, *_ in requests]
    functions = [lambda data=data: data.load(requests) for data in datasets]
    try:
        plain, *ours = alternate(
            lambda: [_torchvisions(path) for path in paths], *functions, rounds=5 * rounds
        )
    finally:
        torch.set_num_threads(threads)
    for (what, *_), times in zip(settings, ours, strict=True):
        yield compare(
            f"{_BATCH} {what} of {_SIDE}² ({_SIZE}; plain: torchvision, frames alone)", plain, times
        )


def _torchvisions(path: Path) -> Tensor:
    """uint8 [3, 224, 224]"""
    pixels = decode_jpeg(torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8))
    resized = tvf.resize(pixels, [_RESIZED, _RESIZED], antialias=True)
    return tvf.crop(resized, 10, 12, _SIDE, _SIDE).contiguous()


def _regions() -> RegionFinder | None:
    cfg = parse_args([*PUBLISHED.split(), "--encoder_name", "mobilenet_v2"])
    return CoLoCam(cfg, ["class"], torch.device("cpu"), initialize=False).region_reader()


def _epoch_ms_per_frame(batches: Iterator) -> float:
    start, frames = time.perf_counter(), 0
    for batch in batches:
        frames += len(batch.frames)
    return 1e3 * (time.perf_counter() - start) / frames


def _shots(folder: Path) -> tuple[SplitMetadata, CamStore]:
    """Shots of JPEG frames below ``folder``, and their CAMs."""
    pictures = images(_FRAMES, 480)[0].permute(0, 2, 3, 1).numpy().astype(np.uint8)[:, :360]
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
