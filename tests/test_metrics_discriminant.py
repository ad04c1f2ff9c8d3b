"""Odds by features: the ratio of two Gaussians pixel by pixel, scenes worked by hand, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from dlib.metrics.discriminant import COMPONENTS, SHRINKAGE, FeatureDiscriminant


def two_textures(channels: int = 5, side: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated noise [C, side, side] with another mean inside of a square, and the square [side, side]."""
    rng = np.random.default_rng(seed)
    square = np.zeros((side, side))
    square[4:11, 3:12] = 1
    mixing = rng.normal(size=(channels, channels))
    noise = np.tensordot(mixing, rng.normal(size=(channels, side, side)), 1)
    return noise + rng.normal(size=channels)[:, None, None] * 2 * square, square


def plain_odds(features: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The formula, one pixel after the other, of a share on the features' own grid."""
    pixels = [
        features[:, y, x].astype(np.float64) for y in range(share.shape[0]) for x in range(share.shape[1])
    ]
    weights = share.ravel()
    mean = sum(w * p for w, p in zip(weights, pixels, strict=True)) / weights.sum()
    other = sum((1 - w) * p for w, p in zip(weights, pixels, strict=True)) / (1 - weights).sum()
    within = np.zeros((len(features), len(features)))
    for w, p in zip(weights, pixels, strict=True):
        within += w * np.outer(p - mean, p - mean) + (1 - w) * np.outer(p - other, p - other)
    within /= len(pixels)
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))

    def log_density(p: np.ndarray, centre: np.ndarray) -> float:
        return -0.5 * float((p - centre) @ np.linalg.inv(within) @ (p - centre))

    return np.array([log_density(p, mean) - log_density(p, other) for p in pixels]).reshape(share.shape)


@pytest.mark.parametrize("seed", range(3))
def test_odds_are_the_ratio_of_two_gaussians(seed: int) -> None:
    features, square = two_textures(seed=seed)
    share = np.clip(0.8 * square + np.random.default_rng(seed).uniform(0, 0.2, square.shape), 0, 1)
    found = FeatureDiscriminant([features]).odds([share])[0]
    np.testing.assert_allclose(found, plain_odds(features, share), rtol=1e-9, atol=1e-9)


def test_pixels_that_look_like_the_object_get_positive_odds() -> None:
    features, square = two_textures()
    part = square.copy()
    part[:, 8:] = 0  # half of the object is taken for background
    odds = FeatureDiscriminant([features]).odds([part])[0]
    missed = (square == 1) & (part == 0)
    assert (odds[missed] > 0).mean() > 0.9
    assert (odds[square == 0] < 0).mean() > 0.9


def test_units_rotations_and_offsets_of_the_features_do_not_matter() -> None:
    features, square = two_textures()
    share = 0.7 * square + 0.1
    expected = FeatureDiscriminant([features]).odds([share])[0]
    turned = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 5)))[0]
    for changed in (1e-3 * features, features + 100, np.tensordot(turned, features, 1)):
        np.testing.assert_allclose(
            FeatureDiscriminant([changed]).odds([share])[0], expected, rtol=1e-6, atol=1e-6
        )
    np.testing.assert_allclose(
        FeatureDiscriminant([features.astype(np.float32)]).odds([share])[0], expected, rtol=1e-4, atol=1e-4
    )


def test_many_channels_are_reduced_to_their_strongest_directions() -> None:
    """Channels that repeat few others: nothing is lost. Weak noise in the others: it does not count."""
    features, square = two_textures(channels=4)
    share = 0.7 * square + 0.1
    spread = np.linalg.qr(np.random.default_rng(1).normal(size=(60, 4)))[0]
    many = np.tensordot(spread, features, 1) + 1e-4 * np.random.default_rng(2).normal(size=(60, 16, 16))
    assert len(many) > COMPONENTS
    values = many.reshape(60, -1) - many.reshape(60, -1).mean(axis=1, keepdims=True)
    left, _, _ = np.linalg.svd(values, full_matrices=False)
    reduced = (left[:, :COMPONENTS].T @ values).reshape(COMPONENTS, 16, 16)
    np.testing.assert_allclose(
        FeatureDiscriminant([many]).odds([share])[0], plain_odds(reduced, share), rtol=1e-6, atol=1e-6
    )


def test_a_finer_mask_is_averaged_over_the_features_cells() -> None:
    features, square = two_textures()
    fine = square.repeat(4, axis=0).repeat(4, axis=1)
    found = FeatureDiscriminant([features]).odds([fine])[0]
    assert found.shape == fine.shape
    coarse = FeatureDiscriminant([features]).odds([square])[0]
    # Bilinear between the cells' centres: the mean of the four pixels around a cell's centre is near its own value.
    centres = np.mean([found[i::4, j::4] for i in (1, 2) for j in (1, 2)], axis=0)
    inner = (slice(1, -1), slice(1, -1))
    assert np.corrcoef(centres[inner].ravel(), coarse[inner].ravel())[0, 1] > 0.99
    np.testing.assert_allclose(found[:2, :2], coarse[0, 0])  # beyond the outermost centres: its value


@pytest.mark.parametrize("share", [0.0, 1.0, 0.3])
def test_one_side_alone_and_flat_features_say_nothing(share: float) -> None:
    features, square = two_textures()
    flat = np.full(square.shape, share)
    if share in (0.0, 1.0):
        assert (FeatureDiscriminant([features]).odds([flat])[0] == 0).all()
    else:  # both sides are everywhere alike
        np.testing.assert_allclose(FeatureDiscriminant([features]).odds([flat])[0], 0, atol=1e-9)
    for channels in (3, 2 * COMPONENTS):
        broken = np.ones((channels, 8, 8))
        assert (FeatureDiscriminant([broken]).odds([square])[0] == 0).all()
        broken[1, 2, 3] = np.inf
        assert (FeatureDiscriminant([broken]).odds([square])[0] == 0).all()


@pytest.mark.parametrize("shape", [(8, 8), (0, 8, 8), (1, 3, 8, 8), (3, 0, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected features"):
        FeatureDiscriminant([np.zeros(shape)])
