"""The filters and losses on a CUDA card against those of the CPU, and what goes from the card to the host."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from crf_truth import probabilities, textured
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlib.crf import DenseCRFLoss, bilateral_filter, color_bilateral_filter, joint_color_crf

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")


def batch(n: int, height: int = 40, width: int = 52) -> tuple[Tensor, Tensor]:
    images = [torch.from_numpy(textured(3, height, width, seed=s)) for s in range(n)]
    maps = [torch.from_numpy(probabilities(2, height, width, seed=s)) for s in range(n)]
    return torch.stack(images), torch.stack(maps)


class ToHost(TorchDispatchMode):
    """Sizes of the tensors and numbers that operations bring from another device to the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(x.device.type != "cpu" for x in given):
            for x in tree_leaves(found):
                if isinstance(x, (int, float)) or (isinstance(x, Tensor) and x.device.type == "cpu"):
                    self.sizes.append(x.numel() if isinstance(x, Tensor) else 1)
        return found


CALLS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "dense": (
        lambda i, v: bilateral_filter(i, v, 15, 100),
        lambda i, v: bilateral_filter(i, v, 15, 100, backend="cpp"),
    ),
    "colour": (
        lambda i, v: color_bilateral_filter(i, v, 15),
        lambda i, v: color_bilateral_filter(i, v, 15, backend="cpp"),
    ),
    "joint": (
        lambda i, v: joint_color_crf(i, v, [torch.tensor([0, 1])], 15),
        lambda i, v: joint_color_crf(i, v, [torch.tensor([0, 1])], 15, "cpp"),
    ),
    "loss": (
        lambda i, v: DenseCRFLoss(1, 15, 100)(i, v),
        lambda i, v: DenseCRFLoss(1, 15, 100, backend="cpp")(i, v),
    ),
}


@CUDA
@pytest.mark.parametrize("name", CALLS)
def test_equals_the_cpu_and_stays_on_the_card(name: str) -> None:
    on_card, on_cpu = CALLS[name]
    images, p = batch(3)
    wanted = on_cpu(images, p)
    images, p = images.cuda(), p.cuda()
    with ToHost() as seen:
        found = on_card(images, p)
    assert found.device.type == "cuda"
    # The ranges of the five features and the like, but no map, no image and no vertex table.
    assert sum(seen.sizes) <= 16, seen.sizes
    error = (found.cpu() - wanted).abs().amax() / wanted.abs().amax()
    assert float(error) < 1e-4
    torch.testing.assert_close(found.cpu(), wanted, rtol=5e-4, atol=float(1e-4 * wanted.abs().amax()))


@contextmanager
def sync_mode(mode: str) -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@CUDA
def test_waits_do_not_grow_with_the_batch_and_the_gradient_has_none() -> None:
    def waits(n: int) -> int:
        images, p = (x.cuda() for x in batch(n))
        p.requires_grad_()
        loss = DenseCRFLoss(1, 15, 100)
        loss(images, p).backward()  # the first call also sets things up
        with warnings.catch_warnings(record=True) as said, sync_mode("warn"):
            warnings.simplefilter("always")
            energy = loss(images, p)
        with sync_mode("error"):
            energy.backward()
        return sum("synchronizing" in str(warning.message) for warning in said)

    assert waits(6) == waits(2)


@CUDA
@pytest.mark.parametrize("where", ["maps", "images"])
def test_what_is_not_finite_gives_a_nan(where: str) -> None:
    images, p = batch(2)
    (p if where == "maps" else images)[1, 0, 3, 3] = math.nan
    assert math.isnan(DenseCRFLoss(1, 15, 100)(images.cuda(), p.cuda()).item())


def test_the_recorder_sees_what_leaves_a_device() -> None:
    """On the CPU alone, where a meta tensor stands for the card's: its copy is seen, work on it is not."""
    with ToHost() as seen:
        there = torch.ones(5, 3, device="meta") * 2
        there.sum()
    assert seen.sizes == []
    with ToHost() as seen:
        torch.empty_like(there, device="cpu")
    assert seen.sizes == [15]
