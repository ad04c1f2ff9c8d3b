"""Flags of the networks, the CAM method and the optimizer."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.constants import (
    BEST_CLASSIFICATION,
    BEST_LOCALIZATION,
    CRITERIA,
    ENCODERS,
    METHODS,
    TASKS,
)
from dlib.configure.flag import flag


@dataclass(frozen=True)
class ModelFlags:
    """Model."""

    arch: str = flag(
        "", "network; empty: the task's", choices=("", *dict.fromkeys(entry.arch for entry in TASKS.values()))
    )
    encoder_name: str = flag("resnet50", "classifier backbone", choices=tuple(ENCODERS))
    encoder_weights: str | None = flag(
        "imagenet", "weights that the encoder starts from; None: random", choices=("imagenet",)
    )
    in_channels: int = flag(3, "colour planes of a frame: RGB", choices=(3,))
    path_pre_trained: str | None = flag(
        None, "best-model file or folder that the network starts from instead"
    )
    strict: bool = flag(True, "path_pre_trained must hold every weight of the network")
    scale_in: float = flag(1.0, "size of the image that the classifier sees, as a factor (STD_CL only)", gt=0)
    freeze_cl: bool = flag(False, "CoLo-CAM: freeze encoder and head, in eval mode")
    freeze_encoder: bool = flag(False, "STD_CL: freeze the encoder, train the head only")
    freeze_decoder_bn: bool = flag(
        False, "CoLo-CAM: the decoder's batch norm uses its running statistics from the second epoch on"
    )
    seg_mode: str = flag("binary", "maps of the decoder: foreground and background", choices=("binary",))
    multi_label_flag: bool = flag(False, "several classes per video: not supported, must be False")


@dataclass(frozen=True)
class MethodFlags:
    """CAM method."""

    method: str = flag("LayerCAM", "how class activation maps are made", choices=tuple(METHODS))
    cam_chunk_size: int = flag(64, "masked images per pass of ScoreCAM, SSCAM, ISCAM: bounds memory", ge=1)


@dataclass(frozen=True)
class OptimizerFlags:
    """Optimizer and learning rate."""

    opt__name_optimizer: str = flag("sgd", "optimizer", choices=("sgd", "adam"))
    opt__lr: float = flag(0.001, "learning rate", gt=0)
    opt__lr_classifier_ratio: float = flag(
        10.0, "STD_CL: factor on the learning rate of the last layers", gt=0
    )
    opt__momentum: float = flag(0.9, "sgd: momentum", ge=0, le=1)
    opt__dampening: float = flag(0.0, "sgd: dampening", ge=0, le=1)
    opt__nesterov: bool = flag(True, "sgd: Nesterov momentum")
    opt__weight_decay: float = flag(0.0001, "weight decay", ge=0)
    opt__beta1: float = flag(0.9, "adam: beta1", ge=0, le=0.999999)
    opt__beta2: float = flag(0.999, "adam: beta2", ge=0, le=0.9999999)
    opt__eps_adam: float = flag(1e-08, "adam: epsilon", gt=0)
    opt__amsgrad: bool = flag(False, "adam: AMSGrad")
    opt__lr_scheduler: bool = flag(True, "change the learning rate over epochs")
    opt__name_lr_scheduler: str = flag(
        "mystep", "how the learning rate changes", choices=("mystep", "step", "cosine")
    )
    opt__gamma: float = flag(0.1, "mystep, step: factor", gt=0, le=1)
    opt__step_size: int = flag(40, "mystep, step: epochs between factors", ge=1)
    opt__min_lr: float = flag(1e-07, "mystep, cosine: least learning rate", ge=0)
    opt__t_max: float = flag(100.0, "cosine: epochs of half a period", gt=0)
    opt__last_epoch: int = flag(
        -1, "scheduler's start", ge=-1, no_effect="a resumed run restores the scheduler from its checkpoint"
    )


@dataclass(frozen=True)
class ClassifierFlags:
    """Classifier's loss and pretrained classifiers."""

    std_label_smooth: bool = flag(False, "label smoothing of the classifier's cross entropy")
    std_label_smooth_e: float = flag(
        0.0, "label smoothing: share of the target spread over all classes", ge=0, le=1
    )
    colocam_pretrained_cl_ch_pt: str = flag(
        BEST_CLASSIFICATION, "CoLo-CAM: which best classifier starts encoder and head", choices=CRITERIA
    )
    colocam_pretrained_seeder_ch_pt: str = flag(
        BEST_LOCALIZATION,
        "CoLo-CAM: which best classifier makes the CAMs that seeds are drawn from",
        choices=CRITERIA,
    )
