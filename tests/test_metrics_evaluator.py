"""The report against hand-worked samples and a brute-force evaluation written from the protocol."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch

from benchmarks.reference.plain_boxes import plain_boxes
from dlib.metrics import BoxEvaluator, LocalizationReport, threshold_grid

NAMES = ["bird", "boat", "car", "cat", "cow", "dog"]
SIDE = 24


def make_split(n: int, classes: int, seed: int = 0) -> dict[str, list]:
    """n samples with blobs near their true boxes, so that IoUs spread over 0..1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    split: dict[str, list] = {"cams": [], "labels": [], "logits": [], "boxes": []}
    for i in range(n):
        cx, cy, s = rng.uniform(7, 17), rng.uniform(7, 17), rng.uniform(2, 5)
        cam = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s)) + 0.3 * rng.random((SIDE, SIDE))
        half = s * rng.uniform(0.7, 1.6)
        box = np.clip([cx - half, cy - half, cx + half, cy + half], 0, SIDE - 1).astype(int)
        extra = np.array([[0, 0, 4, 4]]) if i % 3 == 0 else np.zeros((0, 4), int)
        split["cams"].append((cam / cam.max()).astype(np.float32))
        split["labels"].append(int(rng.integers(classes)))
        split["logits"].append(rng.normal(size=classes))
        split["boxes"].append(np.concatenate([box[None], extra]))
    return split


def block(side: int, rows: slice, columns: slice) -> np.ndarray:
    """A map [1, side, side]: 1 in the block, 0 elsewhere."""
    cam = np.zeros((1, side, side), np.float32)
    cam[:, rows, columns] = 1.0
    return cam


SQUARE = block(10, slice(2, 6), slice(2, 6))  # its box is 2, 2, 6, 6: 25 pixels
CORNER = block(12, slice(0, 6), slice(0, 9))  # its box is 0, 0, 9, 6: 70 pixels


def feed(evaluator: BoxEvaluator, split: dict[str, list], rows: list[int], batch: int = 3) -> BoxEvaluator:
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        evaluator.update(
            torch.tensor(np.stack([split["cams"][i] for i in part])),
            torch.tensor([split["labels"][i] for i in part]),
            torch.tensor(np.stack([split["logits"][i] for i in part])),
            [split["boxes"][i] for i in part],
            torch.tensor(part),
        )
    return evaluator


def brute_force(split: dict[str, list], classes: int, interval: float, multi: bool) -> dict[str, dict]:
    """Per metric, σ and class the best share over τ, with pixel counting for the IoU."""
    taus = np.arange(0, 1, interval)
    ious = []
    for cam, truth in zip(split["cams"], split["boxes"], strict=True):
        row = []
        for found in plain_boxes(cam, taus, multi):
            best = 0.0
            for a in found:
                for b in truth:
                    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
                    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
                    shared = max(w, 0) * max(h, 0)
                    areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
                    best = max(best, shared / (sum(areas) - shared))
            row.append(best)
        ious.append(row)
    out: dict[str, dict] = {"corloc": {}, "top1": {}, "top5": {}}
    for metric, k in (("corloc", classes), ("top1", 1), ("top5", min(5, classes))):
        for sigma in (30, 50, 70):
            for c in range(classes):
                rows = [i for i, label in enumerate(split["labels"]) if label == c]
                right = [c in np.argsort(-split["logits"][i])[:k] for i in rows]
                shares = [
                    100 * np.mean([r and ious[i][t] >= sigma / 100 for i, r in zip(rows, right, strict=True)])
                    for t in range(len(taus))
                ]
                best = [t for t, share in enumerate(shares) if share == max(shares)]
                out[metric][sigma, c] = (max(shares), taus[best[len(best) // 2]])
    return out


@pytest.mark.parametrize(("classes", "multi"), [(6, False), (3, True)])
def test_like_brute_force(classes: int, multi: bool) -> None:
    split = make_split(40, classes)
    evaluator = BoxEvaluator(NAMES[:classes], interval=0.02, multi_contour=multi)
    made = feed(evaluator, split, list(range(40))).compute()
    report = made.to_dict()
    truth = brute_force(split, classes, 0.02, multi)
    for metric, table in truth.items():
        for (sigma, c), (share, tau) in table.items():
            entry = report["per_class"][NAMES[c]]
            assert entry[metric][str(sigma)] == pytest.approx(share)
            if metric == "corloc":
                assert entry["best_tau"][str(sigma)] == pytest.approx(tau)
        for sigma in (30, 50, 70):
            mean = np.mean([table[sigma, c][0] for c in range(classes)])
            assert report[metric][str(sigma)] == pytest.approx(mean)
        assert report[metric]["mean"] == pytest.approx(np.mean([v[0] for v in table.values()]))
    assert made.headline == report["headline"] == report["corloc"]["mean" if multi else "50"]
    right = np.argmax(split["logits"], axis=1) == np.array(split["labels"])
    assert report["classification"] == pytest.approx(100 * right.mean())
    assert 0 < report["corloc"]["70"] < report["corloc"]["30"]  # the samples tell the thresholds apart


def test_hand_worked_report() -> None:
    evaluator = BoxEvaluator(["a", "b", "c"], interval=0.5)
    evaluator.update(
        np.concatenate([SQUARE, SQUARE, SQUARE]),
        np.array([0, 0, 1]),
        np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 1.0]]),
        [[[2, 2, 6, 6]], [[2, 2, 8, 6]], [[0, 0, 0, 0], [2, 2, 6, 9]]],  # IoU 1, 25/35, 25/40
        [7, 3, 5],
    )
    report = evaluator.compute()
    d = json.loads(json.dumps(report.to_dict()))
    assert d["per_class"]["a"]["corloc"] == {"30": 100.0, "50": 100.0, "70": 100.0}
    assert d["per_class"]["b"]["corloc"] == {"30": 100.0, "50": 100.0, "70": 0.0}
    assert d["per_class"]["c"] == {
        "samples": 0,
        **{metric: {"30": None, "50": None, "70": None} for metric in ("corloc", "top1", "top5", "best_tau")},
    }
    assert d["corloc"] == {"30": 100.0, "50": 100.0, "70": 50.0, "mean": pytest.approx(250 / 3)}
    assert d["top1"]["50"] == 25.0  # one of two in a, none in b
    assert d["top5"] == d["corloc"]  # fewer than five classes: everyone is in
    assert d["classification"] == pytest.approx(100 / 3)
    assert d["classification_per_class"] == {"a": 50.0, "b": 0.0, "c": None}
    assert d["curves"]["taus"] == [0.0, 0.5]
    assert d["curves"]["70"] == {"a": [100.0, 100.0], "b": [0.0, 0.0], "c": None}
    assert d["per_class"]["a"]["best_tau"]["50"] == 0.5  # the middle one of the best two
    assert report.to_dict(curves=False) == {k: v for k, v in report.to_dict().items() if k != "curves"}
    table = report.samples_table()
    assert [row["index"] for row in table] == [3, 5, 7]
    assert table[1] == {
        "index": 5,
        "label": "b",
        "predicted": "c",
        "best_iou": 25 / 40,
        "box": [2, 2, 6, 6],
        "tau": 0.5,
    }


def test_exact_sigma_counts_as_localized() -> None:
    evaluator = BoxEvaluator(["a"], interval=0.5)
    evaluator.update(CORNER, np.array([0]), np.array([[1.0]]), [[[0, 0, 9, 9]]], [0])  # IoU 70/100
    assert evaluator.compute().to_dict()["corloc"]["70"] == 100.0
    whole = BoxEvaluator(["a"], sigmas=(50, 100))
    whole.update(CORNER, np.array([0]), np.array([[1.0]]), [[[0, 0, 9, 6]]], [0])
    assert whole.compute().to_dict()["corloc"]["100"] == 100.0
    assert len(whole.compute().to_dict()["curves"]["taus"]) == 1000


def test_without_logits_only_corloc_is_known() -> None:
    evaluator = BoxEvaluator(["a", "b"], interval=0.5)
    evaluator.update(SQUARE, np.array([0]), None, [[[2, 2, 6, 6]]], [0])
    report = evaluator.compute()
    found, unknown = report.to_dict(), {"30": None, "50": None, "70": None}
    assert found["corloc"] == {"30": 100.0, "50": 100.0, "70": 100.0, "mean": 100.0}
    assert found["top1"] == found["top5"] == unknown | {"mean": None}
    assert found["per_class"]["a"]["top1"] == found["per_class"]["a"]["top5"] == unknown
    assert report.classification is None
    assert found["classification_per_class"] == {"a": None, "b": None}
    assert report.samples_table()[0]["predicted"] is None


def test_the_table_of_samples_is_that_of_the_nearest_sigma() -> None:
    cam = np.zeros((10, 10), np.float32)
    cam[:8, :8], cam[:4, :4] = 0.3, 1.0  # boxes of 81 and 25 pixels: IoU 1 and 25/81 with the true one
    evaluator = BoxEvaluator(["a"], interval=0.5, multi_iou=True, sigmas=(1, 30, 60, 90))
    evaluator.update(cam[None], np.array([0]), np.array([[1.0]]), [[[0, 0, 8, 8]]], [0])
    report = evaluator.compute()
    assert report.best_taus() == {"1": {"a": 0.5}, "30": {"a": 0.5}, "60": {"a": 0.0}, "90": {"a": 0.0}}
    # Thresholds of other data may lie anywhere: from 1 on no pixel is above, from 0 down every pixel is.
    for tau, corloc in ((1.0, 0.0), (7.0, 0.0), (0.0, 100.0), (-0.5, 100.0)):
        chosen = report.at_taus({sigma: {"a": tau} for sigma in (1, 30, 60, 90)})
        assert chosen["corloc"]["60"] == chosen["corloc"]["30"] == corloc
    (row,) = report.samples_table()
    assert (row["tau"], row["box"], row["best_iou"]) == (0.0, [0, 0, 8, 8], 1.0)
    evaluator.sigmas = (1, 30)
    (row,) = evaluator.compute().samples_table()
    assert (row["tau"], row["box"], row["best_iou"]) == (0.5, [0, 0, 4, 4], 25 / 81)


def test_a_threshold_below_zero_counts_as_zero() -> None:
    cam = np.zeros((10, 10), np.float32)
    cam[:8, :8], cam[:4, :4] = 0.005, 1.0  # levels 1 and 255
    evaluator = BoxEvaluator(["a"], interval=0.5)
    evaluator.update(cam[None], np.array([0]), np.array([[1.0]]), [[[0, 0, 8, 8]]], [0])
    taus = {sigma: {"a": -0.5} for sigma in (30, 50, 70)}
    assert evaluator.compute().at_taus(taus)["corloc"]["70"] == 100.0


def test_a_sample_that_comes_again_counts_once() -> None:
    given = (np.array([0]), np.array([[1.0]]), [[[2, 2, 6, 6]]], [3])
    evaluator = BoxEvaluator(["a"], interval=0.5)
    evaluator.update(SQUARE, *given)
    first = evaluator.state()
    evaluator.update(SQUARE[:, ::-1, ::-1], *given)  # another map: IoU 9/41 with the box
    assert evaluator.compute().headline == 100.0
    other = BoxEvaluator(["a"], interval=0.5)
    other.update(np.zeros((1, 10, 10)), *given)
    nothing = other.state()
    for one, two, expected in ((first, nothing, 100.0), (nothing, first, 0.0)):
        merged = BoxEvaluator(["a"], interval=0.5)
        merged.merge([one, two])
        assert merged.compute().headline == expected
        merged.update(SQUARE, *given)
        assert merged.compute().headline == expected


def test_some_samples_without_classes_or_frames() -> None:
    evaluator = BoxEvaluator(["a"], interval=0.5)
    frame = torch.zeros(1, 3, 10, 10, dtype=torch.uint8)
    evaluator.update(SQUARE, np.array([0]), np.array([[1.0]]), [[[2, 2, 8, 8]]], [0], frame)  # IoU 25/49
    report = evaluator.compute()
    assert report.to_dict()["box_rule"]["corloc"]["50"] == 100.0
    evaluator.update(SQUARE, np.array([0]), None, [[[2, 2, 6, 6]]], [1])
    report = evaluator.compute()
    assert "box_rule" not in report.to_dict()
    assert report.classification is None
    assert report.to_dict()["top1"]["50"] is None


def test_the_rules_box_at_exactly_sigma_is_localized() -> None:
    evaluator = BoxEvaluator(["a"], interval=0.5)
    frame = torch.zeros(1, 3, 12, 12, dtype=torch.uint8)
    evaluator.update(CORNER, np.array([0]), None, [[[0, 0, 9, 9]]], [0], frame)  # IoU 70/100
    assert evaluator.compute().to_dict()["box_rule"]["corloc"]["70"] == 100.0
    finer = BoxEvaluator(["a"], interval=0.5, sigmas=(50, 71))
    finer.update(CORNER, np.array([0]), None, [[[0, 0, 9, 9]]], [0], frame)
    assert finer.compute().to_dict()["box_rule"]["corloc"] == {"50": 100.0, "71": 0.0, "mean": 50.0}


def test_logits_of_any_kind() -> None:
    cams, boxes = np.ones((2, 4, 4)), [[[0, 0, 3, 3]]] * 2
    logits = torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.bfloat16, requires_grad=True)
    evaluator = BoxEvaluator(["a", "b"])
    evaluator.update(cams, torch.tensor([1, 1]), logits, boxes, torch.tensor([0, 1]))
    assert evaluator.compute().classification == 50.0


def test_batches_order_workers_and_processes_do_not_matter() -> None:
    split = make_split(31, 4)
    make = lambda workers=0: BoxEvaluator(NAMES[:4], interval=0.01, workers=workers)  # noqa: E731
    whole = feed(make(), split, list(range(31)), batch=31).compute()
    shuffled = np.random.default_rng(0).permutation(31).tolist()
    for workers in (1, 2):
        others, threaded = set(threading.enumerate()), make(workers)
        assert feed(threaded, split, shuffled, batch=4).compute().to_dict() == whole.to_dict()
        threads = set(threading.enumerate()) - others
        threaded.close()
        assert threads
        assert not any(thread.is_alive() for thread in threads)
        threaded.close()  # once more, which does nothing
    ranks = [feed(make(), split, list(range(r, 31, 3))) for r in range(3)]
    feed(ranks[1], split, [0, 3, 6])  # padding of a sampler: these belong to rank 0
    for order in ([0, 1, 2], [2, 1, 0]):
        merged = make()
        merged.merge([ranks[r].state() for r in order])
        merged.merge([ranks[0].state()])
        assert merged.compute().to_dict() == whole.to_dict()
        assert merged.compute().samples_table() == whole.samples_table()


def test_thresholds_from_validation() -> None:
    classes = NAMES[:3]
    val = feed(BoxEvaluator(classes, interval=0.04), make_split(20, 3, seed=1), list(range(20))).compute()
    split = make_split(30, 3, seed=2)
    test = feed(BoxEvaluator(classes, interval=0.01), split, list(range(30))).compute()
    taus = {sigma: dict(by_class) for sigma, by_class in val.best_taus().items()}
    result = test.at_taus(taus)
    hits: dict[str, list[bool]] = {name: [] for name in classes}
    for cam, truth, label in zip(split["cams"], split["boxes"], split["labels"], strict=True):
        name = classes[label]
        found = plain_boxes(cam, np.array([taus["50"][name]]))[0][0]
        masks = np.zeros((1 + len(truth), SIDE, SIDE), bool)
        for mask, b in zip(masks, [found, *truth], strict=True):
            mask[b[1] : b[3] + 1, b[0] : b[2] + 1] = True
        hits[name].append(max((masks[0] & m).sum() / (masks[0] | m).sum() for m in masks[1:]) >= 0.5)
    for name in classes:
        assert result["per_class"][name]["corloc"]["50"] == pytest.approx(100 * np.mean(hits[name]))
    assert result["corloc"]["50"] == pytest.approx(100 * np.mean([np.mean(h) for h in hits.values()]))
    own = test.to_dict()["corloc"]
    assert all(result["corloc"][key] <= own[key] for key in own)
    assert test.at_taus(test.best_taus())["corloc"] == own
    # a class that validation lacks takes the mean of the others
    partial = {int(s): {**t, classes[0]: None} for s, t in taus.items()}
    filled = {s: {**t, classes[0]: (t[classes[1]] + t[classes[2]]) / 2} for s, t in taus.items()}
    assert test.at_taus(partial) == test.at_taus(filled)
    with pytest.raises(ValueError, match="no threshold for sigma 70"):
        test.at_taus({"30": taus["30"], "50": taus["50"], "70": {classes[0]: None}})


def test_maps_without_response_and_broken_numbers() -> None:
    evaluator = BoxEvaluator(["a", "b"], interval=0.25)
    cams = np.stack([np.zeros((8, 8)), np.full((8, 8), np.nan)])
    logits = np.array([[np.nan, np.nan], [np.nan, -5.0]])
    evaluator.update(cams, np.array([0, 1]), logits, [[[0, 0, 0, 0]], [[3, 3, 5, 5]]], [0, 1])
    report = evaluator.compute()
    assert [row["best_iou"] for row in report.samples_table()] == [
        1.0,
        0.0,
    ]  # the box (0, 0, 0, 0) is one pixel
    assert report.classification == 100.0
    json.dumps(report.to_dict(), allow_nan=False)


def test_empty_report() -> None:
    report = BoxEvaluator(["a", "b"]).compute()
    d = report.to_dict()
    assert isinstance(report, LocalizationReport)
    assert (d["samples"], report.headline, report.classification, d["corloc"]["mean"]) == (
        0,
        None,
        None,
        None,
    )
    assert report.samples_table() == []


def test_equal_logits_prefer_the_lower_class() -> None:
    evaluator = BoxEvaluator(["a", "b"], interval=0.5)
    cams = np.ones((2, 4, 4))
    evaluator.update(cams, np.array([0, 1]), np.zeros((2, 2)), [[[0, 0, 3, 3]]] * 2, [0, 1])
    assert evaluator.compute().to_dict()["classification_per_class"] == {"a": 100.0, "b": 0.0}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"classes": ["a"], "interval": 0}, "interval"),
        ({"classes": ["a"], "sigmas": ()}, "sigmas"),
        ({"classes": ["a"], "sigmas": (30, 70)}, "must contain 50"),
        ({"classes": ["a"], "sigmas": (0, 50)}, "sigmas"),
        ({"classes": ["a"], "sigmas": (50, 101)}, "sigmas"),
    ],
)
def test_wrong_settings(arguments: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BoxEvaluator(**arguments)


def test_wrong_batches() -> None:
    evaluator = BoxEvaluator(["a", "b"])
    cams, boxes = np.zeros((2, 4, 4)), [[[0, 0, 1, 1]]] * 2
    with pytest.raises(ValueError, match="do not describe one batch"):
        evaluator.update(cams, np.array([0]), np.zeros((2, 2)), boxes, [0, 1])
    with pytest.raises(ValueError, match=r"logits must be \[B, 2\]"):
        evaluator.update(cams, np.array([0, 1]), np.zeros((2, 3)), boxes, [0, 1])
    for label in (2, -1):
        with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
            evaluator.update(cams, np.array([0, label]), np.zeros((2, 2)), boxes, [0, 1])


def test_threshold_of_another_interval_reaches_every_level() -> None:
    split = make_split(12, 2, seed=4)
    fine = feed(BoxEvaluator(NAMES[:2], interval=0.001), split, list(range(12))).compute()
    coarse = feed(BoxEvaluator(NAMES[:2], interval=0.1), split, list(range(12))).compute()
    taus = {sigma: dict.fromkeys(NAMES[:2], 0.737) for sigma in (30, 50, 70)}
    assert fine.at_taus(taus) == coarse.at_taus(taus)
    at = int(np.searchsorted(threshold_grid(0.001), 0.737))
    curve = fine.to_dict()["curves"]["50"]
    assert fine.at_taus(taus)["per_class"]["bird"]["corloc"]["50"] == pytest.approx(curve["bird"][at])
