"""The filters against an independent float64 lattice and against the exact Gaussian sum."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dlib.crf import bilateral_filter, color_bilateral_filter
from dlib.crf.lattice_torch import _key_factors
from helpers.crf_truth import (
    enclosing_simplex,
    exact_filter,
    features_of,
    probabilities,
    real_frames,
    textured,
    truth,
)

Name = Literal["cpp", "torch"]
BACKENDS: tuple[Name, ...] = ("cpp", "torch")


def run(
    image: NDArray[np.float32],
    values: NDArray[np.float32],
    sigma_rgb: float,
    sigma_xy: float | None,
    backend: Name,
) -> NDArray[np.float64]:
    """One image [P, H, W] and its values [K, H, W] through the library -> [K, H, W]."""
    images, v = torch.from_numpy(image)[None], torch.from_numpy(values)[None]
    if sigma_xy is None:
        out = color_bilateral_filter(images, v, sigma_rgb, backend=backend)
    else:
        out = bilateral_filter(images, v, sigma_rgb, sigma_xy, backend=backend)
    assert out.dtype == torch.float32
    return out[0].double().numpy()


def assert_equal(got: NDArray[np.float64], want: NDArray[np.float64], values: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(got, want, rtol=5e-4, atol=1e-30)
    np.testing.assert_allclose((values * got).sum(), (values * want).sum(), rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sigma_xy", [100.0, 5.0, None])
@pytest.mark.parametrize("sigma_rgb", [3.0, 15.0, 80.0])
def test_equals_the_float64_lattice(sigma_rgb: float, sigma_xy: float | None, backend: Name) -> None:
    image, values = textured(3, 19, 26), probabilities(2, 19, 26)
    assert_equal(
        run(image, values, sigma_rgb, sigma_xy, backend), truth(image, values, sigma_rgb, sigma_xy), values
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("planes", [1, 2, 4, 5, 7, 8, 16])
def test_any_number_of_planes(planes: int, backend: Name) -> None:
    # 16 planes do not fit a 64-bit mixed radix: the hashed keys are at work there
    image, values = textured(planes, 9, 17, seed=planes), probabilities(2, 9, 17)
    assert_equal(run(image, values, 16.3, None, backend), truth(image, values, 16.3, None), values)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 21])
def test_any_number_of_channels(channels: int, backend: Name) -> None:
    image, values = textured(3, 11, 14), probabilities(channels, 11, 14) - np.float32(0.2)
    for sigma_xy in (30.0, None):
        got, want = run(image, values, 15, sigma_xy, backend), truth(image, values, 15, sigma_xy)
        np.testing.assert_allclose(got, want, rtol=5e-4, atol=1e-5 * np.abs(want).max())


def test_real_frames_equal_the_float64_lattice() -> None:
    frames = real_frames(3, 40)
    if not frames:
        pytest.skip("the shared video frames are not on this machine")
    for frame in frames:
        values = probabilities(2, 40, 40)
        for sigma_xy in (100.0, None):
            assert_equal(run(frame, values, 15, sigma_xy, "cpp"), truth(frame, values, 15, sigma_xy), values)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sigma_rgb", [3.0, 15.0])
def test_planes_below_zero(sigma_rgb: float, backend: Name) -> None:
    below = np.array([0.3, 255.3, 100.3], np.float32)[:, None, None]
    image, values = textured(3, 19, 26) - below, probabilities(2, 19, 26)
    for sigma_xy in (5.0, None):
        want = truth(image, values, sigma_rgb, sigma_xy)
        got = run(image, values, sigma_rgb, sigma_xy, backend)
        # Near a tie of two coordinates float32 may choose another corner of weight 0, which the blur sees.
        np.testing.assert_allclose(got, want, rtol=0.05)
        assert np.isclose(got, want, rtol=5e-4).mean() > 0.98


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("sigma", "rtol"), [(1.0, 1e-3), (0.01, 0.1)])
def test_pixels_that_differ_only_in_the_last_coordinates(sigma: float, rtol: float, backend: Name) -> None:
    """No two of them are near, so a pixel gets its own value alone: keys must not lose a coordinate.

    With sigma 1 a base point's key needs more than 32 bits, with 0.01 more than 64.
    """
    t = np.arange(0, 200, 5.0)
    image = np.full((5, 1, len(t) + 2), 100.0)
    image[3, 0, :-2], image[4, 0, :-2] = (
        t,
        255 - t * np.sqrt(30 / 20),
    )  # the sum of both elevations is constant
    image[:, 0, -2], image[:, 0, -1] = 0, 255
    image, values = image.astype(np.float32), np.ones((2, 1, len(t) + 2), np.float32)
    want = truth(image, values, sigma, None)
    assert want.max() < 1
    np.testing.assert_allclose(run(image, values, sigma, None, backend), want, rtol=rtol)


@pytest.mark.parametrize("largest", [[7.3], [7.3, 2.1], [0.2, 30.0, 5.0], [3.0, 0.0, 1.5, 4.0]])
def test_keys_of_different_vertices_and_groups_differ(largest: list[float]) -> None:
    """Vertices around extreme and random pixels, and their neighbours, which are looked up too."""
    d = len(largest)
    points = list(itertools.product(*((-most, 0.0, most) for most in largest)))
    points += np.random.default_rng(0).uniform(np.negative(largest), largest, (200, d)).tolist()
    vertices: set[tuple[int, ...]] = set()
    for point in points:
        elevated = np.zeros(d + 1)
        for i, value in enumerate(point):
            elevated[: i + 1] += value
            elevated[i + 1] -= (i + 1) * value
        vertices.update(enclosing_simplex(elevated)[0])
    for vertex, axis, sign in itertools.product(list(vertices), range(d + 1), (-1, 1)):
        vertices.add(tuple(c + sign * (d if i == axis else -1) for i, c in enumerate(vertex)))
    factors, group_factor = _key_factors(torch.tensor(points), 3)
    keys = {
        sum(f * c for f, c in zip(factors.tolist(), vertex, strict=False)) + group * group_factor
        for vertex in vertices
        for group in range(3)
    }
    assert len(keys) == 3 * len(vertices)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", [0.0, 77.0, 255.0])
def test_constant_images(level: float, backend: Name) -> None:
    image, values = np.full((3, 12, 13), level, np.float32), probabilities(2, 12, 13)
    for sigma_xy in (20.0, None):
        want = truth(image, values, 15, sigma_xy)
        assert_equal(run(image, values, 15, sigma_xy, backend), want, values)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_pixel(backend: Name) -> None:
    image, values = textured(3, 1, 1), np.full((2, 1, 1), 0.5, np.float32)
    for sigma_xy in (100.0, None):
        assert_equal(run(image, values, 15, sigma_xy, backend), truth(image, values, 15, sigma_xy), values)


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (3, 5), (7, 16), (5, 33)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    image, values = textured(3, *shape), probabilities(2, *shape)
    for sigma_xy in (10.0, None):
        assert_equal(run(image, values, 15, sigma_xy, "cpp"), truth(image, values, 15, sigma_xy), values)


def test_flat_regions_do_not_add_up_rounding() -> None:
    """A million equal pixels: sums in plain float32 would be off by percents, the filter is not."""
    size, level = 1024, 100.0
    image = torch.full((1, 3, size, size), level)
    values = torch.full((1, 1, size, size), 0.1)
    one = truth(np.full((3, 1, 1), level, np.float32), np.full((1, 1, 1), 0.1, np.float32), 15, None)
    got = color_bilateral_filter(image, values, 15)
    np.testing.assert_allclose(got.numpy() / size**2, one.item(), rtol=1e-5)


@pytest.mark.parametrize(
    ("planes", "sigma_xy", "low", "high"),
    [(3, 100.0, 0.40, 0.60), (3, None, 0.60, 0.80), (1, None, 0.88, 0.94), (16, None, 0.06, 0.22)],
)
def test_known_ratio_to_the_exact_sum(planes: int, sigma_xy: float | None, low: float, high: float) -> None:
    images = [textured(planes, 44, 44, seed=s) for s in range(2)]
    if planes == 3:
        images += real_frames(2, 44)
    for image in images:
        values = probabilities(2, 44, 44)
        got = run(image, values, 15, sigma_xy, "cpp")
        flat = values.reshape(2, -1).T.astype(np.float64)
        exact = exact_filter(features_of(image, 15, sigma_xy), flat).T.reshape(values.shape)
        assert low < (values * got).sum() / (values * exact).sum() < high
        assert np.corrcoef(got.ravel(), exact.ravel())[0, 1] > 0.9
