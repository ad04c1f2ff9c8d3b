"""Names that appear in flags, folders and files, and the classes that some of them name.

Imports nothing of the library, so that ``--help`` stays fast: classes are written as ``module:Class`` and imported when
one is built.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

STD_CL = "STD_CL"
COLOCAM = "CoLo-CAM"
TCAM = "TCAM"
F_CL = "F_CL"


class TaskEntry(NamedTuple):
    """A task.

    ``check`` is a function ``check(flags)`` for the task's own flags. It raises UsageError for what cannot work, and
    gives one line for each probable mistake.
    """

    task: str  # its class, a subclass of dlib.tasks.Task
    arch: str  # the only --arch that fits it
    classifier_flag: str = ""  # says from which promoted classifier it starts, if it does
    seeder_flag: str = ""  # says which promoted classifier makes the CAMs
    check: str = ""

    @property
    def builds_on_classifier(self) -> bool:
        """Whether it starts from a promoted classifier."""
        return bool(self.classifier_flag)


# --task
TASKS: dict[str, TaskEntry] = {
    STD_CL: TaskEntry("dlib.tasks.std_cl:StdCl", "STDClassifier"),
    COLOCAM: TaskEntry(
        "dlib.tasks.colocam:CoLoCam",
        "UnetCoLoCAM",
        "colocam_pretrained_cl_ch_pt",
        "colocam_pretrained_seeder_ch_pt",
        "dlib.configure.flags_colocam:check",
    ),
    TCAM: TaskEntry(
        "dlib.tasks.tcam:Tcam",
        "UnetTCAM",
        "tcam_pretrained_cl_ch_pt",
        "tcam_pretrained_seeder_ch_pt",
        "dlib.configure.flags_tcam:check",
    ),
    F_CL: TaskEntry(
        "dlib.tasks.fcam:Fcam",
        "UnetFCAM",
        "eval_checkpoint_type",
        "eval_checkpoint_type",
        "dlib.configure.flags_fcam:check",
    ),
}

# --encoder_name: subclasses of dlib.encoders.Encoder.
ENCODERS: dict[str, str] = {
    "resnet50": "dlib.encoders.resnet:ResNet50Encoder",
    "vgg16": "dlib.encoders.vgg:VGG16Encoder",
    "inceptionv3": "dlib.encoders.inception:InceptionV3Encoder",
    "resnet18": "dlib.encoders.resnet:ResNet18Encoder",
    "mobilenet_v2": "dlib.encoders.mobilenet:MobileNetV2Encoder",
    "vit_b_16": "dlib.encoders.vit:ViTB16Encoder",
    "swin_t": "dlib.encoders.swin:SwinTEncoder",
}

# --spatial_pooling: subclasses of dlib.poolings.Head.
WGAP = "WGAP"
POOLINGS: dict[str, str] = {
    WGAP: "dlib.poolings.heads:WGAP",
    "GAP": "dlib.poolings.heads:GAP",
    "MaxPool": "dlib.poolings.heads:MaxPool",
    "LogSumExpPool": "dlib.poolings.heads:LogSumExpPool",
    "WildCatCLHead": "dlib.poolings.heads:WildCatCLHead",
}


class CamMethod(NamedTuple):
    """A CAM method: its class, a subclass of ``dlib.cams.CamExtractor``, and the only head that it can read."""

    extractor: str
    pooling: str = WGAP


# --method
METHODS: dict[str, CamMethod] = {
    "CAM": CamMethod("dlib.cams.gradient:CAM"),
    "GradCam": CamMethod("dlib.cams.gradient:GradCAM"),
    "GradCAMpp": CamMethod("dlib.cams.gradient:GradCAMpp"),
    "SmoothGradCAMpp": CamMethod("dlib.cams.gradient:SmoothGradCAMpp"),
    "XGradCAM": CamMethod("dlib.cams.gradient:XGradCAM"),
    "LayerCAM": CamMethod("dlib.cams.gradient:LayerCAM"),
    "ScoreCAM": CamMethod("dlib.cams.perturbation:ScoreCAM"),
    "SSCAM": CamMethod("dlib.cams.perturbation:SSCAM"),
    "ISCAM": CamMethod("dlib.cams.perturbation:ISCAM"),
    # Maps that the head makes itself.
    "WILDCAT": CamMethod("dlib.cams.gradient:BuiltInMaps", "WildCatCLHead"),
    "GAP": CamMethod("dlib.cams.gradient:BuiltInMaps", "GAP"),
    "MaxPOL": CamMethod("dlib.cams.gradient:BuiltInMaps", "MaxPool"),
    "LogSumExp": CamMethod("dlib.cams.gradient:BuiltInMaps", "LogSumExpPool"),
}
# How earlier versions wrote a method in folder names. In folder names and in flags both spellings are understood.
EARLIER_SPELLINGS = {"GradCam": "GradCAM"}

BEST_LOCALIZATION = "best_localization"
BEST_CLASSIFICATION = "best_classification"
CRITERIA = (BEST_LOCALIZATION, BEST_CLASSIFICATION)

# In an experiment's folder: the classifier that it builds on, if that is better on validation.
CLASSIFIER_FOLDER = "classifier"
# Which model of an experiment localizes: the one better on validation, the trained one, its classifier.
MODELS = ("better", "own", CLASSIFIER_FOLDER)

# A frame whose presence score is less holds nothing: no pixel is rather object than background.
MIN_PRESENCE = 0.5

# Frames of a shot that the box rule describes together: all of them are held until then.
MAX_BOX_FRAMES = 100


def tested_criteria(task: str, freeze_cl: bool) -> tuple[str, ...]:
    """The best models that a run of ``task`` tests and draws.

    A frozen classifier (``--freeze_cl True``) classifies alike in every epoch, so that no model is best by it.
    """
    frozen = freeze_cl and task in TASKS and TASKS[task].builds_on_classifier
    return (BEST_LOCALIZATION,) if frozen else CRITERIA


TRAIN, VAL, TEST = "train", "val", "test"
SPLITS = (TRAIN, VAL, TEST)
VIDEO_DEMO = "test-video-demo"

YTOV1 = "YouTube-Objects-v1.0"
YTOV2 = "YouTube-Objects-v2.2"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SEED_IGNORE = -255


def method_name(text: str) -> str:
    """The method that ``text`` names, in upper or lower case; ``text`` itself if it names none."""
    return next((method for method in METHODS if method.lower() == text.lower()), text)


def spellings(name: str) -> list[str]:
    """``name``, and ``name`` with each method that is a word in it as earlier versions spelled it."""
    words = re.split("([A-Za-z0-9]+)", name)
    choices = [[word, EARLIER_SPELLINGS[word]] if word in EARLIER_SPELLINGS else [word] for word in words]
    return ["".join(chosen) for chosen in itertools.product(*choices)]
