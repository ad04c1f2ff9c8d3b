"""A CoLo-CAM training step: the network's share of its time, and the gain of memory layout and fused optimizer."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks import Row, alternate, compare
from benchmarks.pictures import images as frames
from dlib.configure.config import Config, parse_args
from dlib.datasets.batch import Batch
from dlib.models import STDClassifier, UnetCoLoCAM
from dlib.models.unet import UnetOutput
from dlib.tasks.colocam import CoLoCam
from dlib.utils.timing import StepClock

_SIDE = 224
_BATCH = 8
# The command line of the paper, without what only names files.
PUBLISHED = """--task CoLo-CAM --freeze_cl True --sl_clc True --sl_clc_min 1000 --sl_clc_max 1000 --sl_clc_ksz 3
 --sl_clc_max_p 0.7 --sl_clc_min_p 0.1 --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True
 --sl_clc_roi_method largest --crf_clc True --rgb_jcrf_clc True --rgb_jcrf_clc_lambda 9.0
 --rgb_jcrf_clc_lambda_style adaptive --max_sizepos_clc True --max_sizepos_clc_lambda 0.01 --sample_n_from_seq 2"""


def run(rounds: int = 5) -> list[Row]:
    """Rows of the share of time per kind of work, and of the network with and without each choice."""
    rows = [shares(encoder, rounds) for encoder in ("resnet50", "mobilenet_v2")]
    rows += [
        layouts(encoder, rounds)
        for encoder in ("resnet50", "resnet18", "mobilenet_v2", "vgg16", "inceptionv3")
    ]
    rows.append(optimizers(rounds))
    rows.append(compiled(rounds))
    return rows


def shares(encoder: str, rounds: int) -> Row:
    """Where the time of a step goes: data of two frames of each of four shots, published losses."""
    cfg = parse_args([*PUBLISHED.split(), "--encoder_name", encoder])
    task = CoLoCam(cfg, [str(c) for c in range(10)], torch.device("cpu"), initialize=False)
    task.model.train()
    batch = _batch(cfg)
    seconds: list[dict[str, float]] = []
    for _ in range(rounds):
        clock = StepClock()
        loss = task.training_step(batch, 1, clock, diagnose=False).loss
        with clock.measure("network"):
            loss.backward()
        task.model.zero_grad()
        seconds.append(clock.take())
    medians = {kind: statistics.median(step.get(kind, 0.0) for step in seconds) for kind in seconds[0]}
    total = sum(medians.values())
    parts = ", ".join(f"{kind} {100 * value / total:.1f} %" for kind, value in sorted(medians.items()))
    return {
        "what": f"CoLo-CAM step, {encoder}, {_BATCH} frames of {_SIDE}²",
        "ours_ms": 1e3 * total,
        "note": parts,
    }


def layouts(encoder: str, rounds: int) -> Row:
    """The frozen classifier's forward pass in PyTorch's default layout and in channels_last."""
    model = STDClassifier(encoder, 10).eval()
    other = STDClassifier(encoder, 10).eval().to(memory_format=torch.channels_last)
    images = torch.rand(_BATCH, 3, _SIDE, _SIDE)
    last = images.contiguous(memory_format=torch.channels_last)
    forward = torch.inference_mode()(lambda net, x: net(x))
    plain, ours = alternate(partial(forward, model, images), partial(forward, other, last), rounds=rounds)
    return compare(f"{encoder} forward, channels_last (plain: default layout)", plain, ours)


def optimizers(rounds: int) -> Row:
    """One SGD update of resnet50's parameters, fused and not."""
    parameters = [torch.nn.Parameter(torch.rand_like(p)) for p in STDClassifier("resnet50", 10).parameters()]
    for parameter in parameters:
        parameter.grad = torch.rand_like(parameter)
    both = [
        torch.optim.SGD(parameters, lr=1e-6, momentum=0.9, nesterov=True, fused=fused)
        for fused in (False, True)
    ]
    plain, ours = alternate(*(optimizer.step for optimizer in both), rounds=rounds)
    return compare("SGD update of resnet50, fused (plain: not fused)", plain, ours)


def compiled(rounds: int) -> Row:
    """Forward and backward pass of CoLo-CAM's network with a frozen encoder, as it is and through torch.compile."""
    torch.manual_seed(0)
    model = UnetCoLoCAM("mobilenet_v2", 10).train()
    model.freeze_classifier()
    images = torch.rand(_BATCH, 3, 112, 112)
    through = torch.compile(model)

    def step(network: Callable[[Tensor], UnetOutput]) -> None:
        network(images).maps.square().mean().backward()
        model.zero_grad()

    for _ in range(2):  # compiles
        step(through)
    plain, ours = alternate(partial(step, model), partial(step, through), rounds=rounds)
    return compare(f"mobilenet_v2 step, {_BATCH} frames of 112², --compile (plain: without)", plain, ours)


def _batch(cfg: Config) -> Batch:
    """Frames of natural or drawn pictures, two of each shot, with smooth CAMs."""
    pixels = frames(_BATCH, _SIDE)[0].to(torch.uint8)  # [B, 3, H, W]
    coarse = torch.rand(_BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    cams = torch.nn.functional.interpolate(coarse, size=(_SIDE, _SIDE), mode="bilinear")[:, 0]
    numbers = torch.arange(_BATCH)
    return Batch(
        frames=pixels,
        labels=numbers % 10,
        ids=[str(n) for n in range(_BATCH)],
        indices=numbers,
        sequence=numbers // cfg.sample_n_from_seq,
        order=numbers % cfg.sample_n_from_seq,
        keys=numbers,
        cams=cams,
    )
