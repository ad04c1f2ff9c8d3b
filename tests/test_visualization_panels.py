from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dlib.visualization.overlays import PREDICTED_COLOR, TRUE_COLOR
from dlib.visualization.panels import MapPanel, Strip, panel_size, placed_box
from helpers.report_experiment import iou


@pytest.mark.parametrize(
    ("frame", "drawn"),
    [((1280, 720), (569, 320)), ((160, 90), (398, 224)), ((300, 280), (300, 280)), ((100, 400), (224, 896))],
)
def test_a_panel_has_the_shape_of_its_frame(frame: tuple[int, int], drawn: tuple[int, int]) -> None:
    assert panel_size(*frame) == drawn


def test_a_box_covers_the_same_part_of_the_panel() -> None:
    assert placed_box([0, 0, 99, 99], 100, (300, 200)) == [0, 0, 299, 199]
    assert placed_box([10, 10, 19, 19], 100, (300, 200)) == [30, 20, 59, 39]
    assert placed_box([10, 10, 10, 10], 100, (50, 20)) == [5, 2, 5, 2]  # never less than a pixel


def test_steps_give_the_box_of_every_threshold() -> None:
    """Against connected regions of scipy, on a map of nested rectangles, so that the region's box is sure."""
    cam = np.zeros((40, 40), np.float32)
    for inset, value in ((4, 0.2), (8, 0.5), (12, 0.9)):
        cam[inset:-inset, inset:-inset] = value
    truth = [8, 8, 31, 31]
    panel = MapPanel.of("m", cam, [truth], 0.4)
    assert panel.peak == int(255 * np.float32(0.9))
    for tau in np.linspace(0, 0.99, 34):
        level = int(tau * panel.peak)
        step = [s for s in panel.steps if s[0] <= level][-1]
        (region,) = ndimage.find_objects(ndimage.label(np.floor(cam * 255) > level)[0])
        # The metric's right and lower edges are one beyond the region, and at most the map's last pixel.
        expected = [region[1].start, region[0].start, min(region[1].stop, 39), min(region[0].stop, 39)]
        assert step[1:5] == expected
        assert step[5] == pytest.approx(iou(expected, truth), abs=1e-4)
    assert panel.box == [8, 8, 32, 32]
    assert panel.iou == pytest.approx(iou([8, 8, 32, 32], truth))


def test_boxes_are_drawn_only_where_they_are_wanted() -> None:
    cam = np.zeros((50, 50), np.float32)
    cam[10:30, 10:30] = 1
    frame = np.full((100, 200, 3), 90, np.uint8)
    strip = Strip(frame, "cat", [[5, 5, 40, 40]], [MapPanel.of("map", cam, [[5, 5, 40, 40]], 0.5)])
    with_boxes, without = (np.asarray(strip.picture(boxes=b)) for b in (True, False))
    assert without.shape[:2] == (224, 2 * 448 + 4)
    for color, count in ((TRUE_COLOR, 2), (PREDICTED_COLOR, 1)):
        # A row across the middle meets the left and the right edge of each box.
        row = (with_boxes[100] == color).all(axis=1)
        assert np.diff(np.flatnonzero(row), prepend=-9).__gt__(1).sum() == 2 * count
        assert not (without == color).all(axis=2).any()
