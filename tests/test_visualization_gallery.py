from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from dlib.visualization.gallery import (
    FAILURES,
    GallerySample,
    Reference,
    choose_samples,
    failure_group,
    gallery_samples,
    outcome_counts,
    write_gallery,
)
from helpers.report_experiment import iou, scene


def sample(index: int, value: float, label: str = "cat", box: list[int] | None = None) -> GallerySample:
    return GallerySample(index, f"id{index}", label, label, value, box or [0, 0, 9, 9], [[0, 0, 9, 9]], 0.5)


@pytest.mark.parametrize(
    ("box", "group"),
    [
        ([0, 0, 99, 99], "too large"),  # the object is inside, 4 times the area
        ([45, 45, 54, 54], "too small"),  # on the centre (49.5, 49.5)
        ([26, 26, 40, 40], "part only"),  # inside the object, beside its centre
        ([80, 80, 99, 99], "wrong place"),  # apart
        ([60, 60, 109, 109], "wrong place"),  # 15·15 of 50·50 in common: less than half
        ([25, 25, 74, 34], "part only"),  # a strip along the upper side
    ],
)
def test_failure_groups_by_hand(box: list[int], group: str) -> None:
    assert failure_group(box, [[25, 25, 74, 74]]) == group


def test_the_true_box_that_fits_best_counts() -> None:
    assert failure_group([0, 0, 49, 49], [[300, 300, 310, 310], [10, 10, 29, 29]]) == "too large"
    with pytest.raises(ValueError, match="at least one"):
        failure_group([0, 0, 1, 1], np.zeros((0, 4)))


boxes = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(0, 60)] * 2).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)


@settings(max_examples=150, deadline=None)
@given(boxes, boxes)
def test_failure_groups_agree_with_counted_pixels(box: list[int], gt: list[int]) -> None:
    assume(iou(box, gt) < 0.5)
    masks = np.zeros((2, 64, 64), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (box, gt), strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    common, p, g = (masks[0] & masks[1]).sum(), masks[0].sum(), masks[1].sum()
    center = (gt[0] + gt[2]) / 2, (gt[1] + gt[3]) / 2
    if 2 * common < min(p, g):
        expected = "wrong place"
    elif p >= g:
        expected = "too large"
    elif box[0] <= center[0] <= box[2] and box[1] <= center[1] <= box[3]:
        expected = "too small"
    else:
        expected = "part only"
    assert failure_group(box, [gt]) == expected


def test_choice_by_hand() -> None:
    values = [0.9, 0.8, 0.7, 0.6, 0.55, 0.1]
    chosen = choose_samples([sample(i, v, box=[50, 50, 60, 60]) for i, v in enumerate(values)], per_group=1)
    groups = {
        group: [i for i, names in chosen.items() if group in names] for group in ("best", "median", "worst")
    }
    assert groups == {"best": [0], "median": [2], "worst": [5]}
    assert "wrong place" in chosen[5]
    assert sum("random" in names for names in chosen.values()) == 1


def test_choice_does_not_depend_on_order_and_follows_the_seed() -> None:
    samples = [sample(i, (i * 37 % 101) / 101, "cat" if i % 3 else "dog") for i in range(90)]
    same = [choose_samples(s, seed=3) for s in (samples, samples[::-1])]
    assert same[0] == same[1]
    assert choose_samples(samples, seed=4) != same[0]


def test_every_class_is_shown_even_with_one_frame() -> None:
    chosen = choose_samples([sample(0, 0.9, "cat"), sample(1, 0.2, "dog")])
    assert set(chosen) == {0, 1}
    assert {"best", "median", "worst", "random"} <= set(chosen[0])


def test_outcomes_count_every_sample_once() -> None:
    samples = [
        sample(i, v, "cat" if i < 4 else "dog", [0, 0, 50, 50]) for i, v in enumerate([0.5, 0.49, 0, 1, 0.2])
    ]
    counts = outcome_counts(samples)
    assert counts["cat"]["hit"] == 2
    assert counts["cat"]["too large"] == 2
    assert counts["dog"] == {"hit": 0, **dict.fromkeys(FAILURES, 0), "too large": 1}


def test_a_frame_without_a_known_box_is_left_out() -> None:
    row = {"label": "cat", "predicted": "cat", "box": [0, 0, 1, 1]}
    table = [
        {**row, "index": 0, "best_iou": None, "tau": None},
        {**row, "index": 1, "best_iou": 0.5, "tau": 0.2},
    ]
    found = gallery_samples(table, ["a", "b"], {1: [[0, 0, 1, 1]]})
    assert [sample.id for sample in found] == ["b"]


def test_experiments_on_the_same_frames_share_the_random_ones() -> None:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2):
        samples = [sample(i, rng.random(), "cat" if i % 3 else "dog") for i in range(60)]
        drawn.append({i for i, groups in choose_samples(samples).items() if "random" in groups})
    assert len(drawn[0]) == 4
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("with_classifier", [False, True])
def test_written_gallery(tmp_path: Path, with_classifier: bool) -> None:
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(6)]
    table = [
        {
            "index": i,
            "label": ("cat", "bird")[i % 2],
            "predicted": "bird",
            "best_iou": iou(gt, gt),
            "box": gt,
            "tau": 0.3,
        }
        for i, (_, _, gt) in enumerate(scenes)
    ]
    samples = gallery_samples(table, [f"v/{i}.jpg" for i in range(6)], [s[2] for s in scenes])
    cams = {i: cam for i, (_, cam, _) in enumerate(scenes)}
    folder = tmp_path / "deep" / "50"
    wide = [np.asarray(Image.fromarray(frame).resize((160, 90))) for frame, _, _ in scenes]
    reference = Reference("classifier", cams, {"cat": 0.5, "bird": None}) if with_classifier else None
    chosen = choose_samples(samples)
    records = write_gallery(folder, samples, wide.__getitem__, cams, reference, chosen=chosen)
    assert json.loads((folder / "gallery.json").read_text()) == records
    assert {r["label"] for r in records} == {"cat", "bird"}
    for record in records:
        panels = 3 if with_classifier else 2
        for name in ("image", "plain"):
            with Image.open(folder / record[name]) as picture:
                # 16 to 9, as the frame, with 224 pixels on the shorter side.
                assert picture.width == panels * 398 + (panels - 1) * 4
                assert picture.height == 224 + (24 if name == "image" else 0)
        assert record["gt"] == [[int(v) for v in scenes[record["index"]][2]]]
        if with_classifier:
            known = record["label"] == "cat"  # no threshold of birds is known
            assert [m["box"] is not None for m in record["strip"]["maps"]] == [known, True]
    assert json.loads((folder / "outcomes.json").read_text())["cat"]["hit"] == 3
    assert not list(folder.glob("*.tmp"))
