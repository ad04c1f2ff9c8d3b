"""The filters and losses on a CUDA card against those of the CPU, and what goes from the card to the host."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlib.crf import (
    IMAGE_RANGE,
    ColorDenseCRFLoss,
    DenseCRFLoss,
    bilateral_filter,
    color_bilateral_filter,
    joint_color_crf,
    lattice_table,
)
from dlib.crf.filters import Kernel, filter_values
from helpers.crf_truth import batch

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")


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


PAIR = [torch.tensor([0, 1])]
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
        lambda i, v: joint_color_crf(i, v, PAIR, 15),
        lambda i, v: joint_color_crf(i, v, PAIR, 15, "cpp"),
    ),
    "loss": (
        lambda i, v: DenseCRFLoss(1, 15, 100)(i, v),
        lambda i, v: DenseCRFLoss(1, 15, 100, backend="cpp")(i, v),
    ),
    "dense, range known": (
        lambda i, v: bilateral_filter(i, v, 15, 100, value_range=IMAGE_RANGE),
        lambda i, v: bilateral_filter(i, v, 15, 100, backend="cpp"),
    ),
    "joint, range known": (
        lambda i, v: joint_color_crf(i, v, PAIR, 15, value_range=IMAGE_RANGE),
        lambda i, v: joint_color_crf(i, v, PAIR, 15, "cpp"),
    ),
}
KNOWN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dense": lambda i, v: DenseCRFLoss(1, 15, 100, value_range=IMAGE_RANGE)(i, v),
    "colour": lambda i, v: ColorDenseCRFLoss(1, 15, value_range=IMAGE_RANGE)(i, v),
    "joint": lambda i, v: joint_color_crf(i, v, PAIR, 15, value_range=IMAGE_RANGE).sum(),
}


@CUDA
@pytest.mark.parametrize("name", CALLS)
def test_equals_the_cpu_and_stays_on_the_card(name: str) -> None:
    on_card, on_cpu = CALLS[name]
    images, p = batch(3, 40, 52)
    wanted = on_cpu(images, p)
    images, p = images.cuda(), p.cuda()
    with ToHost() as seen:
        found = on_card(images, p)
    assert found.device.type == "cuda"
    # The ranges of the five features and the like, but no map, no image and no vertex table.
    assert sum(seen.sizes) <= (0 if "known" in name else 16), seen.sizes
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
        images, p = (x.cuda() for x in batch(n, 40, 52))
        p.requires_grad_()
        loss = DenseCRFLoss(1, 15, 100)
        loss(images, p).backward()  # the first call also sets things up
        with warnings.catch_warnings(record=True) as said, sync_mode("warn"):
            warnings.simplefilter("always")
            energy = loss(images, p)
        with sync_mode("error"):
            energy.backward()
        # PyTorch also says once that this mode is a prototype.
        texts = [str(warning.message) for warning in said]
        return sum("synchronizing" in text and "prototype" not in text for text in texts)

    assert waits(6) == waits(2)


@CUDA
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_where_the_range_is_known_the_host_never_waits(
    name: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setattr(lattice_table, "triton_works", lambda device: False)
    images, p = (x.cuda() for x in batch(3, 40, 52))
    p.requires_grad_()
    KNOWN[name](images, p).backward()  # the first call also compiles
    torch.cuda.synchronize()
    with sync_mode("error"):
        KNOWN[name](images, p).backward()


@CUDA
def test_triton_works_here() -> None:
    assert lattice_table.triton_works(torch.device("cuda", torch.cuda.current_device()))


@CUDA
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("sigma_xy", [100.0, None])
def test_the_table_equals_the_cpu_and_repeats_its_bits(
    sigma_xy: float | None, plain: bool, deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if plain:
        monkeypatch.setattr(lattice_table, "triton_works", lambda device: False)
    images, p = batch(4, 224, 224)
    wanted = filter_values(images, p, None, Kernel(15, sigma_xy, "cpp"))
    images, p = images.cuda(), p.cuda()
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(deterministic, warn_only=False)
    try:
        found = [filter_values(images, p, None, Kernel(15, sigma_xy, "torch", IMAGE_RANGE)) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(before)
    torch.testing.assert_close(found[0].cpu(), wanted, rtol=1e-4, atol=float(1e-6 * wanted.amax()))
    if deterministic or not plain:  # Triton's sums are the same bits always
        assert all(torch.equal(found[0], other) for other in found)


@CUDA
def test_times_and_memory_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Value and gradient for 32 frames of 224²: prints milliseconds; memory within 1 GiB."""
    images, p = (x.cuda() for x in batch(32, 224, 224))
    p.requires_grad_()
    groups = list(torch.arange(32).split(2))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def measure(value_range: tuple[float, float] | None) -> tuple[list[float], float]:
        times, most = [], 0.0
        for loss in (
            lambda: DenseCRFLoss(1, 15, 100, value_range=value_range)(images, p),
            lambda: joint_color_crf(images, p, groups, 15, value_range=value_range).sum(),
        ):
            loss().backward()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            start.record()
            for _ in range(10):
                loss().backward()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 10)
            most = max(most, (torch.cuda.max_memory_allocated() - held) / 2**20)
        return times, most

    found = {"Triton": measure(IMAGE_RANGE)}
    monkeypatch.setattr(lattice_table, "triton_works", lambda device: False)
    found |= {"plain PyTorch": measure(IMAGE_RANGE), "sorted": measure(None)}
    with capsys.disabled():
        for name, ((dense, joint), most) in found.items():
            print(f"\n{name}: dense {dense:.2f} ms, joint {joint:.2f} ms, peak {most:.0f} MiB")
    assert max(found["Triton"][1], found["plain PyTorch"][1]) < 1024


@CUDA
@pytest.mark.parametrize("value_range", [None, IMAGE_RANGE])
@pytest.mark.parametrize("where", ["maps", "images"])
def test_what_is_not_finite_gives_a_nan(where: str, value_range: tuple[float, float] | None) -> None:
    images, p = batch(2, 40, 52)
    (p if where == "maps" else images)[1, 0, 3, 3] = math.nan
    loss = DenseCRFLoss(1, 15, 100, value_range=value_range)
    assert math.isnan(loss(images.cuda(), p.cuda()).item())


def test_the_recorder_sees_what_leaves_a_device() -> None:
    """On the CPU alone, where a meta tensor stands for the card's: its copy is seen, work on it is not."""
    with ToHost() as seen:
        there = torch.ones(5, 3, device="meta") * 2
        there.sum()
    assert seen.sizes == []
    with ToHost() as seen:
        torch.empty_like(there, device="cpu")
    assert seen.sizes == [15]
