"""The bilateral filters and CRF losses against the plain C++ implementation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from benchmarks import Row, Times, alternate, compare
from benchmarks.pictures import images, maps
from benchmarks.reference import plain_filter
from dlib.crf import (
    IMAGE_RANGE,
    DenseCRFLoss,
    bilateral_filter,
    color_bilateral_filter,
    joint_color_crf,
)

RGB, XY = 15.0, 100.0


def _on(threads: int, function: Callable[[], object]) -> Callable[[], object]:
    """The function with torch's number of threads set for it."""

    def call() -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return function()
        finally:
            torch.set_num_threads(before)

    return call


def _wide(frames: Tensor) -> Tensor:
    """[F, C, H, W] -> [C, H, F*W], the frames side by side."""
    return torch.cat(list(frames), dim=2)


def _single(
    what: str, cases: list[tuple[Tensor, Tensor]], sigma_xy: float | None, target: str, rounds: int
) -> Iterator[Row]:
    """One image [P, H, W] and values [K, H, W] at a time: plain, one thread, two threads within the image."""
    totals = [Times(), Times(), Times()]
    for image, values in cases:

        def ours(image: Tensor = image, values: Tensor = values) -> Tensor:
            if sigma_xy is None:
                return color_bilateral_filter(image[None], values[None], RGB)
            return bilateral_filter(image[None], values[None], RGB, sigma_xy)

        def plain(image: Tensor = image, values: Tensor = values) -> Tensor:
            return plain_filter(image, values, RGB, sigma_xy)

        for total, times in zip(
            totals, alternate(plain, _on(1, ours), _on(2, ours), rounds=rounds), strict=True
        ):
            total.clock += times.clock
            total.processor += times.processor
    plain_times, one, two = totals
    yield compare(f"{what}, one thread", plain_times, one, f"target {target}")
    yield compare(f"{what}, two threads against one", one, two, "target 1.8×")


def _losses(pictures: Tensor, p: Tensor, rounds: int) -> Iterator[Row]:
    """Value and gradient of both losses, 32 frames in 16 sequences of 2."""
    groups = list(torch.arange(len(pictures)).split(2))
    joined = [(_wide(pictures[g]), _wide(p[g])) for g in groups]
    single = list(zip(pictures, p, strict=True))

    def ours() -> None:
        leaf = p.detach().requires_grad_()
        loss = DenseCRFLoss(2e-9, RGB, XY, 1.0)(pictures, leaf)
        (loss + joint_color_crf(pictures, leaf, groups, RGB).mean()).backward()

    def plain(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:  # ctypes releases the interpreter's lock
            list(pool.map(lambda case: plain_filter(case[0], case[1], RGB, XY), single))
            list(pool.map(lambda case: plain_filter(case[0], case[1], RGB, None), joined))

    one, two, mine = alternate(lambda: plain(1), lambda: plain(2), _on(2, ours), rounds=rounds)
    yield compare("both losses, batch of 32, two threads; plain on one", one, mine, "target 10×")
    yield compare("both losses, batch of 32, two threads; plain on two", two, mine)


def _growth(pictures: Tensor, p: Tensor, rounds: int) -> Iterator[Row]:
    """How cost grows with frames, pixels and channels."""
    many, many_p = torch.cat([pictures, pictures.flip(3)]), torch.cat([p, p.flip(3)])
    for frames in (1, 2, 4, 8, 16, 32, 64):
        a, b, groups = many[:frames], many_p[:frames], [torch.arange(frames)]
        call = partial(joint_color_crf, a, b, groups, RGB)
        yield _alone(f"colour, {frames} joined frames, one thread", call, rounds, frames, "ms a frame")
    for size in (56, 112, 224, 448):
        call = partial(bilateral_filter, images(1, size)[0], maps(1, size), RGB, XY)
        yield _alone(f"dense, {size} x {size}, one thread", call, 3 * rounds, size**2 / 1e6, "ns a pixel")
    for channels in (1, 2, 4, 8, 21):
        call = partial(bilateral_filter, pictures[:1], maps(1, channels=channels), RGB, XY)
        yield _alone(f"dense, {channels} channels, one thread", call, 3 * rounds, channels, "ms a channel")


def _alone(what: str, call: Callable[[], object], rounds: int, units: float, unit: str) -> Row:
    (times,) = alternate(_on(1, call), rounds=rounds)
    return {
        "what": what,
        "ours_ms": statistics.median(times.clock),
        "note": f"best {min(times.processor) / units:.2f} {unit} of processor time",
    }


def run(rounds: int = 15) -> Iterator[Row]:
    """All lines of the table."""
    pictures, source = images(32)
    p = maps(32)
    yield {"what": f"224 x 224, K = 2, sigma_rgb 15, sigma_xy 100, {source}"}
    chosen = range(0, 32, 4)
    yield from _single("dense (d = 5)", [(pictures[i], p[i]) for i in chosen], XY, "6×", rounds)
    pairs = [(_wide(pictures[i : i + 2]), _wide(p[i : i + 2])) for i in chosen]
    yield from _single("colour (d = 3), 2 joined frames", pairs, None, "8×", rounds)
    few = max(2, rounds // 3)
    yield from _losses(pictures, p, few)
    yield from _growth(pictures, p, few)
    yield from _devices(pictures[:8], p[:8], few)


def _devices(pictures: Tensor, p: Tensor, rounds: int) -> Iterator[Row]:
    """The filters for devices, on this CPU: the table and the sorted vertices against C++. [8, ·, H, W] each."""
    for name, call in (
        ("dense", partial(bilateral_filter, pictures, p, RGB, XY)),
        ("colour", partial(color_bilateral_filter, pictures, p, RGB)),
    ):
        by_table, by_sort, by_cpp = alternate(
            _on(1, partial(call, backend="torch", value_range=IMAGE_RANGE)),
            _on(1, partial(call, backend="torch")),
            _on(1, partial(call, backend="cpp")),
            rounds=rounds,
        )
        what = f"{name}, 8 frames, PyTorch on the CPU, one thread"
        yield compare(f"{what}, sorted against table", by_sort, by_table)
        yield compare(f"{what}, table against C++", by_table, by_cpp)
        yield compare(f"{what}, sorted against C++", by_sort, by_cpp)
