"""An independent permutohedral lattice in float64, from the paper, with a dict of coordinate tuples; and the exact sum.

Adams, Baek & Davis 2010, "Fast high-dimensional filtering using the permutohedral lattice", section 3.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers.paths import ROOT

Floats = NDArray[np.float64]


def features_of(image: NDArray[np.float32], sigma_rgb: float, sigma_xy: float | None) -> Floats:
    """[P, H, W] -> [H*W, d]."""
    planes, height, width = image.shape
    colour = image.reshape(planes, -1).T.astype(np.float64) / sigma_rgb
    if sigma_xy is None:
        return colour
    y, x = np.mgrid[:height, :width]
    return np.concatenate([np.stack([x.ravel(), y.ravel()], 1) / sigma_xy, colour], axis=1)


def enclosing_simplex(point: Floats) -> tuple[list[tuple[int, ...]], list[float]]:
    """Corners by remainder and barycentric weights of a point [d+1] of the plane of zero sum."""
    n = len(point)  # d + 1
    low, high = np.floor(point / n) * n, np.ceil(point / n) * n
    base = np.where(high - point < point - low, high, low).astype(int)
    # rank 0 has the largest difference; of equal ones the later coordinate goes behind (stable sort)
    order = np.argsort(-(point - base), kind="stable")
    rank = np.empty(n, int)
    rank[order] = np.arange(n)
    rank += base.sum() // n
    base += np.where(rank < 0, n, 0) - np.where(rank >= n, n, 0)
    rank += np.where(rank < 0, n, 0) - np.where(rank >= n, n, 0)
    offset = np.sort(point - base)[::-1]  # by rank
    weights = [1 + (offset[-1] - offset[0]) / n] + [
        (offset[n - 1 - r] - offset[n - r]) / n for r in range(1, n)
    ]
    corners = [tuple(base + np.where(rank <= n - 1 - r, r, r - n)) for r in range(n)]
    return corners, weights


def lattice_filter(features: Floats, values: Floats) -> Floats:
    """features [M, d], values [M, K] -> [M, K]."""
    d = features.shape[1]
    # Elevation as published, with running sums: at x = 0 or in black two coordinates are then exactly equal,
    # and which of them comes first decides which corners exist.
    scaled = np.sqrt(2 / 3) * (d + 1) * features / np.sqrt(np.arange(1, d + 1) * np.arange(2, d + 2))
    elevated = np.zeros((len(features), d + 1))
    tail = np.zeros(len(features))
    for i in range(d, 0, -1):
        elevated[:, i] = tail - i * scaled[:, i - 1]
        tail = tail + scaled[:, i - 1]
    elevated[:, 0] = tail
    simplices = [enclosing_simplex(point) for point in elevated]
    lattice: dict[tuple[int, ...], Floats] = {}
    for (corners, weights), value in zip(simplices, values, strict=True):
        for corner, weight in zip(corners, weights, strict=True):
            lattice[corner] = lattice.get(corner, 0) + weight * value
    nothing = np.zeros(values.shape[1])
    for axis in range(d + 1):
        step = np.full(d + 1, -1)
        step[axis] = d
        lattice = {
            key: value
            + (lattice.get(tuple(key + step), nothing) + lattice.get(tuple(key - step), nothing)) / 2
            for key, value in lattice.items()
        }
    out = [sum(w * lattice[c] for c, w in zip(*simplex, strict=True)) for simplex in simplices]
    return np.array(out) / (1 + 2.0**-d)


def exact_filter(features: Floats, values: Floats) -> Floats:
    """The Gaussian sum itself, features [M, d], values [M, K] -> [M, K]."""
    squares = (features**2).sum(1)
    distance = squares[:, None] + squares[None] - 2 * features @ features.T
    return np.exp(-0.5 * np.maximum(distance, 0)) @ values


def truth(
    image: NDArray[np.float32], values: NDArray[np.float32], sigma_rgb: float, sigma_xy: float | None
) -> Floats:
    """Lattice filter of one image [P, H, W] and its values [K, H, W] -> [K, H, W]."""
    flat = values.reshape(len(values), -1).T.astype(np.float64)
    return lattice_filter(features_of(image, sigma_rgb, sigma_xy), flat).T.reshape(values.shape)


def textured(
    planes: int, height: int, width: int, seed: int = 0, amplitude: float = 60.0
) -> NDArray[np.float32]:
    """A picture-like image 0..255: smooth regions, an edge, texture."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(30, 220, (6, 6, planes)), (width, height), interpolation=cv2.INTER_CUBIC)
    image = smooth.reshape(height, width, planes) + rng.normal(0, amplitude / 10, (height, width, planes))
    image[:, width // 2 :] += amplitude
    return np.rint(np.clip(image, 0, 255)).transpose(2, 0, 1).astype(np.float32).copy()


def probabilities(channels: int, height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth maps that sum to 1 over the channels."""
    rng = np.random.default_rng(seed)
    logits = cv2.resize(rng.normal(0, 3, (4, 4, channels)), (width, height)).reshape(height, width, channels)
    maps = np.exp(logits)
    return (maps / maps.sum(2, keepdims=True)).transpose(2, 0, 1).astype(np.float32).copy()


def batch(n: int, height: int, width: int, channels: int = 2, planes: int = 3) -> tuple[Tensor, Tensor]:
    """``n`` images [n, planes, H, W] and maps [n, channels, H, W] of the seeds 0 to n - 1."""
    images = np.stack([textured(planes, height, width, seed=s) for s in range(n)])
    values = np.stack([probabilities(channels, height, width, seed=s) for s in range(n)])
    return torch.from_numpy(images), torch.from_numpy(values)


def real_frames(count: int, size: int) -> list[NDArray[np.float32]]:
    """Frames of the shared data [3, size, size]; none where it is absent."""
    root = ROOT.parent / "shared" / "data" / "real-videos"
    paths = itertools.islice(sorted(root.glob("*/data/*/shots/*/*.jpg"))[::200], count)
    frames = [cv2.resize(cv2.imread(str(path)), (size, size))[..., ::-1] for path in paths]
    return [frame.transpose(2, 0, 1).astype(np.float32).copy() for frame in frames]
