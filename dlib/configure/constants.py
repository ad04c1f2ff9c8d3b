"""Names that appear in flags, folders and files. Imports nothing, so that ``--help`` stays fast."""

from __future__ import annotations

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
    "GradCAM",
    "GradCAMpp",
    "SmoothGradCAMpp",
    "XGradCAM",
    "LayerCAM",
    "ScoreCAM",
    "SSCAM",
    "ISCAM",
)
METHODS = EXTRACTOR_METHODS + tuple(POOLING_OF_BUILT_IN_METHOD)

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


def pooling_of_method(method: str) -> str:
    """The only pooling head that ``method`` can read its maps from."""
    return POOLING_OF_BUILT_IN_METHOD.get(method, WGAP)


def tag_name(
    dataset: str, encoder: str, method: str, pooling: str, criterion: str, box_v2_metric: bool
) -> str:
    """Folder name of a best model inside an experiment and in ``pretrained/``."""
    return f"{dataset}-{encoder}-{method}-{pooling}-cp_{criterion}-boxv2_{box_v2_metric}"
