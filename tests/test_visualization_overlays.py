from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlib.visualization.overlays import (
    BG_COLOR,
    FG_COLOR,
    PREDICTED_COLOR,
    ROI_COLOR,
    TRUE_COLOR,
    blend,
    heat_map,
    overlay,
    seeds_picture,
    side_by_side,
)


def gray(height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def test_heat_map_gets_brighter_with_the_map() -> None:
    colors = heat_map(np.linspace(0, 1, 256)[None])[0].astype(float)
    brightness = colors @ [0.299, 0.587, 0.114]
    assert (np.diff(brightness) >= -1).all()
    assert brightness[-1] - brightness[0] > 200


def test_heat_map_takes_nan_as_zero_and_clips() -> None:
    colors = heat_map(np.array([[np.nan, 0.0, -3.0, 1.0, 7.0]]))[0]
    assert (colors[:3] == colors[1]).all()
    assert (colors[3] == colors[4]).all()


def test_blend_keeps_frame_and_shows_map() -> None:
    frame, cam = gray(), np.zeros((40, 60))
    cam[10:20, 10:20] = 1
    before = frame.copy()
    mixed = blend(frame, cam)
    assert (frame == before).all()
    assert mixed[15, 15].astype(int).sum() > mixed[30, 40].astype(int).sum() + 150


@pytest.mark.parametrize("cam", [np.zeros((4, 4)), np.zeros((40, 60, 1))])
def test_a_map_of_another_size_is_refused(cam: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"map is|must be \[H, W\]"):
        blend(gray(), cam)


def test_a_float_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        overlay(gray().astype(np.float32), None)


def test_boxes_cover_inclusive_pixels() -> None:
    picture = np.asarray(overlay(gray(), None, [30, 5, 39, 14], [[2, 3, 11, 12]], scale=4))
    assert picture.shape == (160, 240, 3)
    for x, y in ((2 * 4, 3 * 4), (11 * 4 + 3, 12 * 4 + 3)):  # outermost magnified pixels of the corners
        assert tuple(picture[y, x]) == TRUE_COLOR
    for x, y in ((30 * 4, 5 * 4), (39 * 4 + 3, 14 * 4 + 3)):
        assert tuple(picture[y, x]) == PREDICTED_COLOR
    assert tuple(picture[8 * 4, 7 * 4]) == (128, 128, 128)  # not filled


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-20, 80) | st.sampled_from([-(10**11), 10**11]), min_size=4, max_size=4))
def test_any_box_can_be_drawn(box: list[int]) -> None:
    assert overlay(gray(), None, box, [box], scale=1).size == (60, 40)


def test_small_frames_are_magnified_and_captions_stay_inside() -> None:
    picture = overlay(gray(), np.zeros((40, 60)), caption="x" * 500)
    assert picture.width == 60 * 6
    assert picture.height > 40 * 6
    bare = overlay(gray(), np.zeros((40, 60)), caption="a")
    right_edge = np.asarray(picture)[40 * 6 :, -4:]
    assert (right_edge == np.asarray(bare)[-1, -1]).all()


def test_side_by_side_keeps_every_panel() -> None:
    left, right = overlay(gray(), None, scale=1), overlay(gray(30, 10), None, scale=1)
    strip = np.asarray(side_by_side([left, right], gap=4))
    assert strip.shape == (40, 74, 3)
    assert (strip[:, :60] == 128).all()
    assert (strip[:30, 64:] == 128).all()


def test_seeds_have_their_colours() -> None:
    seeds = np.full((224, 224), -255)
    seeds[10:30, 10:30], seeds[100:120, 100:120] = 1, 0
    picture = np.asarray(seeds_picture(np.full((224, 224, 3), 200, np.uint8), seeds, [50, 50, 80, 90]))
    assert tuple(picture[20, 20]) == FG_COLOR
    assert tuple(picture[110, 110]) == BG_COLOR
    assert tuple(picture[200, 200]) == (110, 110, 110)
    assert tuple(picture[50, 60]) == ROI_COLOR
    with pytest.raises(ValueError, match="found \\[7\\]"):
        seeds_picture(gray(), np.full((40, 60), 7), [0, 0, 9, 9])
