"""The localization metric of the WSOL protocol (Choe et al. 2020): boxes from maps, IoU, CorLoc, top-k."""

from dlib.metrics.box_rule import foreground_odds, rule_boxes
from dlib.metrics.boxes import box_iou, boxes_from_map, quantize_maps, threshold_grid
from dlib.metrics.evaluator import BoxEvaluator
from dlib.metrics.report import LocalizationReport

__all__ = [
    "BoxEvaluator",
    "LocalizationReport",
    "box_iou",
    "boxes_from_map",
    "foreground_odds",
    "quantize_maps",
    "rule_boxes",
    "threshold_grid",
]
