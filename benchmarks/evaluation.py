"""Cost of the localization metric against the plain method and against the network's forward pass.

Wall times on this machine; both methods of a pair run alternately in this process, and the medians are compared.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks import alternate
from benchmarks.pictures import images as natural
from benchmarks.reference.plain_boxes import plain_boxes
from dlib.metrics import BoxEvaluator, boxes_from_map, threshold_grid
from dlib.metrics.boxes import LEVELS, level_boxes, quantize_maps
from dlib.models import STDClassifier

SIDE, INTERVAL = 224, 0.001


def example_maps(count: int, low_side: int, seed: int = 0) -> np.ndarray:
    """Smooth random maps as an extractor gives them: low resolution, normalized, upsampled; [count, 224, 224]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 1, low_side + 4, low_side + 4, generator=generator)
    smooth = F.avg_pool2d(noise, 5, stride=1)  # [count, 1, low_side, low_side]
    low, high = smooth.amin(dim=(1, 2, 3), keepdim=True), smooth.amax(dim=(1, 2, 3), keepdim=True)
    maps = F.interpolate(
        (smooth - low) / (high - low), size=(SIDE, SIDE), mode="bilinear", align_corners=False
    )
    return maps[:, 0].numpy()


def run(frames: int = 64, rounds: int = 5) -> list[dict[str, Any]]:
    """Rows {"what", "plain_ms", "ours_ms", "ratio"}, milliseconds per frame.

    ratio: plain / ours; for complete evaluations ours / plain, the cost relative to the forward passes.
    """
    return [*_against_plain(rounds), *_pools(frames, rounds), *_against_forward(frames, rounds)]


def _against_plain(rounds: int) -> list[dict[str, Any]]:
    rows = []
    taus = threshold_grid(INTERVAL)
    for low_side in (7, 28):
        cam = example_maps(1, low_side)[0]
        same = all(map(np.array_equal, boxes_from_map(cam, taus), plain_boxes(cam, taus)))
        plain, ours = _medians([partial(plain_boxes, cam, taus), partial(boxes_from_map, cam, taus)], rounds)
        what = f"boxes of a {low_side}x{low_side} map at {SIDE}, {len(taus)} thresholds, same boxes: {same}"
        rows.append(_row(what, plain, ours, plain / ours))
    return rows


def _pools(frames: int, rounds: int) -> list[dict[str, Any]]:
    maps = list(quantize_maps(example_maps(frames, 28)))
    search = partial(level_boxes, levels=np.arange(LEVELS), multi_contour=False)
    workers = os.cpu_count() or 1
    with (
        ThreadPoolExecutor(workers) as threads,
        ProcessPoolExecutor(workers, get_context("spawn")) as processes,
    ):
        list(processes.map(search, maps[:workers]))  # starts them

        def through(pool: Executor) -> Callable[[], object]:
            return lambda: list(pool.map(search, maps))

        alone, by_threads, by_processes = _medians(
            [lambda: [search(u) for u in maps], through(threads), through(processes)], rounds
        )
    return [
        _row(
            f"box search in {workers} threads (plain: one)",
            alone / frames,
            by_threads / frames,
            alone / by_threads,
        ),
        _row(
            f"box search in {workers} processes (plain: one)",
            alone / frames,
            by_processes / frames,
            alone / by_processes,
        ),
    ]


def _against_forward(frames: int, rounds: int) -> list[dict[str, Any]]:
    return [row for encoder in ("mobilenet_v2", "resnet50") for row in _encoder_rows(encoder, frames, rounds)]


def _encoder_rows(encoder: str, frames: int, rounds: int) -> list[dict[str, Any]]:
    """Evaluation of one network without and with box workers, against its forward passes alone."""
    model = STDClassifier(encoder, 10).eval()
    maps, pixels = torch.from_numpy(example_maps(frames, 28)), natural(frames, SIDE)[0].to(torch.uint8)
    images = pixels.float() / 255
    batches = torch.arange(frames).split(8)

    @torch.inference_mode()
    def evaluate(workers: int | None) -> None:
        evaluator = BoxEvaluator([str(c) for c in range(10)], INTERVAL, workers=workers or 0)
        for rows in batches:
            logits = model(images[rows])
            if workers is not None:
                truth = [[[50, 50, 150, 150]]] * len(rows)
                evaluator.update(maps[rows], torch.zeros_like(rows), logits, truth, rows, pixels[rows])
        evaluator.compute()
        evaluator.close()

    workers = os.cpu_count() or 1
    calls = [partial(evaluate, None), partial(evaluate, 0), partial(evaluate, workers)]
    network, inline, pooled = _medians(calls, rounds)
    what = f"evaluation with {encoder}, δ = {INTERVAL}, boxes in {{}} (plain: forward alone)"
    return [
        _row(what.format("the caller's thread"), network / frames, inline / frames, inline / network),
        _row(what.format(f"{workers} threads"), network / frames, pooled / frames, pooled / network),
    ]


def _medians(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each call, all of them alternated."""
    return [statistics.median(times.clock) for times in alternate(*calls, rounds=rounds)]


def _row(what: str, plain_ms: float, ours_ms: float, ratio: float) -> dict[str, Any]:
    return {"what": what, "plain_ms": plain_ms, "ours_ms": ours_ms, "ratio": ratio}
