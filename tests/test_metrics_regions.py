"""Boxes of the clear regions of a mask, against scikit-image's regions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from dlib.metrics import quantize_maps
from dlib.metrics.boxes import boxes_from_map, threshold_mask
from dlib.metrics.regions import MIN_SHARE, region_boxes


def plain_regions(mask: np.ndarray, u: np.ndarray, share: float) -> list[list[int]]:
    height, width = mask.shape
    found = []
    for number, region in enumerate(regionprops(label(mask > 0, connectivity=2))):
        mass = sum(int(u[y, x]) for y, x in region.coords)
        y0, x0, y1, x1 = region.bbox  # the ends are outside
        found.append((-mass, number, [x0, y0, min(x1, width - 1), min(y1, height - 1)]))
    found.sort()
    return [box for mass, _, box in found if -mass >= share * -found[0][0]] or [[0, 0, 0, 0]]


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.0, MIN_SHARE, 0.5, 1.0]))
def test_boxes_are_those_of_the_regions_by_mass(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    u = rng.integers(1, 256, (rng.integers(1, 14), rng.integers(1, 14))).astype(np.uint8)
    mask = (rng.random(u.shape) < rng.choice([0, 0.2, 0.5, 1])).astype(np.uint8)
    assert region_boxes(mask, u, share).tolist() == plain_regions(mask, u, share)


def test_mass_counts_and_not_area() -> None:
    u = np.zeros((20, 30), np.uint8)
    u[2:12, 2:12] = 50  # 100 pixels, mass 5000
    u[15:20, 20:30] = 200  # 50 pixels, mass 10000
    u[0, 29] = 255  # a speck
    assert region_boxes(u, u).tolist() == [[20, 15, 29, 19], [2, 2, 12, 12]]
    assert region_boxes(u, u, min_share=0.6).tolist() == [[20, 15, 29, 19]]
    assert len(region_boxes(u, u, min_share=0.0)) == 3


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.99])
def test_the_mask_of_a_threshold_is_the_metrics(tau: float) -> None:
    from dlib.metrics.boxes import mask_boxes

    cam = np.random.default_rng(1).random((9, 11)).astype(np.float32)
    mask = threshold_mask(quantize_maps(cam), tau)
    for multi in (False, True):
        np.testing.assert_array_equal(mask_boxes(mask, multi), boxes_from_map(cam, [tau], multi)[0])
