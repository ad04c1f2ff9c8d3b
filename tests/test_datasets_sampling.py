"""Frame sampling against the written rule, worked cases, and exact probabilities by enumeration."""

from __future__ import annotations

from collections import Counter
from itertools import permutations, product
from math import exp, pi, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlib.datasets.sampling import DISTS, STYLES, allowed_frames, frame_weights, sample_frames

DRAWS = 6000


def frequencies(**kwargs) -> dict[tuple[int, ...], float]:
    rng = np.random.default_rng(7)
    args = {"n": 12, "count": 2, "limit": 0.6, "style": "random", "dist": "uniform", "std": 1.0} | kwargs
    counts = Counter(tuple(sample_frames(**args, rng=rng)) for _ in range(DRAWS))
    return {frames: count / DRAWS for frames, count in counts.items()}


def assert_close(found: dict, truth: dict[tuple[int, ...], float]) -> None:
    assert set(found) == set(truth)
    assert sum(truth.values()) == pytest.approx(1)
    for frames, p in truth.items():
        assert abs(found[frames] - p) < 5 * sqrt(p * (1 - p) / DRAWS) + 1e-9, frames


@pytest.mark.parametrize(
    ("n", "limit", "expected"),
    [
        (1, 0.1, [0]),
        (2, 0.1, [0, 1]),
        (3, 0.6, [1]),
        (3, 1.0, [0, 1, 2]),
        (4, 0.6, [1, 2, 3]),
        (5, 0.6, [1, 2, 3]),
        (12, 0.6, [3, 4, 5, 6, 7, 8, 9]),
        (12, 0.01, [5, 6, 7]),
        (10, 0.999, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (4, 1.0, [0, 1, 2, 3]),
    ],
)
def test_allowed_frames_by_hand(n: int, limit: float, expected: list[int]) -> None:
    assert allowed_frames(n, limit) == expected


@given(st.integers(1, 400), st.floats(0.001, 1.0))
def test_allowed_frames_are_a_window_around_the_middle(n: int, limit: float) -> None:
    frames = allowed_frames(n, limit)
    assert frames == list(range(frames[0], frames[-1] + 1))
    assert 0 <= frames[0] <= n // 2 <= frames[-1] < n
    if n > 3 and limit < 1:
        assert len(frames) <= max(limit * n, 2) + 1


@pytest.mark.parametrize(("n", "limit"), [(0, 0.5), (5, 0.0), (5, 1.1), (5, float("nan"))])
def test_allowed_frames_refuses(n: int, limit: float) -> None:
    with pytest.raises(ValueError, match=r"n = 0|limit"):
        allowed_frames(n, limit)


def test_before_after_and_both_sides_are_uniform_over_the_drawn_frame() -> None:
    window = allowed_frames(12, 0.6)  # seven frames
    for count, style in product((2, 3, 4), ("before", "after", "before-after")):
        truth: Counter = Counter()
        for f in window:
            ahead = {"before": 0, "after": count - 1, "before-after": count // 2}[style]
            wanted = [*range(f - (count - 1 - ahead), f + ahead + 1)]
            truth[tuple(i for i in wanted if i in window)] += 1 / 7
        assert_close(frequencies(count=count, style=style), truth)


def test_before_has_a_lone_frame_once_in_seven() -> None:
    found = frequencies(style="before")
    assert found[(3,)] == pytest.approx(1 / 7, abs=0.03)
    assert {len(frames) for frames in found} == {1, 2}


def test_before_after_takes_neighbours_on_both_sides() -> None:
    assert (5, 6, 7) in frequencies(count=3, style="before-after")
    assert all(np.diff(frames).max(initial=1) == 1 for frames in frequencies(count=4, style="before-after"))


def gaussian_weight(i: int, n: int, std: float) -> float:
    return 1 + exp(-0.5 * ((i - n // 2) / std) ** 2) / (std * sqrt(2 * pi))


@pytest.mark.parametrize("std", [0.2, 1.0, 3.0])
def test_gaussian_weights_are_those_of_the_formula(std: float) -> None:
    allowed = allowed_frames(12, 0.6)
    weights = np.array([gaussian_weight(i, 12, std) for i in allowed])
    np.testing.assert_allclose(
        frame_weights(allowed, 12, "gaussian", std), weights / weights.sum(), rtol=1e-12
    )


def test_single_frame_gaussian_probabilities() -> None:
    weights = {i: gaussian_weight(i, 5, 0.2) for i in range(5)}
    total = sum(weights.values())
    truth = {(i,): w / total for i, w in weights.items()}
    for style in STYLES:
        assert_close(frequencies(n=5, count=1, limit=1.0, style=style, dist="gaussian", std=0.2), truth)


def test_random_gaussian_without_replacement() -> None:
    """Enumeration of successive draws, each in proportion to the weights that are left."""
    weights = [gaussian_weight(i, 5, 0.15) for i in range(5)]
    truth: Counter = Counter()
    for order in permutations(range(5), 3):
        p, left = 1.0, sum(weights)
        for i in order:
            p, left = p * weights[i] / left, left - weights[i]
        truth[tuple(sorted(order))] += p
    assert_close(frequencies(n=5, count=3, limit=1.0, dist="gaussian", std=0.15), truth)


def test_random_uniform_without_replacement() -> None:
    truth = {(i, j): 1 / 21 for i in range(3, 10) for j in range(i + 1, 10)}
    assert_close(frequencies(), truth)


def test_interval_takes_one_of_each_part() -> None:
    # Frames 3 … 9 in two parts: the first is the longer one.
    truth = {(i, j): 1 / 12 for i in (3, 4, 5, 6) for j in (7, 8, 9)}
    assert_close(frequencies(dist="interval"), truth)
    assert_close(frequencies(count=1, dist="interval", style="before"), {(i,): 1 / 7 for i in range(3, 10)})


def test_the_highest_random_number_draws_the_last_frame() -> None:
    """Shares such as ten times 0.1 add up to less than 1, and the random number may lie above their sum."""

    class Highest:
        def random(self) -> float:
            return 1 - 2**-53

    for n in range(1, 60):
        assert sample_frames(n, 1, 1.0, "random", "uniform", 1.0, Highest()) == [n - 1]  # type: ignore[arg-type]


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("n", "count"), [(2, 2), (3, 3), (3, 4), (3, 9)])
def test_a_short_shot_is_used_as_a_whole(style: str, n: int, count: int) -> None:
    for seed in range(5):
        drawn = sample_frames(n, count, 1.0, style, "uniform", 1.0, np.random.default_rng(seed))
        assert drawn == list(range(n))


@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.floats(0.01, 1.0),
    st.sampled_from(STYLES),
    st.sampled_from(DISTS),
    st.integers(0, 2**32),
)
def test_every_draw_is_ascending_allowed_and_repeatable(n, count, limit, style, dist, seed) -> None:
    if dist == "interval" and count > 1:
        style = "random"
    args = (n, count, limit, style, dist, 1.0)
    frames = sample_frames(*args, np.random.default_rng(seed))
    allowed = allowed_frames(n, limit)
    assert frames == sorted(set(frames))
    assert set(frames) <= set(allowed)
    assert 1 <= len(frames) <= count
    assert frames == sample_frames(*args, np.random.default_rng(seed))
    if len(allowed) <= count and count > 1:
        assert frames == allowed
    elif style == "random":
        assert len(frames) == count


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"count": 0}, "at least one frame"),
        ({"style": "both"}, "style must be one of"),
        ({"dist": "beta"}, "dist must be one of"),
        ({"dist": "gaussian", "std": 0.0}, "std must be > 0"),
        ({"dist": "interval", "style": "before"}, "needs style random"),
    ],
)
def test_impossible_options_are_refused(change: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        frequencies(**change)
