"""Why a threshold does not carry over: the best threshold of each frame against what map and true box look like.

    python -m benchmarks.levels --fd_exp EXP1 EXP2 --dataset NAME --split val --out levels.png \
      --data_root DIR --metadata_root DIR

The best level of a frame is the share of its map's peak whose box has the highest IoU with a true box (of equal ones
the middle). Only frames count in which an IoU of 50 % is possible. Prints quartiles and rank correlations (Spearman).
Draws the best level over the true box's area, over the map's mean, and by class. Models are pooled.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from scipy.stats import spearmanr

from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.datasets.metadata import read_split
from dlib.localizer import Localizer
from dlib.metrics.boxes import LEVELS, best_matches, level_boxes, quantize_maps

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Point:
    """One frame of one model: all values but the class are shares."""

    label: str
    level: float  # best level, of the peak
    area: float  # the true box, of the frame
    mean: float  # of the map, of its peak
    half: float  # pixels above half of the peak


def points(localizer: Localizer, data_dir: Path, frames: dict[str, np.ndarray]) -> list[Point]:
    """Of all frames (id and true boxes) whose best box has an IoU of at least 50 %."""
    found = []
    for frame_id, boxes in frames.items():
        label = frame_id.split("/")[0]
        with Image.open(data_dir / frame_id) as picture:
            image = picture.convert("RGB")
        u = quantize_maps(localizer.localize_class(image, label).map)
        peak = int(u.max())
        if not peak:
            continue
        scale = np.array([u.shape[1] / image.width, u.shape[0] / image.height] * 2)
        made, group = level_boxes(u, np.arange(LEVELS), multi_contour=False)
        iou = best_matches(made, boxes * scale)[0][group][:peak]  # at each level below the peak
        if iou.max() < 0.5:
            continue
        best = np.flatnonzero(iou == iou.max())
        sizes = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (image.width * image.height)
        level = best[len(best) // 2] / peak
        found.append(Point(label, level, float(sizes.max()), u.mean() / peak, float((u > peak / 2).mean())))
    return found


def draw(found: list[Point], path: Path) -> None:
    """Three panels."""
    level = [100 * p.level for p in found]
    figure, (first, second, third) = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True, layout="constrained")
    for axes, name, values in (
        (first, "area of the true box, % of the frame", [100 * p.area for p in found]),
        (second, "mean of the map, % of its peak", [100 * p.mean for p in found]),
    ):
        axes.scatter(values, level, s=12, alpha=0.35, color="#2563eb", linewidths=0)
        axes.set_title(f"rank correlation {spearmanr(values, level).statistic:.2f}", fontsize=10)
        axes.set_xlabel(name)
    first.set_ylabel("best level, % of the map's peak")
    names = sorted({p.label for p in found})
    third.boxplot([[100 * p.level for p in found if p.label == name] for name in names], showfliers=False)
    third.set_xticks(range(1, len(names) + 1), names, rotation=35, ha="right")
    third.set_title("by class: quartiles and range", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.levels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fd_exp", type=Path, nargs="+", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--data_root", required=True)
    parser.add_argument("--metadata_root", required=True)
    parser.add_argument("--out", type=Path, default=Path("levels.png"))
    args = parser.parse_args()
    cfg = Config(dataset=args.dataset, data_root=args.data_root, metadata_root=args.metadata_root)
    metadata = read_split(dataset_dir(cfg), metadata_dir(cfg), args.split)
    found: list[Point] = []
    for folder in args.fd_exp:
        found += points(Localizer(folder, model="own"), dataset_dir(cfg), metadata.boxes)
    level = np.array([p.level for p in found])
    quartiles = ", ".join(f"{value:.2f}" for value in np.quantile(level, (0.25, 0.5, 0.75)))
    print(f"{len(found)} frames with a possible IoU of 50 %; quartiles of the best level: {quartiles}")
    for name in ("area", "mean", "half"):
        rank = spearmanr([getattr(p, name) for p in found], level).statistic
        print(f"rank correlation of the best level with {name}: {rank:.2f}")
    draw(found, args.out)
    print(f"drawn: {args.out}")


if __name__ == "__main__":
    main()
