"""The permutohedral lattice (Adams, Baek & Davis 2010) in plain PyTorch, for any device and planes of any range.

The vertices are found by sorting, for which the host waits; lattice_table needs no sorting if the range is known. The
results are those of the C++ core (crfwrapper/core) to float32 accuracy. All images or groups of a call share one
vertex table, in which the group is one more digit of the integer key; the only loops run over dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dlib.crf.lattice_plan import feature_scales

_HASH = (0x9E3779B97F4A7C15, 0xD1342543DE82EF95)  # odd starting value and factor of the hash multipliers


def filter_groups(
    images: Tensor,
    values: Tensor,
    groups: Sequence[Sequence[int]] | None,
    sigma_rgb: float,
    sigma_xy: float | None,
) -> Tensor:
    """Bilateral filter of images or, for the colour filter, of the united pixels of groups of images.

    Args:
        images: [N, P, H, W] float32; values: [N, K, H, W] float32, same device.
        groups: disjoint lists of image indices; None: each image alone.
        sigma_rgb, sigma_xy: > 0; None: features without position.
    Returns: [N, K, H, W] float32; zero for images in no group.
    Raises ValueError if sigma is too small for the images' range or the images hold NaN or infinity.
    """
    n, _, height, width = images.shape
    owner = torch.arange(n) if groups is None else torch.full((n,), -1)
    for s, group in enumerate(groups or []):
        owner[list(group)] = s
    chosen = (owner >= 0).nonzero().squeeze(1)
    out = torch.zeros_like(values)
    if chosen.numel() == 0:
        return out
    count = int(owner.max()) + 1
    # Copies to the device that do not wait for it.
    chosen, owner = (t.to(values.device, non_blocking=True) for t in (chosen, owner[chosen]))
    images, values = images[chosen], values[chosen]
    scales = feature_scales(images.shape[1], sigma_rgb, sigma_xy)
    columns = feature_columns(images, spatial=sigma_xy is not None)
    features = torch.stack([column * scale for column, scale in zip(columns, scales, strict=True)], dim=1)
    pixels = values.flatten(2).transpose(1, 2).reshape(-1, values.shape[1])  # [M, K]
    result = _lattice_filter(features, pixels, owner.repeat_interleave(height * width), count)
    result = result.reshape(-1, height * width, values.shape[1]).transpose(1, 2).reshape(values.shape)
    return out.index_copy(0, chosen, result)


def feature_columns(images: Tensor, spatial: bool) -> list[Tensor]:
    """The features of every pixel of images [N, P, H, W], [N*H*W] each: x, y (if spatial), planes."""
    n, planes, height, width = images.shape
    columns = list(images.transpose(0, 1).reshape(planes, -1))
    if spatial:
        x, y = (torch.arange(size, device=images.device, dtype=images.dtype) for size in (width, height))
        columns = [x.repeat(n * height), y.repeat_interleave(width).repeat(n), *columns]
    return columns


def _lattice_filter(features: Tensor, values: Tensor, group: Tensor, groups: int) -> Tensor:
    """Splat, blur, slice: features [M, d], values [M, K], group [M] in 0..groups-1 -> [M, K]."""
    d = features.shape[1]
    base, rank, weights = _embed(features)  # [M, d+1] each
    factors, group_factor = _key_factors(features, groups)
    key = (base[:, :d] * factors).sum(1) + group * group_factor  # [M] of remainder 0
    # factor of the coordinate of each rank; coordinate d is implied by the others and has none
    of_rank = torch.zeros_like(base).scatter_(
        1, rank, torch.cat([factors, factors.new_zeros(1)]).expand_as(rank)
    )
    total = factors.sum()
    steps = total - (d + 1) * of_rank.flip(1)  # [M, d+1] from remainder r to r + 1
    corners = torch.cat([key[:, None], key[:, None] + steps[:, :d].cumsum(1)], dim=1)  # [M, d+1]
    vertices, corner = torch.unique(corners, return_inverse=True)  # [V] sorted, [M, d+1]
    count = vertices.numel()
    exact = torch.float32 if values.device.type == "mps" else torch.float64
    sums = values.new_zeros((count + 1, values.shape[1]), dtype=exact)  # the last row: no such vertex
    for r in range(d + 1):
        sums.index_add_(0, corner[:, r], (weights[:, r : r + 1] * values).to(exact))
    lattice = sums.float()
    for axis in range(d + 1):
        step = -total if axis == d else (d + 1) * factors[axis] - total
        near = _look_up(vertices, vertices + step), _look_up(vertices, vertices - step)
        lattice[:count] += 0.5 * (lattice[near[0]] + lattice[near[1]])
    lattice /= 1 + 2.0**-d
    out = weights[:, :1] * lattice[corner[:, 0]]
    for r in range(1, d + 1):
        out += weights[:, r : r + 1] * lattice[corner[:, r]]
    return out


def _embed(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Enclosing simplices (Adams et al. 2010, section 3.1).

    Returns: remainder-0 point int64 [M, d+1], rank of each coordinate int64 [M, d+1], barycentric weights
    [M, d+1] by remainder.
    """
    d = features.shape[1]
    tail = torch.zeros_like(features[:, 0])
    elevated = [tail] * (d + 1)
    for i in range(d, 0, -1):
        elevated[i] = tail - features[:, i - 1] * i
        tail = tail + features[:, i - 1]
    elevated[0] = tail
    position = torch.stack(elevated, dim=1)  # [M, d+1]
    base = torch.ceil(position / (d + 1) - 0.5)  # a tie goes down
    position = position - base * (d + 1)
    rank = torch.zeros_like(base)
    for i in range(d + 1):  # of equal coordinates the later one gets the larger rank
        rank[:, i] += (position[:, i, None] < position[:, i + 1 :]).sum(1)
        rank[:, i + 1 :] += position[:, i, None] >= position[:, i + 1 :]
    rank += base.sum(1, keepdim=True)
    move = (rank < 0).to(base.dtype) - (rank > d).to(base.dtype)
    rank, base, position = rank + move * (d + 1), base + move, position - move * (d + 1)
    ordered = position.sort(dim=1, descending=True).values
    inner = (ordered[:, :-1] - ordered[:, 1:]).flip(1) / (d + 1)  # remainders 1..d
    outer = 1 + (ordered[:, -1:] - ordered[:, :1]) / (d + 1)  # remainder 0
    return base.long() * (d + 1), rank.long(), torch.cat([outer, inner], dim=1)


def _key_factors(features: Tensor, groups: int) -> tuple[Tensor, int]:
    """Multipliers int64 [d] and of the group, that make a point and its group one int64.

    Mixed radix, thus exact, when the range fits; else odd hash factors modulo 2^64, which give two different
    points one key with negligible chance.
    """
    d = features.shape[1]
    largest = features.abs().amax(0).tolist()  # the only wait for the device besides that of unique
    radix = []
    tail = 0.0
    for i in range(d, -1, -1):
        below = largest[i - 1] if i > 0 else 0.0
        bound = tail + i * below
        if not bound < 1e6:
            raise ValueError("images hold NaN or infinity, or sigma is too small for their range")
        radix.append(2 * (math.ceil(bound) + 4 * (d + 1)) + 1)
        tail += below
    factors = [math.prod(radix[:0:-1][:i]) for i in range(d + 1)]  # of coordinates 0..d-1, then of the group
    if factors[d] * groups >= 2**62:
        start, step = _HASH
        factors = [(start * pow(step, i + 1, 2**64)) % 2**64 for i in range(d + 1)]
        factors = [factor - 2**64 if factor >= 2**63 else factor for factor in factors]
    found = torch.tensor(factors[:d], dtype=torch.int64)
    return found.to(features.device, non_blocking=True), factors[d]


def _look_up(table: Tensor, keys: Tensor) -> Tensor:
    """Places of keys in a sorted table; the table's size for a key that is not in it."""
    place = torch.searchsorted(table, keys).clamp_(max=table.numel() - 1)
    return torch.where(table[place] == keys, place, table.numel())
