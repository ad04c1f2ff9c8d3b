"""Which test frames are drawn, and why the failed ones failed.

Failure groups, from the predicted box P and the true box G that it matches best (areas in inclusive pixels,
I their intersection); only where IoU < σ = 0.5:

* ``wrong place``: I < ½·min(P, G): less than half of the smaller box lies in the other one;
* ``too large``: otherwise, if P ≥ G: the object is (mostly) inside a box that covers too much around it;
* ``too small``: otherwise, if the centre of G lies in P: the box is on the middle of the object;
* ``part only``: otherwise: the box is on one side of the object, such as a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dlib.utils.files import write_json
from dlib.visualization.overlays import overlay, seeds_picture, side_by_side
from dlib.visualization.panels import MapPanel, Strip

HIT = "hit"
TOO_LARGE, TOO_SMALL, PART_ONLY, WRONG_PLACE = "too large", "too small", "part only", "wrong place"
FAILURES = (TOO_LARGE, TOO_SMALL, PART_ONLY, WRONG_PLACE)
BEST, MEDIAN, WORST, RANDOM = "best", "median", "worst", "random"


@dataclass
class GallerySample:
    """One test frame: boxes in pixels of the map (x0,y0,x1,y1 inclusive), names of classes, IoU in 0..1."""

    index: int
    id: str
    label: str
    predicted: str
    iou: float
    box: list[int]
    gt: list[list[int]]
    tau: float

    @property
    def outcome(self) -> str:
        return HIT if self.iou >= 0.5 else failure_group(self.box, self.gt)


@dataclass(frozen=True)
class Reference:
    """Maps of another model beside the own ones: [S, S] by sample index, and their τ by the class's name."""

    name: str
    cams: Mapping[int, NDArray[np.float32]]
    taus: Mapping[str, float | None]


def gallery_samples(
    table: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    truth: Sequence[ArrayLike] | Mapping[int, ArrayLike],
) -> list[GallerySample]:
    """Samples from the evaluator's table.

    Args:
        table: rows {"index", "label", "predicted", "best_iou" in 0..1, "box", "tau"}, with names of classes.
        ids, truth: frame id and true boxes [n, 4] in pixels of the map by sample index.
    Rows without an IoU (no box is known) are left out.
    """
    return [
        GallerySample(
            index=int(row["index"]),
            id=str(ids[int(row["index"])]),
            label=str(row["label"]),
            predicted=str(row["predicted"]),
            iou=float(row["best_iou"]),
            box=[int(v) for v in row["box"]],
            gt=np.asarray(truth[int(row["index"])]).reshape(-1, 4).astype(int).tolist(),
            tau=round(float(row["tau"]), 6),
        )
        for row in table
        if row["best_iou"] is not None
    ]


def failure_group(box: ArrayLike, truth: ArrayLike) -> str:
    """Failure group of a box (see the module's docstring).

    Args:
        box: [4] x0,y0,x1,y1 inclusive. truth: [n, 4], n ≥ 1; the one of highest IoU counts, first on ties.
    """
    found = np.asarray(box, dtype=np.float64).reshape(4)
    boxes = np.asarray(truth, dtype=np.float64).reshape(-1, 4)
    if not len(boxes):
        raise ValueError("a failure group needs at least one true box")
    low, high = np.maximum(found[:2], boxes[:, :2]), np.minimum(found[2:], boxes[:, 2:])  # [n, 2]
    inter = np.clip(high - low + 1, 0, None).prod(axis=1)  # [n]
    area = (found[2:] - found[:2] + 1).prod()
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)  # [n]
    best = int(np.argmax(inter / (area + areas - inter)))
    if inter[best] < 0.5 * min(area, areas[best]):
        return WRONG_PLACE
    if area >= areas[best]:
        return TOO_LARGE
    center = (boxes[best, :2] + boxes[best, 2:]) / 2
    return TOO_SMALL if ((found[:2] <= center) & (center <= found[2:])).all() else PART_ONLY


def outcome_counts(samples: Sequence[GallerySample]) -> dict[str, dict[str, int]]:
    """{class: {"hit" or failure group: number of frames}} over all samples."""
    counts: dict[str, dict[str, int]] = {}
    for sample in samples:
        row = counts.setdefault(sample.label, dict.fromkeys((HIT, *FAILURES), 0))
        row[sample.outcome] += 1
    return counts


def choose_samples(
    samples: Sequence[GallerySample], per_group: int = 2, per_failure: int = 1, seed: int = 0
) -> dict[int, list[str]]:
    """Sample index → the groups it is drawn for, class by class.

    Per class: ``per_group`` frames of highest, middle and lowest IoU, as many at random, and the ``per_failure``
    frames of highest IoU of each failure group. Ties: by index. The random frames depend on the frames of the class,
    its rank and ``seed`` alone: experiments on the same frames have them in common.
    """
    chosen: dict[int, list[str]] = {}
    for rank, label in enumerate(sorted({sample.label for sample in samples})):
        mine = sorted((s for s in samples if s.label == label), key=lambda s: (-s.iou, s.index))
        middle = max(0, (len(mine) - per_group) // 2)
        by_index = sorted(mine, key=lambda s: s.index)
        drawn = np.random.default_rng([seed, rank]).permutation(len(mine))[:per_group]
        groups = {
            BEST: mine[:per_group],
            MEDIAN: mine[middle : middle + per_group],
            WORST: mine[::-1][:per_group],
            RANDOM: [by_index[i] for i in sorted(drawn)],
        }
        for failure in FAILURES:
            groups[failure] = [s for s in mine if s.outcome == failure][:per_failure]
        for group, members in groups.items():
            for sample in members:
                chosen.setdefault(sample.index, []).append(group)
    return chosen


def write_gallery(
    folder: Path,
    samples: Sequence[GallerySample],
    load_frame: Callable[[int], NDArray[np.uint8]],
    cams: Mapping[int, NDArray[np.float32]],
    reference: Reference | None = None,
    *,
    chosen: Mapping[int, Sequence[str]],
    cam_name: str = "CAM",
    multi_contour: bool = False,
) -> list[dict[str, Any]]:
    """Draw the chosen samples and write ``gallery.json`` and ``outcomes.json`` beside them.

    Args:
        folder: ``<experiment>/<criterion>/test/vizu/50``; made if missing.
        samples: all test samples (all are counted in outcomes.json).
        load_frame: sample index → frame [H, W, 3] uint8, of any size and shape.
        cams: [S, S] in 0..1 by sample index; each covers its whole frame.
        reference: maps to show beside (of a decoder's classifier), or None.
        chosen: as from ``choose_samples``; all of them need a map in ``cams``.
        multi_contour: as the metric's; for the boxes at every threshold.
    Returns: the records of gallery.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for sample in (s for s in samples if s.index in chosen):
        own = MapPanel.of(cam_name, cams[sample.index], sample.gt, sample.tau, multi_contour)
        own = replace(own, box=sample.box, iou=sample.iou)  # as the metric found them
        panels = [own]
        if reference is not None:
            cam, tau = reference.cams[sample.index], reference.taus.get(sample.label)
            panels.insert(0, MapPanel.of(reference.name, cam, sample.gt, tau, multi_contour))
        name = f"{sample.index:05d}.png"
        strip = Strip(load_frame(sample.index), sample.label, sample.gt, panels)
        strip.picture(boxes=True).save(folder / name)
        strip.picture(boxes=False).save(folder / f"plain_{name}")
        record = {
            **vars(sample),
            "iou": round(sample.iou, 4),
            "groups": list(chosen[sample.index]),
            "outcome": sample.outcome,
            "image": name,
            "plain": f"plain_{name}",
            "strip": strip.record(),
        }
        records.append(record)
    write_json(folder / "outcomes.json", outcome_counts(samples))
    write_json(folder / "gallery.json", records)
    return records


def write_seed_examples(
    folder: Path,
    ids: Sequence[str],
    frames: NDArray[np.uint8],
    cams: NDArray[np.float32],
    seeds: NDArray[np.int64],
    roi_boxes: NDArray[np.int64],
) -> None:
    """Pictures of training pseudo-labels for the report; ``folder`` is ``<experiment>/seeds``.

    Args:
        frames: [B, H, W, 3] uint8. cams: [B, H, W] in 0..1. seeds: [B, H, W] 1, 0 or ignored.
        roi_boxes: [B, 4] x0,y0,x1,y1 inclusive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for i, frame_id in enumerate(ids):
        picture = side_by_side(
            [
                overlay(frames[i], cams[i], None, (), "CAM of the classifier"),
                seeds_picture(frames[i], seeds[i], roi_boxes[i], "seeds and ROI"),
            ]
        )
        name = f"{i:03d}.png"
        picture.save(folder / name)
        records.append({"id": frame_id, "image": name})
    write_json(folder / "seeds.json", records)
