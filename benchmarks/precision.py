"""The network's passes on a CPU: bfloat16 and images in channels_last against float32 in PyTorch's default layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from benchmarks import Row, alternate, compare
from dlib.models import STDClassifier, UnetCoLoCAM

_FRAMES = {224: 2, 112: 8}  # frames of a batch, by their side
_ENCODERS = ("mobilenet_v2", "resnet18", "resnet50")
_KINDS = ("forward", "classifier's step", "CoLo-CAM's step")


def run(rounds: int = 5) -> Iterator[Row]:
    """Three rows for each encoder, side and kind of pass, one thread; "plain" is float32 in the default layout."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for encoder, side, kind in product(_ENCODERS, _FRAMES, _KINDS):
            yield from _rows(encoder, side, kind, rounds)
    finally:
        torch.set_num_threads(threads)


def _rows(encoder: str, side: int, kind: str, rounds: int) -> Iterator[Row]:
    torch.manual_seed(0)
    if kind == "CoLo-CAM's step":
        decoder = UnetCoLoCAM(encoder, 10).train()
        decoder.freeze_classifier()
        network: nn.Module = decoder
    else:
        network = STDClassifier(encoder, 10).train(kind == "classifier's step")
    images = torch.rand(_FRAMES[side], 3, side, side)
    last = images.to(memory_format=torch.channels_last)  # as in training, the weights keep their layout
    passes = [partial(_pass, network, given, half) for given in (images, last) for half in (False, True)]
    plain, *others = alternate(*passes, rounds=rounds)
    for title, times in zip(("bfloat16", "channels_last", "bfloat16 and channels_last"), others, strict=True):
        yield compare(f"{encoder}, {kind}, {_FRAMES[side]} frames of {side}², {title}", plain, times)


def _pass(network: nn.Module, images: Tensor, half: bool) -> None:
    """Forward, in training also backward."""
    with nullcontext() if network.training else torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = network(images)
        if network.training:
            output = getattr(output, "maps", output)
            output.float().square().mean().backward()
            network.zero_grad()
