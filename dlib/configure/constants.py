"""Names that appear in flags, folders and files. Imports next to nothing, so that ``--help`` stays fast."""

from __future__ import annotations

import itertools
import re

STD_CL = "STD_CL"
COLOCAM = "CoLo-CAM"
TASKS = (STD_CL, COLOCAM)

ARCH_OF_TASK = {STD_CL: "STDClassifier", COLOCAM: "UnetCoLoCAM"}

ENCODERS = ("resnet50", "vgg16", "inceptionv3", "resnet18", "mobilenet_v2")

WGAP = "WGAP"
POOLINGS = (WGAP, "GAP", "MaxPool", "LogSumExpPool", "WildCatCLHead")

# Methods whose maps the head makes itself, with the head that each one needs; every other method needs WGAP.
POOLING_OF_BUILT_IN_METHOD = {
    "WILDCAT": "WildCatCLHead",
    "GAP": "GAP",
    "MaxPOL": "MaxPool",
    "LogSumExp": "LogSumExpPool",
}
EXTRACTOR_METHODS = (
    "CAM",
    "GradCam",
    "GradCAMpp",
    "SmoothGradCAMpp",
    "XGradCAM",
    "LayerCAM",
    "ScoreCAM",
    "SSCAM",
    "ISCAM",
)
METHODS = EXTRACTOR_METHODS + tuple(POOLING_OF_BUILT_IN_METHOD)
# How earlier versions wrote a method into names of folders; there, and where people type it, either is understood.
EARLIER_SPELLINGS = {"GradCam": "GradCAM"}

BEST_LOCALIZATION = "best_localization"
BEST_CLASSIFICATION = "best_classification"
CRITERIA = (BEST_LOCALIZATION, BEST_CLASSIFICATION)

TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)
VIDEO_DEMO = "test-video-demo"

YTOV1 = "YouTube-Objects-v1.0"
YTOV2 = "YouTube-Objects-v2.2"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SEED_IGNORE = -255


def method_name(text: str) -> str:
    """The method that ``text`` spells, in upper or lower case; ``text`` itself where it is none."""
    return next((method for method in METHODS if method.lower() == text.lower()), text)


def spellings(name: str) -> list[str]:
    """``name``, and ``name`` as earlier versions wrote the methods that stand in it as words of their own."""
    words = re.split("([A-Za-z0-9]+)", name)
    choices = [[word, EARLIER_SPELLINGS[word]] if word in EARLIER_SPELLINGS else [word] for word in words]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def pooling_of_method(method: str) -> str:
    """The only pooling head that ``method`` can read its maps from."""
    return POOLING_OF_BUILT_IN_METHOD.get(method, WGAP)


def tag_name(
    dataset: str, encoder: str, method: str, pooling: str, criterion: str, box_v2_metric: bool
) -> str:
    """Folder name of a best model inside an experiment and in ``pretrained/``."""
    return f"{dataset}-{encoder}-{method}-{pooling}-cp_{criterion}-boxv2_{box_v2_metric}"
