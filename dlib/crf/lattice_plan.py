"""The places of a permutohedral lattice's vertices in a table, known before a pixel is read.

Notation, for d features f_0 … f_(d-1): a vertex has integer coordinates c_0 … c_d of sum 0, all congruent modulo
d + 1. The place of a vertex in the table is linear in them, place = origin + Σ_i steps[i] · c_i / (d + 1) with
Σ_i steps[i] = 0, so that the neighbour along axis i lies steps[i] further, for every vertex.

Which steps give different vertices different places? M_i = (c_0 + … + c_i - (i + 1) · c_(i+1)) / (d + 1) is an
integer, depends only on feature i, and M_0 … M_(d-1) identify a vertex. With g_i = M_i / (i + 1) the place is
Σ_i weight_i · g_i, and g_i is an integer where g_0 … g_(i-1) are 0. So two vertices have different places if each
weight is larger than the largest sum of the later features, as with the digits of a number. The features' ranges limit
that sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

_MOST_ELEVATED = 1e6  # beyond, float32 does not resolve a position inside its simplex
_SLACK = 0.01  # of g_i, for the rounding of positions in float32


@dataclass(frozen=True)
class Plan:
    """A table for the vertices that features of known range can touch.

    Attributes:
        scales: [d] of a raw feature (x, y, plane values) to elevated units.
        steps: [d + 1] from a vertex to its neighbour along an axis; also what a unit of c_i / (d + 1) adds.
        origin: place of the vertex 0.
        cells: size of the table.
        spatial: whether the first two features are x and y.
        low, high: range of plane values that the table is made for.
    """

    scales: tuple[float, ...]
    steps: tuple[int, ...]
    origin: int
    cells: int
    spatial: bool
    low: float
    high: float

    @property
    def d(self) -> int:
        """Number of features."""
        return len(self.scales)


def feature_scales(planes: int, sigma_rgb: float, sigma_xy: float | None) -> tuple[float, ...]:
    """Factors of x, y (unless sigma_xy is None) and the planes to elevated units (Adams et al. 2010, section 3.1)."""
    sigmas = [sigma_rgb] * planes if sigma_xy is None else [sigma_xy, sigma_xy] + [sigma_rgb] * planes
    deviation = math.sqrt(2 / 3) * (len(sigmas) + 1)
    return tuple(deviation / math.sqrt((i + 1) * (i + 2)) / sigma for i, sigma in enumerate(sigmas))


@lru_cache(maxsize=64)
def plan_table(
    planes: int,
    height: int,
    width: int,
    sigma_rgb: float,
    sigma_xy: float | None,
    value_range: tuple[float, float],
    most_cells: int,
) -> Plan | None:
    """The table for images [planes, height, width] of values within value_range.

    Args:
        sigma_rgb, sigma_xy: > 0; None: features without position.
        value_range: least and greatest value of a plane.
        most_cells: largest size allowed.
    Returns: None if the table would be larger or sigma is too small for the range.
    """
    scales = feature_scales(planes, sigma_rgb, sigma_xy)
    d = len(scales)
    ranges = [value_range] * planes
    if sigma_xy is not None:
        ranges = [(0.0, width - 1.0), (0.0, height - 1.0), *ranges]
    bound = (d + 1) * sum(scale * max(map(abs, pair)) for scale, pair in zip(scales, ranges, strict=True))
    if not bound < _MOST_ELEVATED:
        return None
    slack = _SLACK + 1e-6 * bound
    # A pixel has g_i = (i + 2) / (d + 1) · scaled feature, and a corner of its simplex differs by 1 at most.
    to_g = [(i + 2) / (d + 1) * scale for i, scale in enumerate(scales)]
    lows = [factor * pair[0] - 1 - slack for factor, pair in zip(to_g, ranges, strict=True)]
    highs = [factor * pair[1] + 1 + slack for factor, pair in zip(to_g, ranges, strict=True)]
    strides, weights = _strides([high - low for low, high in zip(lows, highs, strict=True)])
    least = math.floor(sum(weight * low for weight, low in zip(weights, lows, strict=True)))
    most = math.ceil(sum(weight * high for weight, high in zip(weights, highs, strict=True)))
    cells = most - least + 1
    if cells > most_cells:
        return None
    steps = tuple((strides[i] if i < d else 0) - (strides[i - 1] if i > 0 else 0) for i in range(d + 1))
    return Plan(scales, steps, -least, cells, sigma_xy is not None, *value_range)


def _strides(spans: list[float]) -> tuple[list[int], list[float]]:
    """Strides of n_i = (c_i - c_(i+1)) / (d + 1) and the weights of g_i that follow from them.

    Args:
        spans: [d] the most by which g_i of two vertices in the table differ.
    As M_i = M_(i-1) + (i + 1) · n_i, the stride of n_i is weight_i + (i + 1) / (i + 2) · stride_(i+1). A vertex must
    differ from the neighbours of others too, so the differences grow by one step along an axis.
    """
    d = len(spans)
    strides, weights = [1] * d, [1.0] * d
    for i in range(d - 2, -1, -1):
        later = range(i + 1, d)
        # A step along axis j changes g_(j-1) by 1 and g_k, k >= j, by 1 / (k + 1). As the weights decrease, the step
        # along axis i + 2 changes the sum of the later features most.
        step = weights[i + 1] + sum(weights[k] / (k + 1) for k in range(i + 2, d))
        most = sum(weights[k] * spans[k] for k in later) + step
        carried = (i + 1) / (i + 2) * strides[i + 1]
        strides[i] = math.floor(most + carried) + 1
        weights[i] = strides[i] - carried
    return strides, weights
