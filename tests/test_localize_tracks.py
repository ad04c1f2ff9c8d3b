"""Objects followed through a video: linear motion, gaps, outliers, cuts, several objects, classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dlib.localizer import Localization
from dlib.localizer.source import Frame
from dlib.localizer.tracks import TrackTable, follow

Boxes = list[tuple[int, int, int, int]]
SIZE = (200, 120)


def moving(t: float) -> tuple[int, int, int, int]:
    return 20 + int(4 * t), 10 + int(2 * t), 60 + int(4 * t), 50 + int(2 * t)


def results(
    boxes: list[Boxes], labels: list[tuple[str, float]] | None = None, cut: int | None = None
) -> list:
    pairs = []
    for i, found in enumerate(boxes):
        rng = np.random.default_rng(i)
        color = (30, 90, 200) if cut is not None and i >= cut else (200, 160, 20)
        image = (np.full((48, 64, 3), color) + rng.integers(0, 9, (48, 64, 3))).astype(np.uint8)
        label, score = labels[i] if labels else ("cat", 0.5)
        box, *others = found or [None]
        empty = np.zeros((2, 2), np.float32)
        result = Localization(i, str(i), i / 10, label, score, None, box, empty, SIZE, others=tuple(others))
        pairs.append((Frame(i, str(i), i / 10, image), result))
    return pairs


def followed(pairs: list, window: int = 9, multi: bool = False) -> list[Localization]:
    found = list(follow(iter(pairs), window, multi))
    assert [frame.index for frame, _ in found] == list(range(len(pairs)))
    assert all(len(result.tracks) == len(result.boxes) for _, result in found)
    return [result for _, result in found]


@pytest.mark.parametrize("window", [1, 9, 10, 21])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 30])
def test_boxes_do_not_lag_behind_straight_motion(window: int, count: int) -> None:
    truth = [moving(t) for t in range(count)]
    found = followed(results([[box] for box in truth]), window)
    assert [result.box for result in found] == truth
    assert {result.tracks for result in found} == {(1,)}


def test_a_gap_is_filled_on_the_line_and_the_ends_are_not() -> None:
    truth = [[moving(t)] for t in range(20)]
    holes = [[] if t in (0, 6, 7, 8, 19) else boxes for t, boxes in enumerate(truth)]
    found = followed(results(holes))
    assert [list(result.boxes) for result in found] == [[], *truth[1:19], []]


def test_a_gap_longer_than_half_the_window_ends_the_track() -> None:
    boxes = [[] if 6 <= t < 12 else [(10, 10, 50, 50)] for t in range(20)]
    found = followed(results(boxes))
    assert [result.tracks for result in found] == [(1,)] * 6 + [()] * 6 + [(2,)] * 8


def test_a_box_that_is_wrong_in_one_frame_does_not_count() -> None:
    boxes = [[moving(t)] for t in range(20)]
    boxes[9] = [(150, 80, 190, 110)]
    found = followed(results(boxes))
    assert [result.box for result in found] == [moving(t) for t in range(20)]


def test_noise_becomes_smaller_and_the_motion_stays() -> None:
    rng = np.random.default_rng(0)
    noisy = [tuple(int(v) for v in np.array(moving(t)) + rng.integers(-4, 5, 4)) for t in range(24)]
    found = [result.box for result in followed(results([[box] for box in noisy]))]
    exact = np.array([moving(t) for t in range(24)])
    before, after = (np.abs(np.array(boxes) - exact)[4:-4].mean() for boxes in (noisy, found))
    assert after < 0.6 * before

    def jitter(boxes: list) -> float:
        return float(np.abs(np.diff(np.array(boxes), 2, axis=0)).mean())

    assert jitter(found) < 0.3 * jitter(noisy)


def test_a_cut_ends_a_track_even_if_the_boxes_overlap() -> None:
    before, after = (20, 20, 80, 80), (30, 24, 100, 90)
    boxes = [[before]] * 12 + [[after]] * 12
    found = followed(results(boxes, cut=12))
    assert [result.box for result in found] == [before] * 12 + [after] * 12
    assert [result.tracks for result in found] == [(1,)] * 12 + [(2,)] * 12
    one = followed(results(boxes))  # without the cut it is one object, whose boxes change slowly
    assert {result.tracks for result in one} == {(1,)}
    assert one[12].box not in (before, after)


def test_several_objects_keep_their_numbers_while_their_order_changes() -> None:
    left = [(10, 10, 40, 40 + t) for t in range(12)]
    right = [(100, 20, 140, 60) for _ in range(12)]
    boxes = [[a, b] if t % 2 else [b, a] for t, (a, b) in enumerate(zip(left, right, strict=True))]
    found = followed(results(boxes), multi=True)
    for t, result in enumerate(found):
        assert dict(zip(result.tracks, result.boxes, strict=True)) == {1: right[t], 2: left[t]}
    single = followed(results([[b] for b in right]))
    assert [result.others for result in single] == [()] * 12


def test_one_object_is_shown_without_multi() -> None:
    """The box changes between two objects; the one that most frames show wins."""
    a, b = (10, 10, 40, 40), (100, 20, 140, 60)
    boxes = [[b] if t % 3 == 1 else [a] for t in range(18)]
    assert [result.box for result in followed(results(boxes))][3:15] == [a] * 12


def test_the_class_is_that_of_the_window() -> None:
    labels = [("dog", 0.9) if t == 5 else ("cat", 0.5) for t in range(12)]
    found = followed(results([[(10, 10, 40, 40)]] * 12, labels))
    assert {(result.label, result.score) for result in found} == {("cat", 0.5)}


def test_a_frame_of_another_size_begins_a_shot() -> None:
    pairs = results([[(10, 10, 40, 40)]] * 10)
    pairs[5:] = [(frame, replace(result, size=(90, 90))) for frame, result in pairs[5:]]
    assert [result.tracks for result in followed(pairs)] == [(1,)] * 5 + [(2,)] * 5


def test_boxes_stay_inside_the_frame() -> None:
    boxes = [
        (10 - 3 * t, 5, 60 - 3 * t, 50) for t in range(4)
    ]  # leaves to the left, then is lost at the edge
    inside = [tuple(max(v, 0) for v in box) for box in boxes]
    for result in followed(results([[box] for box in inside])):
        x0, y0, x1, y1 = result.box
        assert 0 <= x0 <= x1 < SIZE[0]
        assert 0 <= y0 <= y1 < SIZE[1]


def test_the_table_has_each_track_once() -> None:
    labels = [("cat", 0.9)] * 3 + [("dog", 0.3)] * 9
    table = TrackTable()
    boxes = [[(10, 10, 40, 40)]] * 6 + [[(100, 20, 140, 60)]] * 6
    for _, result in results(boxes, labels):
        table.add(replace(result, tracks=(1,) if result.index < 6 else (2,)))
    assert table.rows() == [
        {"track": 1, "class": "cat", "first": 0, "last": 5, "frames": 6},  # 2.7 against 0.9
        {"track": 2, "class": "dog", "first": 6, "last": 11, "frames": 6},
    ]
