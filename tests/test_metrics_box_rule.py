"""Boxes without thresholds: the formula pixel by pixel in float64, scenes worked by hand, the lines of doc/boxes.md."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from itertools import product
from math import exp, log
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dlib import Localizer, export
from dlib.configure.constants import COLOCAM
from dlib.localizer.result import frame_box
from dlib.metrics import BoxEvaluator, boxes_from_map, foreground_odds, quantize_maps, rule_boxes
from dlib.metrics import evaluator as evaluator_module
from dlib.metrics.box_rule import View, shot_masks, shot_odds
from dlib.metrics.boxes import best_matches, mask_boxes
from dlib.metrics.discriminant import FeatureDiscriminant
from dlib.metrics.regions import region_boxes
from helpers.clips import scene
from helpers.moving import SIDE, moving_square
from helpers.paths import ROOT
from helpers.saved_experiment import save_experiment

RED, GREEN, BLUE = (200, 30, 30), (30, 160, 40), (20, 40, 190)


def blobs(seed: int, height: int = 24, width: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """A uint8 map with two hills, and a frame of noisy patches."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    cam = np.zeros((height, width))
    for strength in (1.0, rng.uniform(0.3, 0.9)):
        cx, cy, s = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(2, 8)
        cam += strength * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s))
    patches = rng.integers(0, 256, (3, 4, 3)).repeat(8, 0).repeat(8, 1)[:height, :width]
    frame = np.clip(patches + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    return quantize_maps(cam / cam.max() * rng.uniform(0.2, 1)), frame


def plain_odds(u: np.ndarray, frame: np.ndarray, features: np.ndarray | None = None) -> np.ndarray:
    """The formula of `foreground_odds`, one pixel and one cell after the other."""
    pixels = list(product(range(u.shape[0]), range(u.shape[1])))
    cell = {p: tuple(int(v) // 16 for v in frame[p]) for p in pixels}
    prior = {p: 10 * (int(u[p]) / int(u.max()) - 0.75) for p in pixels}
    binomial = dict(zip(range(-2, 3), (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16), strict=True))

    def colors(weight: dict) -> dict:
        total, smooth = sum(weight.values()), {}
        for p in pixels:
            for step in product(binomial, repeat=3):
                near = tuple(c + d for c, d in zip(cell[p], step, strict=True))
                share = binomial[step[0]] * binomial[step[1]] * binomial[step[2]]
                smooth[near] = smooth.get(near, 0.0) + share * weight[p] / total
        return smooth

    odds = prior
    for _ in range(3):
        inside = {p: 1 / (1 + exp(-odds[p])) for p in pixels}
        f, b = colors(inside), colors({p: 1 - q for p, q in inside.items()})
        ratio = {p: log((f[cell[p]] + 1e-3) / (b[cell[p]] + 1e-3)) for p in pixels}
        if features is None:
            odds = {p: prior[p] + 2 * ratio[p] for p in pixels}
        else:
            share = np.array([inside[p] for p in pixels]).reshape(u.shape)
            seen = FeatureDiscriminant([features]).odds([share])[0]
            odds = {p: prior[p] + ratio[p] + seen[p] for p in pixels}
    return np.array([odds[p] for p in pixels]).reshape(u.shape)


def features_of(frame: np.ndarray, channels: int = 5) -> np.ndarray:
    """Noisy mixtures of the frame's colours and their squares, at a third of its size: [channels, h, w]."""
    rng = np.random.default_rng(channels)
    small = cv2.resize(frame, (frame.shape[1] // 3, frame.shape[0] // 3), interpolation=cv2.INTER_AREA) / 255
    values = np.concatenate([small, small**2], axis=2) @ rng.normal(size=(6, channels))
    return np.moveaxis(values + rng.normal(0, 0.05, values.shape), 2, 0).astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_odds_are_those_of_the_formula(seed: int) -> None:
    u, frame = blobs(seed, 12, 10)
    features = features_of(frame)
    np.testing.assert_allclose(foreground_odds(u, frame), plain_odds(u, frame), rtol=1e-9, atol=1e-9)
    found = foreground_odds(u, frame, features)
    np.testing.assert_allclose(found, plain_odds(u, frame, features), rtol=1e-9, atol=1e-9)


def test_the_box_encloses_the_largest_contour_of_positive_odds() -> None:
    for seed in range(8):
        u, frame = blobs(seed)
        odds = foreground_odds(u, frame)
        # As a map with two values, through the metric's own boxes of thresholds.
        expected = boxes_from_map((odds > 0).astype(np.float32), [0.5])[0]
        np.testing.assert_array_equal(rule_boxes(u, frame), expected)


def test_several_boxes_are_those_of_the_clear_regions_of_positive_odds() -> None:
    several = 0
    for seed in range(8):
        u, frame = blobs(seed)
        expected = region_boxes((foreground_odds(u, frame) > 0).astype(np.uint8), u)
        np.testing.assert_array_equal(rule_boxes(u, frame, multi_contour=True), expected)
        several += len(expected) > 1
    assert several


def test_the_box_follows_the_colour_from_a_part_to_the_object() -> None:
    """The map is strong on the left half of a red square on green, and fades over the rest and beyond."""
    frame = np.full((40, 40, 3), GREEN, np.uint8)
    frame[10:25, 8:28] = RED
    y, x = np.mgrid[:40, :40]
    u = quantize_maps(np.exp(-((x - 12) ** 2 + (y - 17) ** 2) / (2 * 10.0**2)))
    assert rule_boxes(u, frame).tolist() == [[8, 10, 28, 25]]  # right and lower edge: first pixel outside
    (part,) = boxes_from_map(u / 255, [0.75])[0]
    assert part[2] - part[0] < 16
    assert rule_boxes(u, np.full_like(frame, 90)).tolist() == [part.tolist()]  # one colour says nothing


def test_features_tell_what_colours_do_not() -> None:
    """Everything is grey. The network sees a texture in a square, of which the map is strong on the left half."""
    frame = np.full((48, 48, 3), 90, np.uint8)
    features = np.random.default_rng(0).normal(size=(4, 12, 12)).astype(np.float32)
    features[0, 3:7, 2:8] += 6
    y, x = np.mgrid[:48, :48]
    u = quantize_maps(np.exp(-((x - 14) ** 2 + (y - 19) ** 2) / (2 * 14.0**2)))
    alone = rule_boxes(u, frame)[0]
    x0, y0, x1, y1 = rule_boxes(u, frame, features=features)[0]
    assert (x0, y0, x1, y1) == pytest.approx((8, 12, 32, 28), abs=2)
    assert alone[2] < 28
    np.testing.assert_array_equal(
        rule_boxes(u, frame, features=np.ones((4, 12, 12))), rule_boxes(u, frame, features=features * 0)
    )


def shot(seed: int, channels: int = 0, frames: int = 4) -> list[View]:
    """Frames with hills in different places; ``channels``: of their features, none if 0."""
    pairs = [blobs(10 * seed + i) for i in range(frames)]
    return [View(u, frame, features_of(frame, channels) if channels else None) for u, frame in pairs]


def wide(values: list[np.ndarray], axis: int = 1) -> np.ndarray:
    return np.concatenate(values, axis=axis)


@pytest.mark.parametrize("channels", [0, 3])
def test_frames_that_are_described_together_are_judged_as_one_wide_frame(channels: int) -> None:
    for seed in range(4):
        views = []
        for u, frame, _ in shot(seed):
            u[3, 3] = 255  # in one wide map all parts are over one peak
            features = np.random.default_rng(seed).normal(size=(channels, *u.shape)) if channels else None
            if features is not None:
                features += frame[..., :channels].transpose(2, 0, 1) / 100
                features -= features.mean(axis=(1, 2), keepdims=True)
            views.append(View(u, frame, features))
        features = wide([view.features for view in views], 2) if channels else None
        expected = foreground_odds(
            wide([view.u for view in views]), wide([view.frame for view in views]), features
        )
        np.testing.assert_allclose(wide(shot_odds(views)), expected, rtol=1e-9, atol=1e-9)


def test_one_frame_shows_what_another_ones_map_misses() -> None:
    """An object is half red and half blue on green; the second frame's map knows the red half alone."""
    frame = np.full((40, 60, 3), GREEN, np.uint8)
    frame[10:30, 10:25], frame[10:30, 25:40] = RED, BLUE
    whole, half = np.zeros((2, 40, 60), np.uint8)
    whole[10:30, 10:40], half[10:30, 10:25] = 255, 255
    half[10:30, 25:40] = 150
    assert rule_boxes(half, frame).tolist() == [[10, 10, 25, 30]]
    for mask in shot_masks([View(whole, frame), View(half, frame)]):
        assert mask_boxes(mask, multi_contour=False).tolist() == [[10, 10, 40, 30]]


def test_an_empty_map_says_nothing_about_the_other_frames() -> None:
    for channels in (0, 5):
        views = shot(2, channels)
        empty = views[1]._replace(u=views[1].u * 0)
        with_it = shot_odds([views[0], empty, *views[2:]])
        np.testing.assert_array_equal(with_it.pop(1), np.full(empty.u.shape, -np.inf))
        for found, expected in zip(with_it, shot_odds([views[0], *views[2:]]), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert not any(mask.any() for mask in shot_masks([empty, empty]))


def test_nothing_flat_maps_and_colours_against_the_peak() -> None:
    frame = np.full((30, 40, 3), BLUE, np.uint8)
    assert rule_boxes(np.zeros((30, 40), np.uint8), frame).tolist() == [[0, 0, 0, 0]]
    assert rule_boxes(np.full((30, 40), 7, np.uint8), frame).tolist() == [[0, 0, 39, 29]]
    assert (foreground_odds(np.zeros((30, 40), np.uint8), frame) == -np.inf).all()
    np.testing.assert_allclose(
        foreground_odds(np.full((30, 40), 1, np.uint8), frame), 2.5, atol=1e-6
    )  # 10 · 0.25
    # The peak has the background's colour, and the other marked pixels are too weak: no pixel has positive odds.
    u = np.zeros((30, 40), np.uint8)
    frame[5:15, 5:20], u[5:15, 5:20] = RED, 70
    u[20:22, 30] = 255
    assert not (foreground_odds(u, frame) > 0).any()
    assert rule_boxes(u, frame).tolist() == [[30, 20, 31, 22]]


def test_other_shapes_are_refused() -> None:
    u, frame = blobs(0)
    with pytest.raises(ValueError, match="expected features"):
        rule_boxes(u, frame, features=np.zeros((4, 4)))
    features = features_of(frame)
    with pytest.raises(ValueError, match="expected features"):
        shot_masks([View(u, frame, features), View(u, frame, features[:-1])])
    with pytest.raises(ValueError, match="1 of 2 frames have features"):
        shot_masks([View(u, frame, features), View(u, frame)])
    for a, b in ((u[None], frame), (u, frame[:-1]), (u, frame[..., 0]), (u[:0], frame[:0])):
        with pytest.raises(ValueError, match="expected a map"):
            rule_boxes(a, b)


def split(n: int = 14) -> dict[str, torch.Tensor]:
    pairs = [blobs(seed) for seed in range(n)]
    return {
        "cams": torch.tensor(np.stack([u for u, _ in pairs]) / 255, dtype=torch.float32),
        "frames": torch.tensor(np.stack([frame for _, frame in pairs])).permute(0, 3, 1, 2),
        "labels": torch.arange(n) % 2,
        "logits": torch.zeros(n, 3),
    }


def boxes_near(n: int = 14) -> list[np.ndarray]:
    """A true box per sample: the rule's own, moved by i pixels; the last two are unknown."""
    near = []
    for i in range(n - 2):
        x0, y0, x1, y1 = rule_boxes(*blobs(i))[0].tolist()
        near.append(np.array([[x0, y0, x1 + i, y1]]))
    return [*near, np.zeros((0, 4)), np.zeros((0, 4))]


def fed(rows: list[int], workers: int = 0, frames: bool = True) -> BoxEvaluator:
    evaluator, data, truth = BoxEvaluator(["cat", "dog", "cow"], 0.01, workers=workers), split(), boxes_near()
    for part in (rows[:5], rows[5:]):
        evaluator.update(
            data["cams"][part],
            data["labels"][part],
            data["logits"][part],
            [truth[i] for i in part],
            part,
            data["frames"][part] if frames else None,
        )
    return evaluator


def test_the_evaluator_measures_the_rules_boxes() -> None:
    report = fed(list(range(14))).compute()
    truth, hits = boxes_near(), {"cat": [], "dog": []}
    for i in range(12):
        # The true box has i more columns than the rule's of w columns: the IoU is w / (w + i).
        x0, _, x1, _ = rule_boxes(*blobs(i))[0]
        width = x1 - x0 + 1
        assert truth[i][0, 2] == x1 + i
        hits["cat" if i % 2 == 0 else "dog"].append(width / (width + i))
    found = report.to_dict()["box_rule"]
    for sigma in (30, 50, 70):
        shares = {name: 100 * np.mean(np.array(ious) >= sigma / 100) for name, ious in hits.items()}
        for name, share in shares.items():
            assert found["per_class"][name]["corloc"][str(sigma)] == pytest.approx(share)
        assert found["corloc"][str(sigma)] == pytest.approx(np.mean(list(shares.values())))
    assert 0 < found["corloc"]["70"] < found["corloc"]["30"] <= 100
    assert found["per_class"]["cow"] == {"samples": 0, "corloc": dict.fromkeys(("30", "50", "70"))}
    assert found["per_class"]["cat"]["boxed"] == 6
    assert report.without_thresholds == found["corloc"]["50"]


def test_order_workers_and_processes_do_not_matter() -> None:
    expected = fed(list(range(14))).compute().to_dict()
    threaded = fed(list(range(14))[::-1], workers=2)
    assert threaded.compute().to_dict() == expected
    threaded.close()
    first, second = fed([0, 3, 4, 6, 8, 9]), fed([1, 2, 5, 7, 9, 10, 11, 12, 13])
    first.merge([second.state()])
    assert first.compute().to_dict() == expected


def test_the_evaluator_gives_the_rule_each_frames_features() -> None:
    frames = [blobs(i)[1] for i in range(14)]
    seen = torch.tensor(np.stack([features_of(frame) for frame in frames]))
    evaluator, data, truth = BoxEvaluator(["cat", "dog", "cow"], 0.01), split(), boxes_near()
    rows = list(range(14))
    evaluator.update(data["cams"], data["labels"], data["logits"], truth, rows, data["frames"], seen.half())
    for i in range(12):
        found = rule_boxes(blobs(i)[0], frames[i], features=seen[i].half().numpy())
        assert evaluator.state()["rule_iou"][i] == best_matches([found], truth[i])[0][0]
    assert (evaluator.state()["rule_iou"] != fed(rows).state()["rule_iou"]).any()


GROUPS = [[0, 1, 2, 3], [4, 9], [5, 6, 7], [8]]  # of 14 samples; the others count alone


def grouped(rows: list[int], workers: int = 0) -> BoxEvaluator:
    data, truth = split(), boxes_near()
    seen = torch.tensor(np.stack([features_of(blobs(i)[1]) for i in range(14)]))
    evaluator = BoxEvaluator(["cat", "dog", "cow"], 0.01, workers=workers, groups=GROUPS)
    for part in (rows[:5], rows[5:]):
        values = [data[name][part] for name in ("cams", "labels", "logits")]
        evaluator.update(*values, [truth[i] for i in part], part, data["frames"][part], seen[part])
    return evaluator


def test_the_evaluator_describes_a_groups_samples_together() -> None:
    expected = np.full(14, np.nan)
    for group in [*GROUPS, *([i] for i in range(10, 14))]:
        pairs = [blobs(i) for i in group]
        masks = shot_masks([View(u, frame, features_of(frame)) for u, frame in pairs])
        for i, mask in zip(group, masks, strict=True):
            expected[i] = best_matches([mask_boxes(mask, multi_contour=False)], boxes_near()[i])[0][0]
    found = grouped(list(range(14))).state()
    np.testing.assert_array_equal(found["rule_iou"], expected)
    alone = fed(list(range(14))).state()
    np.testing.assert_array_equal(found["iou"], alone["iou"])  # thresholds know nothing of groups
    assert (found["rule_iou"] != alone["rule_iou"]).any()


def test_order_workers_and_processes_do_not_matter_for_groups() -> None:
    expected = grouped(list(range(14))).compute().to_dict()
    for rows in ([13, 3, 9, 0, 5, 7, 1, 12, 6, 2, 4, 8, 11, 10], list(range(14))[::-1]):
        threaded = grouped(rows, workers=2)
        assert threaded.compute().to_dict() == expected
        threaded.close()
    first, second = grouped([5, 9, 6, 7, 4, 12]), grouped([3, 2, 1, 0, 8, 10, 11, 13])
    first.merge([second.state()])
    assert first.compute().to_dict() == expected


def test_a_group_without_all_its_samples_is_described_by_those_that_came() -> None:
    found = grouped([0, 1, 2, 4, 5, 6, 7, 8]).state()  # 3 and 9 could not be read
    assert found["index"].tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    masks = shot_masks([View(*blobs(i), features_of(blobs(i)[1])) for i in (0, 1, 2)])
    for i, mask in enumerate(masks):
        box = mask_boxes(mask, multi_contour=False)
        assert found["rule_iou"][i] == best_matches([box], boxes_near()[i])[0][0]


def test_features_that_wait_for_a_worker_have_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [blobs(i)[1] for i in range(14)]
    seen = torch.tensor(np.stack([features_of(frame) for frame in frames]))
    data, truth, rows = split(), boxes_near(), list(range(14))
    for limit, waiting in ((2**28, 14), (5 * seen[0].nbytes, 5), (1, 0)):
        monkeypatch.setattr(evaluator_module, "_PENDING_FEATURES", limit)
        evaluator = BoxEvaluator(["cat", "dog", "cow"], 0.01, workers=1)
        evaluator.update(data["cams"], data["labels"], data["logits"], truth, rows, data["frames"], seen)
        assert len(evaluator._pending) == waiting
        evaluator.close()


def test_without_frames_nothing_is_said_of_the_rule() -> None:
    report = fed(list(range(14)), frames=False).compute()
    assert "box_rule" not in report.to_dict()
    assert report.without_thresholds is None
    data = split()
    with pytest.raises(ValueError, match="are not the pixels of maps"):
        BoxEvaluator(["cat", "dog", "cow"]).update(
            data["cams"], data["labels"], data["logits"], boxes_near(), range(14), data["frames"][..., :-1]
        )


@pytest.fixture(scope="module")
def documented() -> Callable[..., list[tuple[int, int, int, int]]]:
    """The function ``boxes`` of doc/boxes.md."""
    text = Path(ROOT, "doc/boxes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import cv2\n.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["boxes"]


def test_the_documented_lines_give_the_same_boxes(documented: Callable) -> None:
    for seed in range(40):
        u, frame = blobs(seed)
        cam = u / np.float32(255) + 1e-4
        assert documented([cam], [frame]) == [tuple(rule_boxes(u, frame)[0])]
        for channels in (5, 40):
            features = features_of(frame, channels)
            assert documented([cam], [frame], [features]) == [
                tuple(rule_boxes(u, frame, features=features)[0])
            ]
    assert documented(np.zeros((2, 9, 9)), np.zeros((2, 9, 9, 3), np.uint8)) == 2 * [(0, 0, 0, 0)]


@pytest.mark.parametrize("channels", [0, 5, 40])
def test_the_documented_lines_describe_frames_together(channels: int, documented: Callable) -> None:
    for seed in range(8):
        views = shot(seed, channels)
        views[seed % 4] = views[seed % 4]._replace(u=views[0].u * 0)  # one map of the four is empty
        expected = [tuple(mask_boxes(mask, multi_contour=False)[0]) for mask in shot_masks(views)]
        cams = [view.u / np.float32(255) + 1e-4 * view.u.any() for view in views]
        features = [view.features for view in views] if channels else None
        assert documented(cams, [view.frame for view in views], features) == expected


@pytest.mark.parametrize("own", [(4, 3), (1, 0)])
def test_the_documented_lines_see_what_moves(own: tuple[int, int], documented: Callable) -> None:
    frames, masks = moving_square(4, (1, 0), own)  # the second: the square is at rest against the background
    views = []
    for i, (frame, mask) in enumerate(zip(frames, masks, strict=True)):
        u = np.full(mask.shape, 130, np.uint8)
        if i != 2:
            u[:, : SIDE // 2][mask[:, : SIDE // 2]] = 255
        views.append(View(u[: SIDE - 4], frame[: SIDE - 4]))
    expected = [tuple(mask_boxes(mask, multi_contour=False)[0]) for mask in shot_masks(views)]
    cams = [view.u / np.float32(255) + 1e-4 for view in views]
    assert documented(cams, [view.frame for view in views]) == expected


@pytest.mark.parametrize("features", [False, True])
def test_the_documented_lines_with_an_exported_model(
    features: bool, documented: Callable, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    folder = save_experiment(tmp_path, COLOCAM)
    if features:
        (settings,) = folder.glob("*/config_model.yaml")
        settings.write_text(settings.read_text() + "box_features: true\n")
    file = export.export(folder, "torchscript", tmp_path / "m.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = torch.jit.load(str(file))
    localizer = Localizer(folder)
    for i in range(4):
        frame = scene(i, 96, 80)
        small = cv2.resize(frame, (32, 32), interpolation=cv2.INTER_AREA)
        _, *seen = model(torch.tensor(small).permute(2, 0, 1)[None].float())
        assert len(seen) == 1 + features
        cam, *more = (value[0].detach().numpy() for value in seen)
        (found,) = documented(cam[None], small[None], *(each[None] for each in more))
        (result,) = localizer.localize(small)
        assert frame_box(np.array(found), 32, (32, 32)) == result.box is not None
