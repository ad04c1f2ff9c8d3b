"""The permutohedral lattice in a table with a cell for every possible vertex, in plain PyTorch for any device.

If the range of the planes is known before a pixel is read, nothing is sorted or searched, and no shape depends on
data. So the host never waits for the device. On CUDA, Triton kernels (lattice_triton) do the same.

The definition of the filter has vertices only where a pixel touches them: the blur goes from touched vertex to touched
vertex. The table therefore marks the touched cells and keeps the others at zero.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from dlib.crf.lattice_plan import Plan, plan_table
from dlib.crf.lattice_torch import feature_columns
from dlib.utils.graphs import Graphed

_MOST_NUMBERS = 2**24  # cells times channels of one group's table
_MOST_ON_CPU = 2**20  # the same if there is no wait to save and it costs less to sort a small image
_NUMBERS_AT_ONCE = 2**24  # of the tables of one pass, unless a single one is larger
_PIXELS_AT_ONCE = 2**21  # of one pass, unless a single group has more
_PIXELS_OF_A_PIECE = 2**18  # whose simplices plain PyTorch finds together


class Pass(Protocol):
    """Splat, blur and slice of some groups of images, all in the tables' range.

    Args:
        images: [F, P, H, W]; values: [F, K, H, W]; owner: int64 [F], group 0..count-1 of each.
    Returns: [F, K, H, W].
    """

    def __call__(self, images: Tensor, values: Tensor, owner: Tensor, count: int, plan: Plan) -> Tensor: ...


def plan_filter(
    images: Tensor, values: Tensor, sigma_rgb: float, sigma_xy: float | None, value_range: tuple[float, float]
) -> Plan | None:
    """The table's plan for images [N, P, H, W] and values [N, K, H, W]; None if it would be too large."""
    _, planes, height, width = images.shape
    most = (_MOST_ON_CPU if values.device.type == "cpu" else _MOST_NUMBERS) // values.shape[1]
    return plan_table(planes, height, width, sigma_rgb, sigma_xy, value_range, most)


def filter_table(
    images: Tensor, values: Tensor, groups: Sequence[Sequence[int]] | None, plan: Plan
) -> Tensor:
    """Bilateral filter of images or, for the colour filter, of the united pixels of groups of images.

    Args:
        images: [N, P, H, W] float32; values: [N, K, H, W] float32, same device.
        groups: disjoint lists of image indices, none empty; None: each image alone.
        plan: from `plan_filter`.
    Returns: [N, K, H, W] float32; zero for images in no group. A group with a plane value that is NaN or outside the
        plan's range becomes NaN; a value that is not finite gives NaN or infinity at its own pixel at least.
    """
    run = _pass_of(values.device)
    members = [[i] for i in range(images.shape[0])] if groups is None else groups
    out = torch.empty_like(values) if groups is None else torch.zeros_like(values)
    for part in _parts(members, plan.cells * values.shape[1], math.prod(images.shape[2:])):
        frames = [i for group in part for i in group]
        options = {"run": run, "count": len(part), "plan": plan}
        if groups is None:
            here = slice(frames[0], frames[-1] + 1)
            owner = torch.arange(len(part), device=values.device)
            (out[here],) = _graphed_pass(images[here], values[here], owner, **options)
        else:
            # Copies to the device that do not wait for it.
            index, owner = (
                torch.tensor(numbers, dtype=torch.int64).to(values.device, non_blocking=True)
                for numbers in (frames, [g for g, group in enumerate(part) for _ in group])
            )
            (found,) = _graphed_pass(images[index], values[index], owner, **options)
            out.index_copy_(0, index, found)
    return out


def _parts(members: Sequence[Sequence[int]], numbers: int, pixels: int) -> Iterator[list[Sequence[int]]]:
    """Consecutive groups that make one pass, by the numbers in a table and the pixels of an image."""
    part: list[Sequence[int]] = []
    for group in members:
        frames = sum(map(len, part)) + len(group)
        if part and ((len(part) + 1) * numbers > _NUMBERS_AT_ONCE or frames * pixels > _PIXELS_AT_ONCE):
            yield part
            part = []
        part.append(group)
    if part:
        yield part


def _guarded(
    images: Tensor, values: Tensor, owner: Tensor, *, run: Pass, count: int, plan: Plan
) -> tuple[Tensor]:
    """The pass on images clipped to the table's range; NaN for groups that had values outside of it."""
    least, most = images.flatten(1).aminmax(dim=1)  # [F], NaN where one is
    outside = ~((least >= plan.low) & (most <= plan.high))
    spoilt = torch.zeros(count, device=images.device).index_add_(0, owner, outside.float()) > 0  # [G]
    images = images.nan_to_num(nan=plan.low).clamp(plan.low, plan.high)
    out = run(images, values, owner, count, plan)
    return (out.masked_fill_(spoilt[owner, None, None, None], math.nan),)


_graphed_pass = Graphed(_guarded)


def _pass_of(device: torch.device) -> Pass:
    if device.type == "cuda" and triton_works(device):
        from dlib.crf import lattice_triton

        return lattice_triton.filter_pass
    return filter_pass


@lru_cache
def triton_works(device: torch.device) -> bool:
    """Whether Triton compiles and runs a filter of one pixel on the device; if not, a warning says why."""
    plan = plan_table(1, 1, 1, 1.0, None, (0.0, 1.0), _MOST_NUMBERS)
    assert plan is not None
    pixel, owner = torch.ones(1, 1, 1, 1, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    try:
        from dlib.crf import lattice_triton

        lattice_triton.filter_pass(pixel, pixel, owner, 1, plan)
    except (
        Exception
    ) as error:  # a missing package, compiler or feature of the card, each with errors of its own
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        warnings.warn(
            f"Triton does not work here: the CRF filters use plain PyTorch, which is slower ({reason})",
            stacklevel=2,
        )
        return False
    return True


def filter_pass(images: Tensor, values: Tensor, owner: Tensor, count: int, plan: Plan) -> Tensor:
    """The `Pass` in plain PyTorch."""
    f, channels, height, width = values.shape
    pixels, size = height * width, count * plan.cells
    exact = torch.float32 if values.device.type == "mps" else torch.float64
    sums = values.new_zeros((channels, size), dtype=exact)
    touched = values.new_zeros(size)
    stored: list[tuple[slice, Tensor, Tensor]] = []
    piece = max(1, _PIXELS_OF_A_PIECE // pixels)
    for first in range(0, f, piece):
        here = slice(first, first + piece)
        places, weights = _embed(images[here], plan)  # [d + 1, M] each
        places += (owner[here] * plan.cells).repeat_interleave(pixels)
        stored.append((here, places, weights))
        touched.index_fill_(0, places.flatten(), 1)
        for k in range(channels):
            parts = weights * values[here, k].flatten()  # [d + 1, M]
            sums[k].scatter_add_(0, places.flatten(), parts.flatten().to(exact))
    lattice = _blur(sums.float().view(channels, count, -1), touched.view(count, -1), plan).flatten(1)
    del sums
    out = torch.empty_like(values)
    for here, places, weights in stored:
        for k in range(channels):
            corners = lattice[k].index_select(0, places.flatten()).view_as(weights)  # [d + 1, M]
            out[here, k] = (weights * corners).sum(0).view(-1, height, width)
    return out


def _blur(lattice: Tensor, touched: Tensor, plan: Plan) -> Tensor:
    """½, 1, ½ along every axis in turn and the final scale: lattice [K, G, cells], overwritten, touched [G, cells]."""
    for step in map(abs, plan.steps):
        after, before = lattice[..., step:], lattice[..., :-step]
        blurred = lattice.clone()
        blurred[..., step:].add_(before, alpha=0.5)
        blurred[..., :-step].add_(after, alpha=0.5)
        lattice = blurred.mul_(touched)
    return lattice.div_(1 + 2.0**-plan.d)


def _embed(images: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Enclosing simplices (Adams et al. 2010, section 3.1) of images [F, P, H, W] with M pixels.

    Returns: places of the corners int64 [d + 1, M] and barycentric weights [d + 1, M], by remainder.
    """
    d = plan.d
    position, base = _elevate(feature_columns(images, plan.spatial), plan)
    excess = torch.stack(base).sum(0).to(torch.int8)
    rank = [excess + i for i in range(d + 1)]  # as if the coordinates before it were larger
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            less = (position[i] < position[j]).to(torch.int8)
            rank[i] += less
            rank[j] -= less
    place = torch.full_like(excess, plan.origin, dtype=torch.int64)
    for i in range(d + 1):
        move = (rank[i] < 0).to(torch.int8) - (rank[i] > d).to(torch.int8)
        rank[i] += move * (d + 1)
        position[i] = position[i] - move * float(d + 1)
        place += (base[i] + move).long() * plan.steps[i]
    steps = torch.empty((d + 1, len(place)), dtype=torch.int64, device=place.device)  # by rank
    for i in range(d + 1):
        steps.scatter_(0, rank[i].long()[None], plan.steps[i])
    # The corner of remainder r lies d + 1 lower than that of remainder 0 in the r coordinates of highest rank, and r
    # higher in all, which moves no place.
    places = torch.cat([place[None], -steps[1:].flip(0)]).cumsum(0)
    for last in range(d, 0, -1):
        for i in range(last):
            a, b = position[i], position[i + 1]
            position[i], position[i + 1] = torch.maximum(a, b), torch.minimum(a, b)
    gaps = [position[i - 1] - position[i] for i in range(d, 0, -1)]  # of remainders 1..d
    weights = torch.stack([position[d] - position[0], *gaps]).mul_(1 / (d + 1))
    weights[0] += 1
    return places, weights


def _elevate(columns: list[Tensor], plan: Plan) -> tuple[list[Tensor], list[Tensor]]:
    """Positions [M] in the lattice's d + 1 coordinates relative to the nearest point (d + 1) · base, and base [M]."""
    d = plan.d
    tail = torch.zeros_like(columns[0])
    position = [tail] * (d + 1)
    for i in range(d, 0, -1):
        scaled = columns[i - 1] * plan.scales[i - 1]
        position[i] = tail - scaled * i
        tail = tail + scaled
    position[0] = tail
    base = [torch.ceil(e * (1 / (d + 1)) - 0.5) for e in position]  # a tie goes down
    return [e - q * (d + 1) for e, q in zip(position, base, strict=True)], base
