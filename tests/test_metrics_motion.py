"""Motion of an object against its background: scenes whose motion is known, and odds by another formula."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from dlib.metrics.box_rule import View, shot_odds
from dlib.metrics.discriminant import FeatureDiscriminant
from dlib.metrics.motion import SLOWEST, Motion, motion_odds, raised_maps, shot_motion
from helpers.moving import SIDE, moving_square


def inner(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells of the grid that lie well inside and well outside of a mask."""
    cells = mask.reshape(SIDE // 4, 4, SIDE // 4, 4).mean(axis=(1, 3)).astype(np.float32)
    kernel = np.ones((5, 5), np.uint8)
    return cv2.erode(cells, kernel) == 1, cv2.dilate(cells, kernel) == 0


@pytest.mark.parametrize("camera", [(0, 0), (2, -1)])
def test_speed_is_that_of_the_object_against_the_background(camera: tuple[int, int]) -> None:
    own = (camera[0] + 3, camera[1] + 4)  # 5 pixels from frame to frame
    frames, masks = moving_square(3, camera, own)
    motions = shot_motion(frames)
    for motion, mask in zip(motions, masks, strict=True):
        assert motion.speed.shape == motion.trust.shape == (SIDE // 4, SIDE // 4)
        inside, outside = inner(mask)
        assert np.median(motion.speed[inside]) == pytest.approx(np.log(5 + SLOWEST), abs=0.1)
        assert np.median(motion.speed[outside]) == pytest.approx(np.log(SLOWEST), abs=0.4)
        assert motion.trust[inside].mean() > 0.5
        assert ((motion.trust >= 0) & (motion.trust <= 1)).all()


def test_reach_is_the_distance_of_the_frames() -> None:
    frames, masks = moving_square(5, (0, 0), (1, 1))
    near, far = shot_motion(frames, 1)[2], shot_motion(frames, 2)[2]
    inside, _ = inner(masks[2])
    assert np.median(near.speed[inside]) == pytest.approx(np.log(2**0.5 + SLOWEST), abs=0.25)
    assert np.median(far.speed[inside]) == pytest.approx(np.log(8**0.5 + SLOWEST), abs=0.1)
    for farther in (4, 9):  # 9: as far as there are frames
        first, middle, *_ = shot_motion(frames, farther)
        assert np.median(first.speed[inner(masks[0])[0]]) == pytest.approx(np.log(32**0.5 + SLOWEST), abs=0.1)
        assert not middle.trust.any()


def test_frames_of_other_scenes_and_flat_frames_are_not_trusted() -> None:
    rng = np.random.default_rng(1)
    strange = [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(2)]
    assert all(motion.trust.mean() < 0.1 for motion in shot_motion(strange))
    (alone,) = shot_motion(strange[:1])
    assert not alone.trust.any()
    for side in (1, 3, 30):  # too few points
        small = [np.zeros((side, side, 3), np.uint8)] * 2
        assert not any(motion.trust.any() for motion in shot_motion(small))


def test_frames_of_one_shape_are_needed() -> None:
    frames = [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)]
    with pytest.raises(ValueError, match="differ in shape"):
        shot_motion(frames)


def shares_and_motions(faster: bool) -> tuple[list[np.ndarray], list[Motion]]:
    rng = np.random.default_rng(2)
    shares, motions = [], []
    for _ in range(3):
        share = np.full((48, 48), 0.1)
        share[12:30, 8:24] = 0.9
        speed = rng.normal(size=(12, 12)) + (2 if faster else -2) * (
            cv2.resize(share, (12, 12), interpolation=cv2.INTER_AREA) > 0.5
        )
        shares.append(share)
        motions.append(Motion(speed, rng.uniform(size=(12, 12))))
    return shares, motions


def test_odds_are_those_of_a_discriminant_times_trust() -> None:
    shares, motions = shares_and_motions(faster=True)
    expected = FeatureDiscriminant([motion.speed[None] for motion in motions]).odds(shares)
    for odds, whole, motion in zip(motion_odds(motions, shares), expected, motions, strict=True):
        trust = cv2.resize(motion.trust, (48, 48), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(odds, whole * trust, atol=1e-9)
    assert max(np.abs(odds).max() for odds in expected) > 1


@pytest.mark.parametrize("case", ["slower", "all", "none", "still"])
def test_no_odds_without_an_object_that_moves(case: str) -> None:
    shares, motions = shares_and_motions(faster=case != "slower")
    if case in ("all", "none"):
        shares = [np.full((48, 48), float(case == "all"))] * 3
    if case == "still":
        motions = [Motion(np.zeros((12, 12)), np.ones((12, 12)))] * 3
    assert not any(odds.any() for odds in motion_odds(motions, shares))


def test_maps_count_half_as_much_again_where_something_moves() -> None:
    pixels = np.array([[0.0, 0.5, 1.0, 8.0]] * 4)  # speeds
    trust = np.ones((4, 4))
    trust[0], trust[1] = 0, 0.5
    gain = np.array([[1, 1, 1, 1], [1, 1.125, 1.25, 1.25], [1, 1.25, 1.5, 1.5], [1, 1.25, 1.5, 1.5]])
    share = np.full((4, 4), 0.5)
    share[3, 0] = 1.0
    (raised,) = raised_maps([share], [Motion(np.log(pixels + SLOWEST), trust)])
    np.testing.assert_allclose(raised, share * gain / (share * gain).max())
    assert raised.max() == raised[3, 0] == 1.0
    (still,) = raised_maps([share], [Motion(np.log(pixels + SLOWEST), np.zeros((4, 4)))])
    np.testing.assert_array_equal(still, share)


def test_a_map_that_marks_the_scene_gives_way_to_what_moves() -> None:
    frames, masks = moving_square(4, (1, 0), (4, 3))
    views, still = [], []
    for t, mask in enumerate(masks):
        u = np.zeros((SIDE, SIDE), np.uint8)
        u[mask] = 200
        u[:24, :48] = 220  # a part of the background is marked more than the object
        views.append(View(u, frames[t]))
        still.append(View(u, frames[0]))
    for odds, mask in zip(shot_odds(views), masks, strict=True):
        assert (odds[mask] > 0).mean() > 0.8
        assert (odds[:24, :48] > 0).mean() < 0.5
    assert (shot_odds(still)[0][:24, :48] > 0).mean() > 0.8


def test_a_shot_finds_the_whole_of_an_object_that_moves() -> None:
    frames, masks = moving_square(4, (1, 0), (4, 3))
    views = []
    for frame, mask in zip(frames, masks, strict=True):
        y, x = np.argwhere(mask)[0]
        u = np.zeros((SIDE, SIDE), np.uint8)
        u[y : y + 32, x : x + 16] = 255  # the map knows the left half alone
        u[u == 0] = 130
        views.append(View(u, frame))
    for odds, alone, mask in zip(
        shot_odds(views), (shot_odds([view])[0] for view in views), masks, strict=True
    ):
        assert (odds[mask] > 0).mean() > (alone[mask] > 0).mean() + 0.2
        assert (odds[~mask] > 0).mean() < 0.1
