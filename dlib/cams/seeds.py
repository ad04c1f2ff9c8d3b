"""Pseudo-labels: a few foreground and background pixels drawn from a CAM."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from dlib.cams.morphology import cache_blocks, count, dilate
from dlib.cams.noise import combine, hash_uniform
from dlib.configure.constants import SEED_IGNORE
from dlib.configure.literals import SeedTechnique
from dlib.utils.device import host_waits

_FOREGROUND_STREAM, _BACKGROUND_STREAM, _RACE_STREAM = 1, 2, 3


def sample_seeds(
    cams: Tensor,
    roi: Tensor | None = None,
    *,
    max_n: int,
    min_n: int,
    max_p: float,
    min_p: float,
    ksz: int = 3,
    technique: SeedTechnique = "seed_uniform",
    ignore_index: int = SEED_IGNORE,
    keys: Tensor,
    fixed_shapes: bool | None = None,
) -> Tensor:
    """Target maps: 1 foreground, 0 background, ``ignore_index`` elsewhere.

    Foreground candidates are the floor(max_p·|ROI|) highest pixels of the CAM inside the region of interest (the
    full map if ``roi`` is None). Background candidates are the floor(min_p·H·W) lowest pixels of the full map. Of
    equal pixels at the limit the first ones, row by row, are candidates. From n candidates min(max_n, n) foreground
    and min(min_n, n) background pixels are drawn without replacement. Every drawn pixel grows to a square of side
    ``ksz`` (morphology.dilate says how an even one is placed). A pixel in squares of both kinds gets neither label.
    A constant CAM, and a CAM with NaN, gives no seeds.

    Args:
        cams: float [B, H, W], any device.
        roi: bool [B, H, W] or None.
        technique: ``seed_uniform``, or ``seed_weighted``: foreground in proportion to C + 1e-8 (then C >= 0).
            Background is always drawn uniformly.
        keys: int64 [B], one random key per image: its seeds depend only on its key and its map.
        fixed_shapes: compute without a shape or a branch that depends on data, so that the host does not wait for the
            device; None: where it would wait. The other way is several times faster on a CPU; the seeds are the same.
    Returns: int64 [B, H, W].
    Raises ValueError for shapes, shares, counts or names that make no sense.
    """
    _check(cams, roi, max_n, min_n, max_p, min_p, ksz, technique)
    if keys.shape != cams.shape[:1]:
        raise ValueError(f"{len(cams)} CAMs need as many keys, got {list(keys.shape)}")
    keys = keys.to(cams.device)
    if fixed_shapes is None:
        fixed_shapes = host_waits(cams.device)
    target = torch.full(cams.shape, ignore_index, dtype=torch.int64, device=cams.device)
    for block in cache_blocks(cams):
        regions = None if roi is None else roi[block].flatten(1)
        claims = _draw_both(
            cams[block], regions, (max_n, min_n), (max_p, min_p), technique, keys[block], fixed_shapes
        )
        foreground, background = dilate(claims, ksz)  # bool [b, H, W] each
        target[block].masked_fill_(foreground & ~background, 1).masked_fill_(background & ~foreground, 0)
    return target


def _draw_both(
    cams: Tensor,
    inside: Tensor | None,
    sizes: tuple[int, int],
    shares: tuple[float, float],
    technique: str,
    keys: Tensor,
    fixed: bool,
) -> Tensor:
    """Foreground and background points: cams [B, H, W], inside bool [B, H·W] -> bool [2, B, H, W]."""
    values = cams.detach().float().flatten(1)  # [B, P], P = H·W
    pixels = values.shape[1]
    alive = values.amax(dim=1) > values.amin(dim=1)  # [B]; a comparison with NaN is False
    areas = torch.full_like(keys, pixels) if inside is None else count(inside)  # [B]
    highest = torch.floor(areas.double() * shares[0]).long() * alive  # [B]
    lowest = torch.full_like(highest, int(pixels * shares[1])) * alive
    weights = values if technique == "seed_weighted" else None
    masked = values if inside is None else torch.where(inside, values, -torch.inf)
    foreground = _draw(masked, highest, sizes[0], combine(keys, _FOREGROUND_STREAM), weights, fixed)
    background = _draw(-values, lowest, sizes[1], combine(keys, _BACKGROUND_STREAM), None, fixed)
    return torch.stack((foreground, background)).view(2, *cams.shape)


def _draw(
    values: Tensor, counts: Tensor, size: int, keys: Tensor, weights: Tensor | None, fixed: bool
) -> Tensor:
    """Draw min(size, counts[b]) of the counts[b] highest pixels of every row without replacement.

    Pixels are drawn one after the other in proportion to the weights, without repetitions, until there are enough.
    First come 2·size draws with replacement, whose cost does not grow with the number of candidates. If there are
    too few different pixels among them, a race over the remaining candidates gives the rest. Both have the same
    distribution.

    Args: values [B, P]; counts int64 [B]; keys int64 [B]; weights [B, P] or None for uniform; fixed: fixed shapes.
    Returns: bool [B, P].
    """
    size = min(size, values.shape[1])
    if size == 0 or not (fixed or bool(counts.any())):
        return torch.zeros_like(values, dtype=torch.bool)
    candidates = _sorted_candidates(values, counts) if fixed else _counted_candidates(values, counts)
    if weights is None:
        mass = candidates.cumsum(1, dtype=torch.int32)  # [B, P]
    else:
        mass = ((weights.double() + 1e-8) * candidates).cumsum(1)
    draws = hash_uniform(keys, 2 * size)  # [B, n], n = 2·size
    aims = (draws * mass[:, -1:]).to(mass.dtype)
    pixels = torch.searchsorted(mass, aims, right=True).clamp_(max=values.shape[1] - 1)  # [B, n]
    order = torch.arange(2 * size, dtype=torch.int32, device=values.device).expand_as(pixels)
    first = torch.full_like(values, 2 * size, dtype=torch.int32).scatter_reduce_(1, pixels, order, "amin")
    fresh = (first.gather(1, pixels) == order) & candidates.gather(1, pixels)
    taken = fresh & (fresh.cumsum(1) <= size)
    # Draws that are not used go to a spare column.
    drawn = torch.zeros((len(values), values.shape[1] + 1), dtype=torch.bool, device=values.device)
    drawn = drawn.scatter_(1, torch.where(taken, pixels, values.shape[1]), True)[:, :-1]
    drawn = torch.where(counts.unsqueeze(1) <= size, candidates, drawn)
    lacking = counts.clamp(max=size) - count(drawn)  # [B]
    if fixed:
        return drawn | _race(candidates & ~drawn, lacking, keys, weights, size)
    short = lacking.nonzero().squeeze(1)
    if len(short):
        rest, more = candidates[short] & ~drawn[short], lacking[short]
        weighted = None if weights is None else weights[short]
        drawn[short] |= _race(rest, more, keys[short], weighted, int(more.max()))
    return drawn


def _race(candidates: Tensor, counts: Tensor, keys: Tensor, weights: Tensor | None, most: int) -> Tensor:
    """Draw counts[b] <= most candidates of every row: the smallest of independent exponential times -log(u)/w
    (Efraimidis & Spirakis 2006). bool [B, P], int64 [B], int64 [B], [B, P] or None -> bool [B, P].
    """
    times = -hash_uniform(combine(keys, _RACE_STREAM), candidates.shape[1]).log()  # [B, P]
    if weights is not None:
        times /= weights.double() + 1e-8
    fastest = times.masked_fill_(~candidates, torch.inf).topk(most, dim=1, largest=False).indices
    wanted = torch.arange(most, device=counts.device) < counts.unsqueeze(1)
    return torch.zeros_like(candidates).scatter_(1, fastest, wanted)


def _sorted_candidates(values: Tensor, counts: Tensor) -> Tensor:
    """The counts[b] highest pixels of every row, of equal ones the first: [B, P], int64 [B] -> bool [B, P].

    One sort of all rows together: a device sorts a long row faster than many short ones.
    """
    rows, pixels = values.shape
    row = torch.arange(rows, device=values.device).unsqueeze(1)  # [B, 1]
    keys = (row << 32) - _ordered(values)  # rows in order, the highest pixel of a row first
    order = keys.flatten().sort(stable=True).indices.view(rows, pixels)
    chosen = torch.arange(pixels, device=values.device) < counts.unsqueeze(1)  # [B, P], by rank
    return torch.empty_like(chosen).view(-1).scatter_(0, order.flatten(), chosen.flatten()).view(rows, pixels)


def _counted_candidates(values: Tensor, counts: Tensor) -> Tensor:
    """The same as ``_sorted_candidates``, from counts of digits."""
    ranks = _ordered(values)
    limit, wanted, equals = _kth_highest(ranks, counts)
    equal = ranks == limit.unsqueeze(1)
    if bool((equals > wanted).any()):
        equal &= equal.cumsum(1, dtype=torch.int32) <= wanted.unsqueeze(1)
    return equal | (ranks > limit.unsqueeze(1))


def _ordered(values: Tensor) -> Tensor:
    """float32 -> int32 in the same order (-0 as 0)."""
    bits = (values + 0.0).view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _kth_highest(ranks: Tensor, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The counts[b]-th highest of every row, found digit by digit from histograms of all rows together.

    Args: ranks int32 [B, P]; counts int64 [B] <= P.
    Returns, [B] each: the value (for a count of 0 the highest int32), how many of the pixels that have it belong to
    the counts[b] highest, and how many have it.
    """
    batch = len(ranks)
    rows = torch.arange(batch, device=ranks.device).unsqueeze(1)  # [B, 1], later [n] like the rest
    rest, wanted = ranks, counts
    limit = torch.zeros_like(counts)
    equals = limit
    for shift, bits in ((21, 11), (10, 11), (0, 10)):
        size = 1 << bits
        # The first digit is signed.
        digits = (rest >> shift) + size // 2 if shift == 21 else (rest >> shift) & (size - 1)
        histogram = torch.bincount((rows * size + digits).view(-1), minlength=batch * size).view(batch, size)
        from_top = histogram.flip(1).cumsum(1)  # [B, size]
        place = (from_top < wanted.unsqueeze(1)).sum(dim=1, keepdim=True)
        equals = histogram.flip(1).gather(1, place).squeeze(1)
        wanted = wanted - (from_top.gather(1, place).squeeze(1) - equals)
        digit = size - 1 - place.squeeze(1)  # [B]
        limit += (digit - size // 2 if shift == 21 else digit) << shift
        if shift:
            here = (digits == digit.to(digits.dtype)[rows]).view(-1).nonzero().squeeze(1)
            rows = here // ranks.shape[1] if rows.dim() == 2 else rows[here]
            rest = rest.view(-1)[here]
    return limit.to(torch.int32), wanted, equals


def _check(
    cams: Tensor,
    roi: Tensor | None,
    max_n: int,
    min_n: int,
    max_p: float,
    min_p: float,
    ksz: int,
    technique: str,
) -> None:
    if cams.dim() != 3 or (roi is not None and (roi.shape != cams.shape or roi.dtype != torch.bool)):
        raise ValueError("CAMs [B, H, W] and a bool region of the same shape expected")
    if technique not in get_args(SeedTechnique):
        raise ValueError(f"unknown seed technique {technique!r}: one of {', '.join(get_args(SeedTechnique))}")
    if not (0 <= max_p <= 1 and 0 <= min_p <= 1):
        raise ValueError(f"shares max_p {max_p} and min_p {min_p}: between 0 and 1 expected")
    if max_n < 0 or min_n < 0 or ksz < 1:
        raise ValueError(f"counts max_n {max_n}, min_n {min_n} >= 0 and ksz {ksz} >= 1 expected")
