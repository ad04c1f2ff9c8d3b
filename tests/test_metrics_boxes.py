"""Boxes from maps and IoU against hand-worked cases and the plain method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from benchmarks.reference.plain_boxes import plain_boxes
from dlib.metrics import box_iou, boxes_from_map, quantize_maps, threshold_grid
from dlib.metrics.boxes import best_matches, level_boxes

TAUS = threshold_grid(0.01)


def smooth_map(rng: np.random.Generator, side: int, sigma: float) -> np.ndarray:
    m = gaussian_filter(rng.random((side, side + 7)), sigma)
    return ((m - m.min()) / (m.max() - m.min())).astype(np.float32)


def blob_map(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    m = np.zeros((side, side))
    for _ in range(4):
        cx, cy, s = rng.uniform(0, side, 2).tolist() + [rng.uniform(2, side / 4)]
        m += rng.uniform(0.2, 1) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s))
    return (m / m.max()).astype(np.float32)


def assert_like_plain(cam: np.ndarray, taus: np.ndarray, multi: bool) -> None:
    ours, plain = boxes_from_map(cam, taus, multi), plain_boxes(cam, taus, multi)
    assert len(ours) == len(plain) == len(taus)
    for tau, a, b in zip(taus, ours, plain, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=f"tau {tau}")


def test_iou_counts_inclusive_pixels() -> None:
    a = [[0, 0, 9, 9], [5, 5, 5, 5]]
    b = [[5, 0, 14, 9], [20, 20, 21, 21], [0, 0, 9, 9]]
    # 10×10 and 10×10 share 5×10; one pixel inside 10×10 boxes
    np.testing.assert_allclose(box_iou(a, b), [[50 / 150, 0, 1], [1 / 100, 0, 1 / 100]], atol=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 11)] * 4), min_size=2, max_size=4))
def test_iou_equals_counting_pixels(raw: list[tuple[int, int, int, int]]) -> None:
    boxes = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in raw]
    masks = []
    for x0, y0, x1, y1 in boxes:
        mask = np.zeros((12, 12), bool)
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
        masks.append(mask)
    truth = [[(m & n).sum() / (m | n).sum() for n in masks] for m in masks]
    np.testing.assert_allclose(box_iou(boxes, boxes), truth, rtol=1e-12)


def test_iou_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"b must have shape \[n, 4\]"):
        box_iou([[0, 0, 1, 1]], [0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"a must have shape \[n, 4\]"):
        box_iou([[0, 0, 1]], [[0, 0, 1, 1]])
    assert box_iou(np.zeros((0, 4)), [[0, 0, 1, 1]]).shape == (0, 1)


def test_hand_worked_box() -> None:
    cam = np.zeros((8, 10), np.float32)
    cam[2:5, 3:7] = 0.5  # x 3..6, y 2..4
    cam[2:4, 3:5] = 1.0  # x 3..4, y 2..3
    cam[7, 9] = 0.3  # a lone pixel in the corner: area 0
    boxes = boxes_from_map(cam, [0.0, 0.49, 0.5, 0.9])
    # bounding rectangles x, y, w, h = 3, 2, 4, 3 and 3, 2, 2, 2; the far corner is x + w, y + h (protocol).
    # 0.5 · 255 = 127.5 truncates to 127, and int(.5 · 255) = 127 is not below it.
    assert [b.tolist() for b in boxes] == [[[3, 2, 7, 5]], [[3, 2, 7, 5]], [[3, 2, 5, 4]], [[3, 2, 5, 4]]]
    every = boxes_from_map(cam, [0.0, 0.9], multi_contour=True)
    assert sorted(every[0].tolist()) == [[3, 2, 7, 5], [9, 7, 9, 7]]  # clipped to W-1, H-1
    assert every[1].tolist() == [[3, 2, 5, 4]]


def test_truncation_to_uint8() -> None:
    cam = torch.tensor([[0.0, 0.0039, 0.00393, 0.9999, 1.0]])
    assert quantize_maps(cam).tolist() == [[0, 0, 1, 254, 255]]
    odd = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.7, -0.2]])
    assert quantize_maps(odd).tolist() == [[0, 255, 0, 255, 0]]
    assert quantize_maps(torch.tensor([[0.5]], dtype=torch.bfloat16)).tolist() == [[127]]
    halves = torch.arange(2**14, dtype=torch.int16).view(torch.float16)[None]  # every float16 from 0 to 2
    np.testing.assert_array_equal(quantize_maps(halves), quantize_maps(halves.double()))
    exact = np.nextafter(1 / 255, 0)  # float32 would round it up to the next level
    assert quantize_maps(np.array([[exact]])).tolist() == [[0]]


@pytest.mark.parametrize("cam", [np.zeros((6, 6)), np.full((6, 6), np.nan), np.full((6, 6), 0.003)])
@pytest.mark.parametrize("multi", [False, True])
def test_no_response_gives_the_zero_box(cam: np.ndarray, multi: bool) -> None:
    assert [b.tolist() for b in boxes_from_map(cam, [0.0, 0.5], multi)] == [[[0, 0, 0, 0]]] * 2


def test_constant_map_is_one_full_box() -> None:
    assert boxes_from_map(np.ones((5, 7)), [0.0, 0.99])[1].tolist() == [[0, 0, 6, 4]]


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 3, 4)])
def test_wrong_map_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cam must be"):
        boxes_from_map(np.zeros(shape), [0.1])


def test_threshold_grid() -> None:
    assert len(threshold_grid(0.001)) == 1000
    assert len(threshold_grid(0.004)) == 250
    np.testing.assert_allclose(threshold_grid(0.3), [0, 0.3, 0.6, 0.9])
    assert threshold_grid(1.0).tolist() == [0.0]
    for steps in range(1, 400):
        for interval in (1 / steps, np.nextafter(1 / steps, 0), np.nextafter(1 / steps, 1)):
            grid = threshold_grid(min(interval, 1.0))
            assert grid[-1] < 1 <= grid[-1] + interval * (1 + 1e-12)
    for bad in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="interval"):
            threshold_grid(bad)


@pytest.mark.parametrize("multi", [False, True])
def test_like_the_plain_method_on_many_maps(multi: bool) -> None:
    rng = np.random.default_rng(3)
    for case in range(60):
        cam = smooth_map(rng, 40, rng.uniform(0.5, 6)) if case % 2 else blob_map(rng, 48)
        if case % 5 == 0:
            cam = np.round(cam * rng.integers(1, 6)) / 5  # few levels, plateaus, peak below 255
        assert_like_plain(cam, TAUS, multi)


def test_like_the_plain_method_at_full_size() -> None:
    assert_like_plain(blob_map(np.random.default_rng(5), 224), threshold_grid(0.001), False)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 2**32 - 1),
    st.integers(1, 255),
    st.booleans(),
)
def test_like_the_plain_method_on_noise(h: int, w: int, seed: int, top: int, multi: bool) -> None:
    u = np.random.default_rng(seed).integers(0, top + 1, (h, w))
    assert_like_plain(u / 255, TAUS, multi)


def test_each_distinct_mask_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    calls = []
    search = cv2.findContours
    monkeypatch.setattr(cv2, "findContours", lambda *a: calls.append(1) or search(*a))
    u = np.array([[0, 10, 20], [20, 200, 200], [0, 0, 255]], np.uint8)
    boxes, group = level_boxes(u, np.arange(256), False)
    # levels 0..9, 10..19, 20..199, 200..254 have different masks; 255 is empty and needs no search
    assert len(calls) == 4
    assert len(boxes) == 5
    assert np.bincount(group).tolist() == [10, 10, 180, 55, 1]


def test_best_match_over_several_boxes() -> None:
    groups = [
        np.array([[0, 0, 0, 0], [2, 2, 5, 5]]),
        np.array([[0, 0, 0, 0]]),
        np.array([[4, 4, 7, 7], [2, 2, 5, 5]]),
    ]
    iou, box = best_matches(groups, [[2, 2, 5, 5], [4, 4, 7, 7]])
    assert iou.tolist() == [1.0, 0.0, 1.0]
    assert box.tolist() == [[2, 2, 5, 5], [0, 0, 0, 0], [4, 4, 7, 7]]
    assert best_matches(groups, np.zeros((0, 4)))[0].tolist() == [0, 0, 0]
