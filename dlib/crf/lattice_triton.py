"""Splat, blur and slice of the lattice in a table (lattice_table) as Triton kernels, for CUDA.

A pixel's simplex is kept in registers. It is found once for the splat and again for the slice, which costs less than
to store it. Values are summed as integers of 64 bits in units of a power of two. Sums of integers do not depend on the
order of the atomic additions, so every run gives the same bits. They also do not lose small values in large flat
regions, as float32 sums do (0.05 % for a flat frame of 224², up to 1.5 % for 32 joined ones).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dlib.crf.lattice_plan import Plan

_BITS = 60  # of the largest sum that is possible
_PIXELS, _NUMBERS = 256, 1024  # of an image and of a table, for a program
# Multiplications and additions stay separate: if they are fused, pixels on a border of simplices can touch other
# vertices than in the C++ core.
_OPTIONS: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}


def filter_pass(images: Tensor, values: Tensor, owner: Tensor, count: int, plan: Plan) -> Tensor:
    """The `lattice_table.Pass` by kernels."""
    with torch.cuda.device_of(
        values
    ):  # the device on which Triton starts kernels; nothing for a CPU tensor in its interpreter
        return _run(images, values, owner, count, plan)


def _run(images: Tensor, values: Tensor, owner: Tensor, count: int, plan: Plan) -> Tensor:
    f, channels, height, width = values.shape
    pixels = height * width
    unit, size = _units(values, owner, count)
    numbers = plan.cells * channels  # of a group
    sums = values.new_zeros((count, numbers), dtype=torch.int64)
    touched = values.new_zeros((count, plan.cells), dtype=torch.uint8)
    shape = (owner, pixels, width, plan.cells)
    lattice = (channels, plan.d, plan.spatial, plan.origin, plan.scales, plan.steps, _PIXELS)
    grid = (triton.cdiv(pixels, _PIXELS), f)
    _splat[grid](images, values, size, sums, touched, *shape, *lattice, **_OPTIONS)
    tables = values.new_zeros((2, count, numbers))
    source, factor = sums, unit
    cells = (triton.cdiv(numbers, _NUMBERS), count)
    for axis, step in enumerate(map(abs, plan.steps)):
        target = tables[axis % 2]
        _blur[cells](
            source, target, touched, factor, numbers, step * channels, channels, _NUMBERS, **_OPTIONS
        )
        source, factor = target, torch.ones_like(unit) if axis == 0 else factor
    out = torch.empty_like(values)
    _slice[grid](images, source, out, 1 / (1 + 2.0**-plan.d), *shape, *lattice, **_OPTIONS)
    return out


def _units(values: Tensor, owner: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The unit of a group's integers, NaN where its values are not finite, and what makes values integers: [G] each."""
    height, width = values.shape[2:]
    largest = values.abs().flatten(1).amax(1)  # [F]
    mine = owner[None] == torch.arange(count, device=owner.device)[:, None]  # [G, F]
    bound = largest.expand_as(mine).masked_fill(~mine, 0.0).amax(1)  # [G]
    members = mine.sum(1)
    exponent = (_BITS - bound.log2() - (members * (height * width)).log2()).floor().clamp(-120, 120)
    # The factors stay within float32, for which maps that are below 1e-20 everywhere lose digits.
    odd = ~bound.isfinite()
    return (-exponent).exp2().masked_fill_(odd, torch.nan), exponent.exp2().masked_fill_(odd, 0.0)


@triton.jit
def _simplex(
    images,
    frame,
    pixel,
    inside,
    pixels,
    width,
    D: tl.constexpr,
    SPATIAL: tl.constexpr,
    ORIGIN: tl.constexpr,
    SCALES: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Places of the corners of the pixels' simplices and the barycentric weights, by remainder (lattice_table)."""
    FIRST: tl.constexpr = 2 if SPATIAL else 0
    plane = images + frame.to(tl.int64) * (D - FIRST) * pixels + pixel
    tail = tl.full(pixel.shape, 0.0, tl.float32)
    elevated = ()
    for k in tl.static_range(D):  # features from the last to the first
        if D - 1 - k >= FIRST:
            feature = tl.load(plane + (D - 1 - k - FIRST) * pixels, mask=inside, other=0.0)
        elif k == D - 2:
            feature = (pixel // width).to(tl.float32)
        else:
            feature = (pixel % width).to(tl.float32)
        scaled = feature * SCALES[D - 1 - k]
        elevated = (tail - scaled * (D - k),) + elevated
        tail += scaled
    elevated = (tail,) + elevated
    base = ()
    position = ()
    excess = tl.full(pixel.shape, 0, tl.int32)
    for i in tl.static_range(D + 1):
        nearest = tl.ceil(elevated[i] * (1 / (D + 1)) - 0.5)
        base += (nearest.to(tl.int32),)
        position += (elevated[i] - nearest * (D + 1),)
        excess += nearest.to(tl.int32)
    place = tl.full(pixel.shape, ORIGIN, tl.int32)
    rank = ()
    moved = ()
    for i in tl.static_range(D + 1):
        mine = excess + i
        for j in tl.static_range(D + 1):
            if j > i:
                mine += (position[i] < position[j]).to(tl.int32)
            elif j < i:
                mine -= (position[j] < position[i]).to(tl.int32)
        move = (mine < 0).to(tl.int32) - (mine > D).to(tl.int32)
        rank += (mine + move * (D + 1),)
        moved += (position[i] - move.to(tl.float32) * (D + 1),)
        place += (base[i] + move) * STEPS[i]
    by_rank = ()  # position and step of the coordinate of each rank
    steps = ()
    for r in tl.static_range(D + 1):
        at = tl.full(pixel.shape, 0.0, tl.float32)
        step = tl.full(pixel.shape, 0, tl.int32)
        for i in tl.static_range(D + 1):
            at = tl.where(rank[i] == r, moved[i], at)
            step = tl.where(rank[i] == r, STEPS[i], step)
        by_rank += (at,)
        steps += (step,)
    places = (place,)
    weights = ((by_rank[D] - by_rank[0]) * (1 / (D + 1)) + 1.0,)
    for r in tl.static_range(1, D + 1):
        place -= steps[D + 1 - r]
        places += (place,)
        weights += ((by_rank[D - r] - by_rank[D + 1 - r]) * (1 / (D + 1)),)
    return places, weights


@triton.jit
def _splat(
    images,
    values,
    size,
    sums,
    touched,
    owner,
    pixels,
    width,
    cells,
    K: tl.constexpr,
    D: tl.constexpr,
    SPATIAL: tl.constexpr,
    ORIGIN: tl.constexpr,
    SCALES: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adds the values [F, K, pixels] of BLOCK pixels of an image, as integers, to sums [G, cells, K]; marks touched."""
    frame = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    places, weights = _simplex(images, frame, pixel, inside, pixels, width, D, SPATIAL, ORIGIN, SCALES, STEPS)
    group = tl.load(owner + frame)
    table = sums + group * cells * K
    marks = touched + group * cells
    for r in tl.static_range(D + 1):
        tl.store(marks + places[r], tl.full(pixel.shape, 1, tl.uint8), mask=inside)
    factor = tl.load(size + group)
    given = values + frame.to(tl.int64) * K * pixels + pixel
    for k in range(K):
        value = tl.load(given + k * pixels, mask=inside, other=0.0)
        value = tl.where(tl.abs(value) < float("inf"), value, 0.0)
        for r in tl.static_range(D + 1):
            # A power of two times a float is exact; what the integer cuts off is below 2^-39 of the largest value.
            amount = (weights[r] * value * factor).to(tl.int64)
            tl.atomic_add(table + places[r] * K + k, amount, mask=inside, sem="relaxed")


@triton.jit
def _blur(source, target, touched, factor, numbers, shift, K: tl.constexpr, BLOCK: tl.constexpr):
    """½, 1, ½ of BLOCK numbers of a group's table [cells, K], times the group's factor, where touched."""
    group = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    marks = touched + group * (numbers // K)
    live = tl.load(marks + at // K, mask=at < numbers, other=0) > 0
    table = source + group * numbers + at
    here = tl.load(table, mask=live, other=0).to(tl.float32)
    before = tl.load(table - shift, mask=live & (at >= shift), other=0).to(tl.float32)
    after = tl.load(table + shift, mask=live & (at < numbers - shift), other=0).to(tl.float32)
    tl.store(
        target + group * numbers + at, (here + 0.5 * (before + after)) * tl.load(factor + group), mask=live
    )


@triton.jit
def _slice(
    images,
    lattice,
    out,
    scale,
    owner,
    pixels,
    width,
    cells,
    K: tl.constexpr,
    D: tl.constexpr,
    SPATIAL: tl.constexpr,
    ORIGIN: tl.constexpr,
    SCALES: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out [F, K, pixels] = scale times the weighted corners in lattice [G, cells, K], for BLOCK pixels of an image."""
    frame = tl.program_id(1)
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    places, weights = _simplex(images, frame, pixel, inside, pixels, width, D, SPATIAL, ORIGIN, SCALES, STEPS)
    table = lattice + tl.load(owner + frame) * cells * K
    given = out + frame.to(tl.int64) * K * pixels + pixel
    for k in range(K):
        total = tl.full(pixel.shape, 0.0, tl.float32)
        for r in tl.static_range(D + 1):
            total += weights[r] * tl.load(table + places[r] * K + k, mask=inside, other=0.0)
        tl.store(given + k * pixels, total * scale, mask=inside)
