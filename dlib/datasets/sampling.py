"""Which frames of a shot a training sample takes."""

from __future__ import annotations

from typing import get_args

import numpy as np

from dlib.configure.literals import SampleDist, SampleStyle

BEFORE, AFTER, BEFORE_AFTER, RANDOM = STYLES = get_args(SampleStyle)
_, GAUSSIAN, INTERVAL = DISTS = get_args(SampleDist)


def allowed_frames(n: int, limit: float) -> list[int]:
    """Indices of the frames that training may use, around the middle of a shot of ``n`` frames.

    Args:
        n: number of frames in the shot, >= 1.
        limit: share of the shot that is used, in (0, 1].
    Returns: ascending, contiguous indices; never empty.
    Raises ValueError if n < 1 or limit is outside (0, 1].
    """
    if n < 1:
        raise ValueError(f"a shot needs at least one frame, got n = {n}")
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], got {limit}")
    if limit == 1:
        return list(range(n))
    if n == 3:
        return [1]
    half, center = max(int(limit * n) // 2, 1), n // 2
    return list(range(max(center - half, 0), min(center + half + 1, n)))


def frame_weights(allowed: list[int], n: int, dist: SampleDist, std: float) -> np.ndarray:
    """Probabilities [len(allowed)] of drawing each allowed frame first.

    ``gaussian`` is 1 + the density of N(n // 2, std), as published: the added 1 makes it nearly uniform.
    ``interval`` draws one frame uniformly.
    """
    if dist != GAUSSIAN:
        return np.full(len(allowed), 1 / len(allowed))
    z = (np.asarray(allowed, dtype=np.float64) - n // 2) / std
    weights = 1 + np.exp(-0.5 * z**2) / (std * np.sqrt(2 * np.pi))
    return weights / weights.sum()


def sample_frames(
    n: int,
    count: int,
    limit: float,
    style: SampleStyle,
    dist: SampleDist,
    std: float,
    rng: np.random.Generator,
) -> list[int]:
    """Frames of one training sample of a shot, in order of time, each at most once.

    All allowed frames if there are not more than ``count``. Else, with f the drawn frame: ``before`` uses f and the
    count-1 frames before it, ``after`` f and the count-1 frames after it, ``before-after`` the count//2 frames after
    f, f, and the rest before it. All three stop at the edge of the allowed range, so that there may be fewer than
    ``count``. ``random`` draws ``count`` frames without replacement: uniformly, by the gaussian weights, or
    (``interval``) one from each of ``count`` parts of equal length; if the frames do not divide evenly, the first
    parts are one frame longer.

    Args:
        n: number of frames in the shot, >= 1.
        count: frames wanted, >= 1; with 1 the style does not matter.
        limit: see ``allowed_frames``.
        style: one of ``STYLES``.
        dist: one of ``DISTS``; ``interval`` with count > 1 needs style ``random``.
        std: standard deviation of ``gaussian`` in frames, > 0.
        rng: source of the draws.
    Returns: 1 to ``count`` ascending indices below n.
    Raises ValueError for arguments outside these ranges.
    """
    check_sampling(count, style, dist, std)
    allowed = allowed_frames(n, limit)
    if len(allowed) <= count and count > 1:
        return allowed
    if count > 1 and style == RANDOM:
        return _without_replacement(allowed, n, count, dist, std, rng)
    cumulative = np.cumsum(frame_weights(allowed, n, dist, std))
    first = min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(allowed) - 1)
    if count == 1:
        return [allowed[first]]
    forward = {BEFORE: 0, AFTER: count - 1, BEFORE_AFTER: count // 2}[style]
    backward = count - 1 - forward
    return allowed[max(first - backward, 0) : first + forward + 1]


def check_sampling(count: int, style: SampleStyle, dist: SampleDist, std: float) -> None:
    """Raises ValueError, with the reason, if the sampling options do not fit together."""
    if count < 1:
        raise ValueError(f"at least one frame per sample is needed, got {count}")
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    if dist not in DISTS:
        raise ValueError(f"dist must be one of {', '.join(DISTS)}, got {dist!r}")
    if dist == GAUSSIAN and not std > 0:
        raise ValueError(f"std must be > 0 with dist gaussian, got {std}")
    if dist == INTERVAL and style != RANDOM and count > 1:
        raise ValueError(f"dist interval needs style random, got {style!r}")


def _without_replacement(
    allowed: list[int], n: int, count: int, dist: SampleDist, std: float, rng: np.random.Generator
) -> list[int]:
    if dist == INTERVAL:
        return [int(part[rng.integers(len(part))]) for part in np.array_split(allowed, count)]
    # The ``count`` smallest of independent exponential times with these rates are a draw without replacement.
    times = -np.log1p(-rng.random(len(allowed))) / frame_weights(allowed, n, dist, std)
    return [allowed[i] for i in sorted(np.argsort(times, kind="stable")[:count].tolist())]
