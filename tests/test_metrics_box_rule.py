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
from dlib.metrics.boxes import best_matches
from dlib.metrics.discriminant import FeatureDiscriminant
from dlib.metrics.regions import region_boxes
from helpers.clips import scene
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
def documented() -> Callable[[np.ndarray, np.ndarray], tuple[int, int, int, int]]:
    """The function ``box`` of doc/boxes.md."""
    text = Path(ROOT, "doc/boxes.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import cv2\n.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(code, names)
    return names["box"]


def test_the_documented_lines_give_the_same_boxes(documented: Callable) -> None:
    for seed in range(40):
        u, frame = blobs(seed)
        cam = u / np.float32(255) + 1e-4
        assert documented(cam, frame) == tuple(rule_boxes(u, frame)[0])
        for channels in (5, 40):
            features = features_of(frame, channels)
            assert documented(cam, frame, features) == tuple(rule_boxes(u, frame, features=features)[0])
    assert documented(np.zeros((9, 9)), np.zeros((9, 9, 3), np.uint8)) == (0, 0, 0, 0)


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
        found = documented(cam, small, *more)
        (result,) = localizer.localize(small)
        assert frame_box(np.array(found), 32, (32, 32)) == result.box is not None
