"""Regions of interest and seeds beside a plain loop over the images; extractors beside a forward pass, and beside
torchcam and grad-cam on torchvision's networks (`others`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, get_args

import cv2
import numpy as np
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from skimage.filters import threshold_otsu
from torch import Tensor
from torchvision import models as tv

from benchmarks import Row, alternate, compare
from dlib.cams import (
    build_cam_extractor,
    normalize_cams,
    region_of_interest,
    sample_seeds,
    upsample_cams,
    vit_maps,
)
from dlib.configure.literals import SeedTechnique
from dlib.models import STDClassifier

_SEEDS: dict[str, Any] = {"max_n": 1000, "min_n": 1000, "max_p": 0.7, "min_p": 0.1}  # published


def run(rounds: int = 9) -> list[Row]:
    """Rows as of `compare`: medians of alternated runs; ratio = plain / ours.

    For extractors "plain" is the classifier's forward pass under no_grad: the ratio's inverse is the cost in passes.
    """
    few = max(3, rounds // 3)
    return [
        *_seed_rows(rounds),
        *_extractor_rows("mobilenet_v2", 32, few),
        *_extractor_rows("resnet50", 8, few),
        *(_score_row(encoder) for encoder in ("mobilenet_v2", "resnet50")),
        *others(few),
    ]


def others(rounds: int) -> list[Row]:
    """LayerCAM of torchvision's networks by torchcam and by grad-cam ("plain"), and by us: maps of the layer's size.

    The libraries run in turns; each has its hooks on the network during its own turn only.
    """
    rows: list[Row] = []
    for name, layer in (
        ("resnet50", "layer4"),
        ("mobilenet_v3_large", "features"),
        ("vit_b_32", "encoder.layers.encoder_layer_11.ln_1"),
    ):
        torch.manual_seed(0)
        net = getattr(tv, name)().eval()
        for batch in (1, 32):
            rows += _beside(net, name, layer, batch, rounds)
    return rows


def _beside(net: torch.nn.Module, name: str, layer: str, batch: int, rounds: int) -> Iterator[Row]:
    reshape = vit_maps if name.startswith("vit") else None
    images, classes = torch.randn(batch, 3, 224, 224), torch.arange(batch)

    def ours() -> None:
        build_cam_extractor(net, "LayerCAM", layer=layer, reshape=reshape)(images, classes)

    def of_torchcam() -> None:
        with torchcam.methods.LayerCAM(net, layer) as extractor:
            extractor(classes.tolist(), net(images))

    def of_grad_cam() -> None:
        layers = [net.get_submodule(layer)]
        with pytorch_grad_cam.LayerCAM(net, layers, reshape_transform=reshape) as extractor:
            extractor.get_target_width_height = lambda _: None
            extractor(images, [ClassifierOutputTarget(int(c)) for c in classes])

    others = {"grad-cam": of_grad_cam}
    if reshape is None:  # torchcam has no way to make maps of tokens
        others["torchcam"] = of_torchcam
    mine, *theirs = alternate(ours, *others.values(), rounds=rounds)
    for library, times in zip(others, theirs, strict=True):
        yield compare(f"LayerCAM, {name}, {batch} × 224², {library}", times, mine)


def _seed_rows(rounds: int) -> list[Row]:
    cams = _maps(32, 224)
    keys = torch.arange(32)
    rows = []
    for technique in get_args(SeedTechnique):

        def ours(technique: SeedTechnique = technique) -> None:
            masks = region_of_interest(cams, "largest").masks
            sample_seeds(cams, masks, technique=technique, keys=keys, **_SEEDS)

        def plain(technique: str = technique) -> None:
            random = np.random.default_rng(0)
            for cam in cams.numpy():
                plain_seeds(cam, technique, random)

        simple, own = alternate(plain, ours, rounds=rounds)
        rows.append(compare(f"ROI and seeds, 32 maps of 224², {technique}", simple, own))
    return rows


def _extractor_rows(encoder: str, batch: int, rounds: int) -> list[Row]:
    torch.manual_seed(0)
    net = STDClassifier(encoder, 10).eval()
    images, classes = torch.randn(batch, 3, 224, 224), torch.arange(batch) % 10

    def forward() -> None:
        with torch.no_grad():
            net(images)

    rows = []
    for method in ("CAM", "GradCam", "GradCAMpp", "SmoothGradCAMpp", "XGradCAM", "LayerCAM"):
        extractor = build_cam_extractor(net, method)
        passes, maps = alternate(forward, partial(extractor, images, classes), rounds=rounds)
        rows.append(compare(f"{method}, {encoder}, {batch} × 224²", passes, maps))
    return rows


def _score_row(encoder: str, masks: int = 64) -> Row:
    """ScoreCAM of one frame at 224²: one chunk of masks is timed, and the frame's cost is that of all channels."""
    torch.manual_seed(0)
    net = STDClassifier(encoder, 10).eval()
    image = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        channels = net.cam_features(image).shape[1]
        start = time.perf_counter()
        net(image.repeat(masks, 1, 1, 1))
        seconds = (time.perf_counter() - start) * channels / masks
    return {
        "what": f"ScoreCAM, {encoder}, one frame of 224²",
        "ours_ms": 1000 * seconds,
        "note": f"{channels} masks, from a chunk of {masks}; masks that are constant are skipped",
    }


def plain_seeds(cam: np.ndarray, technique: str, random: np.random.Generator) -> np.ndarray:
    """One map's region and seeds, written in the simplest way: [H, W] -> int64 [H, W]."""
    t = threshold_otsu(np.floor(255 * cam))
    _, _, stats, _ = cv2.connectedComponentsWithStats((255 * cam >= t).astype(np.uint8), connectivity=4)
    left, top, width, height = stats[1 + np.argmax(stats[1:, cv2.CC_STAT_AREA]), :4]
    roi = np.zeros(cam.shape, bool)
    roi[top : top + height, left : left + width] = True
    inside = np.flatnonzero(roi)
    high = inside[np.argsort(-cam.ravel()[inside], kind="stable")[: int(_SEEDS["max_p"] * len(inside))]]
    low = np.argsort(cam.ravel(), kind="stable")[: int(_SEEDS["min_p"] * cam.size)]
    weights = cam.ravel()[high].astype(np.float64) + 1e-8
    p = weights / weights.sum() if technique == "seed_weighted" else None
    claims = []
    for candidates, number, law in ((high, _SEEDS["max_n"], p), (low, _SEEDS["min_n"], None)):
        points = np.zeros(cam.size, np.uint8)
        points[random.choice(candidates, min(int(number), len(candidates)), replace=False, p=law)] = 1
        claims.append(cv2.dilate(points.reshape(cam.shape), np.ones((3, 3), np.uint8)).astype(bool))
    target = np.full(cam.shape, -255)
    target[claims[0] & ~claims[1]] = 1
    target[claims[1] & ~claims[0]] = 0
    return target


def _maps(batch: int, side: int) -> Tensor:
    """Maps like a classifier's: one object of varying size on a restless ground, from 28² up."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    cy, cx, size = (
        low + high * torch.rand(batch, 1, 1, generator=generator) for low, high in ((7, 14), (7, 14), (3, 3))
    )
    objects = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * size**2))  # [B, 28, 28]
    ground = torch.rand(batch, 28, 28, generator=generator)
    return normalize_cams(upsample_cams(objects + 0.2 * ground, (side, side)))
