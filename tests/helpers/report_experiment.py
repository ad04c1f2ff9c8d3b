"""Builds an experiment folder as a run writes it, with made-up numbers and drawn frames."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dlib.visualization.gallery import (
    Reference,
    choose_samples,
    gallery_samples,
    write_gallery,
    write_seed_examples,
)

CLASSES = ["aeroplane", "bird", "boat", "car", "cat", "<script>alert('x')</script>"]
TERMS = {"sl_clc": 1.0, "crf_clc": 2e-9, "rgb_jcrf_clc": 9.0, "max_sizepos_clc": 0.01}


def scene(rng: np.random.Generator, size: int = 112) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Frame [H, W, 3] uint8 with one ellipse, its soft mask [H, W] and its box."""
    y, x = np.mgrid[:size, :size]
    cx, cy = rng.integers(size // 3, 2 * size // 3, 2)
    rx, ry = rng.integers(size // 8, size // 4, 2)
    distance = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
    sky = np.stack([90 + 60 * y / size, 140 + 40 * y / size, 190 - 90 * y / size], axis=-1)
    texture = 14 * np.sin(x / 5 + rng.uniform(0, 6))[..., None] * np.cos(y / 7)[..., None]
    frame = sky + texture
    frame[distance <= 1] = np.array(rng.integers(30, 255, 3)) + texture[distance <= 1]
    soft = np.exp(-0.6 * np.maximum(distance - 0.6, 0))
    return np.clip(frame, 0, 255).astype(np.uint8), soft, [cx - rx, cy - ry, cx + rx, cy + ry]


def report_dict(
    classes: list[str], level: float, rng: np.random.Generator, taus: int = 101
) -> dict[str, Any]:
    """A localization report around ``level`` percent, with curves that agree with the table."""
    grid = np.linspace(0, 0.99, taus)
    per_class: dict[str, Any] = {}
    curves: dict[str, Any] = {"taus": grid.tolist(), "30": {}, "50": {}, "70": {}}
    for name in classes:
        row: dict[str, Any] = {"samples": 20, "corloc": {}, "best_tau": {}, "top1": {}, "top5": {}}
        peak = rng.uniform(0.25, 0.6)
        for sigma, shift in (("30", 12.0), ("50", 0.0), ("70", -25.0)):
            top = float(np.clip(level + shift + rng.normal(0, 8), 2, 99))
            y = top * np.exp(-(((grid - peak) / 0.3) ** 2))
            curves[sigma][name] = y.tolist()
            row["corloc"][sigma] = float(y.max())
            row["best_tau"][sigma] = float(grid[y.argmax()])
            row["top1"][sigma], row["top5"][sigma] = 0.8 * top, 0.95 * top
        per_class[name] = row
    mean = {s: float(np.mean([r["corloc"][s] for r in per_class.values()])) for s in ("30", "50", "70")}
    mean["mean"] = sum(mean.values()) / 3
    return {
        "samples": 20 * len(classes),
        "interval": 0.01,
        "box_v2_metric": False,
        "headline": mean["50"],
        "classification": 84.2,
        "classification_per_class": dict.fromkeys(classes, 84.2),
        "corloc": mean,
        "top1": {s: 0.8 * v for s, v in mean.items()},
        "top5": {s: 0.95 * v for s, v in mean.items()},
        "per_class": per_class,
        "curves": curves,
    }


def build_experiment(
    folder: Path,
    epochs: int = 10,
    done: int | None = None,
    classes: list[str] = CLASSES,
    seed: int = 0,
    pictures: bool = True,
) -> Path:
    """Write an experiment; ``done`` epochs of it (default all: results, passed.txt and, if wanted, pictures too)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    finished = done is None
    config = {
        "task": "CoLo-CAM",
        "dataset": "test-shapes",
        "encoder_name": "resnet18",
        "method": "LayerCAM",
        "spatial_pooling": "WGAP",
        "max_epochs": epochs,
        "exp_id": folder.name,
        "MYSEED": seed,
        "batch_size": 32,
        "sl_clc_lambda": 1.0,
        "rgb_jcrf_clc_lambda": 9.0,
        "box_v2_metric": False,
    }
    (folder / "config.yml").write_text(yaml.safe_dump(config))
    (folder / "log.jsonl").write_text(
        "".join(
            json.dumps(event) + "\n" for event in _log(config, epochs if done is None else done, classes, rng)
        )
    )
    if finished:
        _write_results(folder, config, classes, rng)
        if pictures:
            _draw_pictures(folder, classes, rng)
        (folder / "passed.txt").write_text("done\n")
    return folder


def _log(config: dict[str, Any], epochs: int, classes: list[str], rng: np.random.Generator) -> list[dict]:
    clock = datetime(2026, 3, 14, 12, 0, 0)
    device = {"python": "3.11", "torch": "2.14", "device": "CPU, 2 cores"}
    command = "python main.py --task CoLo-CAM --dataset test-shapes"
    events: list[dict] = [
        {
            "event": "start",
            "time": clock.isoformat(),
            "task": "CoLo-CAM",
            "config": config,
            "command": command,
            "environment": device,
        }
    ]
    for epoch in range(epochs + 1):
        if epoch:
            for i in range(1, 13):
                step = 12 * (epoch - 1) + i
                terms, raw = _losses(step / 12, rng)
                events.append(
                    {
                        "event": "step",
                        "epoch": epoch,
                        "step": step,
                        "loss": sum(terms.values()),
                        "terms": terms,
                        "raw": raw,
                        "lr": [0.01],
                        "images_per_s": 40.0,
                        "seconds": {"data": 0.1, "seeds": 0.05, "crf": 0.2, "network": 1.0, "other": 0.05},
                    }
                )
            terms, raw = _losses(epoch - 0.5, rng)
            clock += timedelta(seconds=95)
            grads = {name: 0.02 * (i + 1) * 0.9**epoch for i, name in enumerate(TERMS)}
            agreement = 0.95 - 0.5 * 0.7**epoch
            events.append(
                {
                    "event": "epoch",
                    "epoch": epoch,
                    "step": 12 * epoch,
                    "time": clock.isoformat(),
                    "lr": [0.01 * 0.9 ** (epoch // 5)],
                    "train": {"loss": sum(terms.values()), "terms": terms, "raw": raw, "accuracy": None},
                    "images_per_s": 40 + rng.normal(0, 1.5),
                    "seconds": {"network": 60.0, "data": 12.0, "crf": 13.0},
                    "shares": {"data": 0.1, "seeds": 0.05, "crf": 0.15, "network": 0.66, "other": 0.04},
                    "diagnostics": {
                        "fg_share_mean": 0.5 - 0.3 * (1 - 0.75**epoch),
                        "fg_share_std": 0.08,
                        "grad_norms": grads,
                        "seed_agreement": agreement,
                        "seed_purity": 0.71,
                    },
                }
            )
        report = report_dict(classes, 62 - 30 * 0.75**epoch, rng)
        report.pop("curves")
        events.append(
            {"event": "validation", "epoch": epoch, "step": 12 * epoch, "report": report, "best": {}}
        )
    return events


def _losses(at: float, rng: np.random.Generator) -> tuple[dict[str, float], dict[str, float]]:
    fall = float(np.exp(-at / 4))
    noise = 1 + 0.08 * rng.standard_normal(4)
    terms = dict(
        zip(
            TERMS,
            np.array([0.2 + 0.5 * fall, -0.08 - 0.02 * at, -9.0, 0.03 * fall + 0.01]) * noise,
            strict=True,
        )
    )
    terms = {name: float(v) for name, v in terms.items()}
    return terms, {name: v / TERMS[name] for name, v in terms.items()}


def _write_results(
    folder: Path, config: dict[str, Any], classes: list[str], rng: np.random.Generator
) -> None:
    criteria = ("best_localization", "best_classification")
    test = {c: report_dict(classes, 60 - 6 * i, rng) for i, c in enumerate(criteria)}
    for report in test.values():
        per_class = {
            n: {"corloc": {s: 0.93 * v for s, v in r["corloc"].items()}}
            for n, r in report["per_class"].items()
        }
        report["at_val_taus"] = {
            "corloc": {s: 0.93 * v for s, v in report["corloc"].items()},
            "per_class": per_class,
        }
        report["box_rule"] = {
            "corloc": {s: 0.71 * v for s, v in report["corloc"].items()},
            "per_class": {
                n: {"corloc": {s: 0.71 * v for s, v in r["corloc"].items()}}
                for n, r in report["per_class"].items()
            },
        }
    val = {c: report_dict(classes, 61, rng) for c in criteria}
    results = {
        "task": "CoLo-CAM",
        "dataset": "test-shapes",
        "encoder": "resnet18",
        "method": "LayerCAM",
        "pooling": "WGAP",
        "seed": config["MYSEED"],
        "exp_id": config["exp_id"],
        "box_v2_metric": False,
        "classes": classes,
        "command": "python main.py --task CoLo-CAM --dataset test-shapes --method LayerCAM",
        "epochs": [],
        "best": {c: {"epoch": 9, "step": 108, "value": 60.5} for c in criteria},
        "val": val,
        "test": test,
        "classifier_test": report_dict(classes, 48, rng),
        "parameters": 14_328_354,
        "device": "CPU, 2 cores",
        "times": {"train_s": 950.0, "validation_s": 81.0, "test_s": 44.0, "total_s": 1102.0},
        "environment": {"torch": "2.14", "revision": "abc123"},
    }
    (folder / "results.json").write_text(json.dumps(results))


def _draw_pictures(folder: Path, classes: list[str], rng: np.random.Generator) -> None:
    for criterion in ("best_localization", "best_classification"):
        _draw_gallery(folder / criterion / "test" / "vizu" / "50", classes, rng)
    frames, cams, boxes = zip(*(scene(rng) for _ in range(4)), strict=True)
    seeds = np.full((4, 112, 112), -255, dtype=np.int64)
    for i, cam in enumerate(cams):
        noise = rng.random(cam.shape)
        seeds[i][(cam > 0.8) & (noise > 0.7)] = 1
        seeds[i][(cam < 0.05) & (noise > 0.9)] = 0
    ids = [f"car/data/0001/shots/001/frame000{i}.jpg" for i in range(4)]
    write_seed_examples(folder / "seeds", ids, np.stack(frames), np.stack(cams), seeds, np.array(boxes))


def _draw_gallery(folder: Path, classes: list[str], rng: np.random.Generator, per_class: int = 5) -> None:
    frames, cams, classifier, truth, table = [], {}, {}, [], []
    for index in range(per_class * len(classes)):
        frame, cam, gt = scene(rng)
        shift = rng.integers(-30, 30, 4) * rng.choice([0.2, 1.0], p=[0.6, 0.4])
        x0, y0, x1, y1 = np.clip(np.array(gt) + shift, 0, 111).astype(int)
        box = [min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]
        frames.append(frame)
        cams[index], classifier[index] = cam, np.roll(np.sqrt(cam), 6, axis=1)
        truth.append([gt])
        label = index % len(classes)
        predicted = label if rng.random() < 0.85 else int(rng.integers(len(classes)))
        table.append(
            {
                "index": index,
                "label": classes[label],
                "predicted": classes[predicted],
                "best_iou": iou(box, gt),
                "box": box,
                "tau": 0.4,
            }
        )
    ids = [f"{r['label']}/data/0002/shots/001/frame{i:04d}.jpg" for i, r in enumerate(table)]
    samples = gallery_samples(table, ids, truth)
    reference = Reference("classifier", classifier, dict.fromkeys(classes, 0.4))
    chosen = choose_samples(samples)
    write_gallery(folder, samples, frames.__getitem__, cams, reference, chosen=chosen, cam_name="CoLo-CAM")


def iou(a: list[int], b: list[int]) -> float:
    """IoU of two boxes by counting pixels."""
    masks = np.zeros((2, 160, 160), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (a, b), strict=True):
        mask[y0 : y1 + 1, x0 : x1 + 1] = True
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())
