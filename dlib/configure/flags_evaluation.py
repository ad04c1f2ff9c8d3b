"""Flags of evaluation: thresholds, how maps and boxes are finished, views, splits."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, MAX_BOX_FRAMES, SPLITS, VIDEO_DEMO
from dlib.configure.flag import flag


@dataclass(frozen=True)
class EvaluationFlags:
    """Evaluation."""

    box_v2_metric: bool = flag(
        False, "main result: mean CorLoc over IoU 30, 50, 70 with boxes of all contours (MaxBoxAccV2)"
    )
    cam_curve_interval: float = flag(
        0.001, "step between the CAM thresholds that are tried on the test split", gt=0, le=1
    )
    val_cam_curve_interval: float = flag(
        0.004, "step between the CAM thresholds that are tried on validation", gt=0, le=1
    )
    map_temperature: float = flag(
        1.0,
        "tasks with a decoder: the map logits are divided by it before the softmax; larger: softer maps",
        ge=0.01,
    )
    map_refine_sigma_xy: float = flag(
        0.0, "width in pixels of a bilateral filter that fits final maps to the frame's edges; 0: off", ge=0
    )
    map_refine_sigma_rgb: float = flag(
        30.0, "width of that filter in colour levels (0..255); smaller: it keeps weaker edges", ge=0.01
    )
    map_cam_share: float = flag(
        0.0,
        "tasks with a decoder: share of the classifier's CAM in final maps, each over its peak; 0: none",
        ge=0,
        le=1,
    )
    map_view_scale: float = flag(
        1.0,
        "final maps: the network sees each frame at this share of its size too, and the maps are averaged, for objects "
        "of all sizes; the class is that of the smaller view: eval_size times this should be crop_size; 1: off",
        ge=0.1,
        le=1,
    )
    map_view_flip: bool = flag(
        False,
        "final maps: the network sees each frame mirrored too, and the maps are averaged; twice the time",
    )
    box_features: bool = flag(
        False,
        "boxes without thresholds: the encoder's features say too what belongs to the object, besides map and colours; "
        "for encoders that know more than this dataset, as those with ImageNet weights",
    )
    box_frames: int = flag(
        1,
        "boxes without thresholds: so many frames of a shot together say what object and background look like and "
        "what moves, if they follow one another in the split; for shots of one object. 1: each frame says it alone",
        ge=1,
        le=MAX_BOX_FRAMES,
    )
    val_fast: bool = flag(
        False,
        "the validation after each epoch sees each frame once, at crop_size, whatever eval_size and map_view_scale "
        "say; the best weights are then validated as they are tested. Shorter runs with several views",
    )
    multi_contour_eval: bool = flag(
        True, "boxes of all contours", no_effect="follows box_v2_metric, as in the authors' program"
    )
    multi_iou_eval: bool = flag(
        True, "IoU 30, 50, 70", no_effect="all three are always reported; box_v2_metric chooses the headline"
    )
    eval_checkpoint_type: str = flag(
        BEST_LOCALIZATION,
        "which best model eval_only evaluates; F_CL: which best classifier the training starts from; best: the "
        "one by localization",
        choices=CRITERIA,
        aliases=(("best", BEST_LOCALIZATION),),
    )
    eval_batch_size: int = flag(
        0, "frames per evaluation batch; 0: batch_size; results do not depend on it", ge=0
    )
    eval_only: bool = flag(False, "evaluate the model in fd_exp and stop")
    fd_exp: str | None = flag(None, "experiment folder (or folder of weights) for eval_only")
    split: str = flag("test", "split that eval_only evaluates", choices=SPLITS + (VIDEO_DEMO,))
