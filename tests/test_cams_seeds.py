"""Seeds against a plain float64 reading of their definition, and their statistics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dlib.cams import region_of_interest, sample_seeds
from helpers.cam_maps import smooth_cams

IGNORE = -255


def _plain_candidates(cam: np.ndarray, roi: np.ndarray, max_p: float, min_p: float) -> tuple[set, set]:
    """Foreground and background candidate pixels of one map, by sorting."""
    flat, inside = cam.ravel(), roi.ravel()
    high = sorted(np.flatnonzero(inside), key=lambda i: (-flat[i], i))
    low = sorted(range(flat.size), key=lambda i: (flat[i], i))
    return set(high[: math.floor(max_p * inside.sum())]), set(low[: math.floor(min_p * flat.size)])


def _pixels(target: torch.Tensor, value: int) -> set[int]:
    return set((target.flatten() == value).nonzero().flatten().tolist())


@pytest.mark.parametrize("technique", ["seed_uniform", "seed_weighted"])
@pytest.mark.parametrize(("max_n", "min_n"), [(3, 5), (60, 40), (10_000, 10_000), (0, 7)])
def test_seeds_are_the_right_number_of_candidates(technique: str, max_n: int, min_n: int) -> None:
    cams = smooth_cams(6, 24, 0, grid=6)
    cams[1] = (cams[1] * 4).round() / 4  # many equal values
    roi = region_of_interest(cams, "largest").masks
    roi[2] = False
    shares = {"max_p": 0.45, "min_p": 0.3}
    keys = torch.arange(6) * 977
    target = sample_seeds(
        cams, roi, max_n=max_n, min_n=min_n, ksz=1, technique=technique, keys=keys, **shares
    )
    assert target.dtype == torch.int64
    for b in range(6):
        high, low = _plain_candidates(cams[b].numpy(), roi[b].numpy(), **shares)
        foreground, background = _pixels(target[b], 1), _pixels(target[b], 0)
        assert foreground <= high
        assert background <= low
        if not high & low:
            assert len(foreground) == min(max_n, len(high))
            assert len(background) == min(min_n, len(low))


def test_all_candidates_when_asked_for_as_many() -> None:
    cams = smooth_cams(3, 20, 4, grid=6)
    target = sample_seeds(
        cams, None, max_n=400, min_n=400, max_p=0.2, min_p=0.31, ksz=1, keys=torch.arange(3)
    )
    for b in range(3):
        high, low = _plain_candidates(cams[b].numpy(), np.ones((20, 20), bool), 0.2, 0.31)
        assert _pixels(target[b], 1) == high
        assert _pixels(target[b], 0) == low


def test_equal_values_at_the_limit_take_the_first_pixels() -> None:
    cam = torch.zeros(1, 4, 5)
    cam[0, 2, 2] = 1.0
    cam[0, 1, 1:4] = 0.5
    target = sample_seeds(cam, None, max_n=20, min_n=20, max_p=0.15, min_p=0.2, ksz=1, keys=torch.tensor([5]))
    assert _pixels(target[0], 1) == {12, 6, 7}
    assert _pixels(target[0], 0) == {0, 1, 2, 3}


@pytest.mark.parametrize("ksz", [1, 2, 3, 6])
def test_dilation_and_conflicts(ksz: int) -> None:
    cam = torch.linspace(0, 1, 12 * 12).view(1, 12, 12)
    settings_ = {"max_n": 4, "min_n": 60, "max_p": 0.3, "min_p": 0.6, "keys": torch.tensor([9])}
    points = sample_seeds(cam, None, ksz=1, **settings_)
    target = sample_seeds(cam, None, ksz=ksz, **settings_)
    claims = np.zeros((2, 12, 12), bool)
    for value in (0, 1):
        for y, x in (points[0] == value).nonzero().tolist():
            rows = range(max(0, y - (ksz - 1) // 2), min(12, y + ksz // 2 + 1))
            columns = range(max(0, x - (ksz - 1) // 2), min(12, x + ksz // 2 + 1))
            for i, j in itertools.product(rows, columns):
                claims[value, i, j] = True
    expected = np.full((12, 12), IGNORE)
    expected[claims[1] & ~claims[0]] = 1
    expected[claims[0] & ~claims[1]] = 0
    assert (target[0].numpy() == expected).all()


@pytest.mark.parametrize("value", [0.0, 0.7, float("nan")])
def test_constant_and_broken_maps_give_no_seeds(value: float) -> None:
    cams = smooth_cams(2, 10, 1, grid=6)
    cams[0] = value
    target = sample_seeds(cams, None, max_n=5, min_n=5, max_p=0.5, min_p=0.5, keys=torch.arange(2))
    assert (target[0] == IGNORE).all()
    assert (target[1] != IGNORE).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**40),
    st.integers(1, 30),
    st.integers(1, 30),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["seed_uniform", "seed_weighted"]),
)
def test_an_image_does_not_depend_on_its_batch(
    seed: int, max_n: int, min_n: int, max_p: float, min_p: float, technique: str
) -> None:
    cams = smooth_cams(4, 13, seed, grid=6)
    roi = region_of_interest(cams, "roi_high_density", min_size=0.02).masks
    keys = torch.arange(seed, seed + 4)
    options = {"max_n": max_n, "min_n": min_n, "max_p": max_p, "min_p": min_p, "technique": technique}
    batch = sample_seeds(cams, roi, keys=keys, **options)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(sample_seeds(cams[order], roi[order], keys=keys[order], **options), batch[order])
    for b in range(4):
        one = slice(b, b + 1)
        assert torch.equal(sample_seeds(cams[one], roi[one], keys=keys[one], **options)[0], batch[b])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**40),
    st.integers(0, 200),
    st.integers(0, 200),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["seed_uniform", "seed_weighted"]),
    st.integers(1, 300),
    st.sampled_from(["roi_all", "largest"]),
)
def test_the_way_of_a_device_gives_the_same_seeds(
    seed: int, max_n: int, min_n: int, max_p: float, min_p: float, technique: str, levels: int, method: str
) -> None:
    """Sorting and a race of all rows, against counting digits and a race of the rows that need one."""
    cams = smooth_cams(5, 13, seed, grid=6)
    cams = (cams * levels).round() / levels  # few levels: many equal values
    cams[3] = 0.25
    cams[4, 2, 2] = torch.nan
    roi = region_of_interest(torch.nan_to_num(cams), method, mask="region").masks
    options = {"max_n": max_n, "min_n": min_n, "max_p": max_p, "min_p": min_p, "technique": technique}
    keys = torch.arange(seed, seed + 5)
    ways = [sample_seeds(cams, roi, keys=keys, fixed_shapes=fixed, **options) for fixed in (False, True)]
    assert torch.equal(*ways)


def test_keys_decide() -> None:
    cams = smooth_cams(1, 24, 2, grid=6).repeat(2, 1, 1)
    options = {"max_n": 5, "min_n": 5, "max_p": 0.4, "min_p": 0.4}
    same = sample_seeds(cams, keys=torch.tensor([3, 3]), **options)
    other = sample_seeds(cams, keys=torch.tensor([3, 4]), **options)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(other[0], other[1])


def _inclusion(cam: torch.Tensor, technique: str, max_n: int, max_p: float, trials: int) -> np.ndarray:
    cams = cam.expand(trials, *cam.shape)
    target = sample_seeds(
        cams, None, max_n=max_n, min_n=0, max_p=max_p, min_p=0.0, ksz=1, technique=technique,
        keys=torch.arange(trials),
    )  # fmt: skip
    return (target == 1).double().mean(dim=0).flatten().numpy()


def _weighted_law(weights: np.ndarray, draws: int) -> np.ndarray:
    """Inclusion probabilities of successive draws without replacement, by enumerating every order."""
    probability = np.zeros(len(weights))
    for order in itertools.permutations(range(len(weights)), draws):
        rest, p = weights.sum(), 1.0
        for i in order:
            p *= weights[i] / rest
            rest -= weights[i]
        for i in order:
            probability[i] += p
    return probability


@pytest.mark.parametrize("max_n", [1, 4])
def test_uniform_draws_include_every_candidate_equally_often(max_n: int) -> None:
    trials = 6_000
    cam = torch.tensor([[0.9, 0.1, 0.8], [0.3, 1.0, 0.2], [0.7, 0.6, 0.0]])
    seen = _inclusion(cam, "seed_uniform", max_n, 0.6, trials)  # 5 candidates
    expected = np.where(cam.flatten() >= 0.6, max_n / 5, 0)
    assert np.abs(seen - expected).max() < 5 * math.sqrt(0.25 / trials)


@pytest.mark.parametrize("max_n", [1, 3])
def test_weighted_draws_follow_successive_sampling(max_n: int) -> None:
    trials = 6_000
    cam = torch.tensor([[0.9, 0.02, 0.3], [0.05, 1.0, 0.01], [0.0, 0.2, 0.015]])
    seen = _inclusion(cam, "seed_weighted", max_n, 0.56, trials)  # the 5 highest
    weights = np.where(cam.flatten() >= 0.05, cam.flatten().double() + 1e-8, 0)
    law = np.zeros(9)
    law[weights > 0] = _weighted_law(weights[weights > 0], max_n)
    assert np.abs(seen - law).max() < 5 * math.sqrt(0.25 / trials)


def test_candidates_of_weight_zero_are_drawn_when_nothing_else_is_left() -> None:
    cam = torch.zeros(3, 3)
    cam[0, 0] = 1.0
    seen = _inclusion(cam, "seed_weighted", 3, 0.5, 4_000)  # pixels 0..3 are candidates
    assert seen[0] == 1
    assert np.abs(seen[1:4] - 2 / 3).max() < 0.04


PLACES = [0.0, -0.0, 1e-45, 1e-30, 0.5, 1.0, -0.25]
CLOSE = [np.nextafter(np.float32(x), np.float32(to)) for x in (1.0, -0.25) for to in (2, -2)]


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float32, (3, 3, 4), elements=st.sampled_from(np.float32([*PLACES, *CLOSE]).tolist())))
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("technique", ["seed_uniform", "seed_weighted"])
def test_the_one_candidate_is_the_first_extreme_pixel(fixed: bool, technique: str, cams: np.ndarray) -> None:
    """Neighbouring floating-point numbers differ, zeros of both signs do not."""
    target = sample_seeds(
        torch.from_numpy(cams), max_n=1, min_n=1, max_p=1 / 12, min_p=1 / 12, ksz=1,
        technique=technique, keys=torch.arange(3), fixed_shapes=fixed,
    )  # fmt: skip
    for cam, labels in zip(cams.reshape(3, 12), target.view(3, 12), strict=True):
        expected = np.full(12, IGNORE)
        if cam.max() > cam.min():
            expected[[cam.argmax(), cam.argmin()]] = 1, 0
        assert labels.tolist() == expected.tolist()


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("fixed", [False, True])
def test_maps_of_other_types_that_need_a_gradient(kind: torch.dtype, fixed: bool) -> None:
    cams = smooth_cams(2, 12, 0, grid=4).to(kind)
    options = {"max_n": 9, "min_n": 9, "max_p": 0.3, "min_p": 0.3, "keys": torch.arange(2)}
    found, expected = (
        sample_seeds(given, fixed_shapes=fixed, technique="seed_weighted", **options)
        for given in (cams.clone().requires_grad_(), cams.float())
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("share", [0.07, 0.14, 0.28, 0.29, 0.55, 0.56, 0.57, 0.58])
def test_shares_are_multiplied_in_double_precision(share: float) -> None:
    """0.29 of 100 pixels are 28.999999999999996; in float32 they would be 29."""
    cams = torch.arange(100.0).view(1, 10, 10)
    target = sample_seeds(
        cams, max_n=100, min_n=0, max_p=share, min_p=0.0, ksz=1, keys=torch.arange(1), fixed_shapes=False
    )
    assert len(_pixels(target[0], 1)) == math.floor(share * 100)


@pytest.mark.parametrize("fixed", [False, True])
def test_weight_zero_comes_last(fixed: bool) -> None:
    cam = torch.zeros(1, 4, 4)
    cam[0, 0, :3] = 1e-3
    for key in range(100):
        target = sample_seeds(
            cam, max_n=3, min_n=0, max_p=0.5, min_p=0.0, ksz=1,
            technique="seed_weighted", keys=torch.tensor([key]), fixed_shapes=fixed,
        )  # fmt: skip
        assert _pixels(target[0], 1) == {0, 1, 2}


def test_errors_name_what_is_wrong() -> None:
    cams = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(0))
    good = {"max_n": 1, "min_n": 1, "max_p": 0.2, "min_p": 0.2, "keys": torch.arange(2)}
    for change, words in [
        ({"keys": torch.arange(3)}, "keys"),
        ({"ksz": 0}, "ksz"),
        ({"max_p": 1.2}, "max_p"),
        ({"min_p": 1.2}, "min_p"),
        ({"min_p": -0.1}, "min_p"),
        ({"min_n": -1}, "min_n"),
        ({"technique": "seed_best"}, "seed_best"),
        ({"roi": torch.ones(2, 6, 5, dtype=torch.bool)}, "region"),
        ({"roi": torch.ones(2, 6, 6)}, "bool region"),
    ]:
        with pytest.raises(ValueError, match=words):
            sample_seeds(cams, **{**good, **change})
