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
        "",
        "network; empty: the task's own, which is the only one that fits",
        choices=("", *dict.fromkeys(entry.arch for entry in TASKS.values())),
    )
    encoder_name: str = flag("resnet50", "backbone of the classifier", choices=tuple(ENCODERS))
    encoder_weights: str | None = flag(
        "imagenet", "weights that the encoder starts from; None: random", choices=("imagenet",)
    )
    in_channels: int = flag(3, "colour planes of a frame (RGB)", choices=(3,))
    path_pre_trained: str | None = flag(
        None, "file or folder of a best model that the network starts from instead"
    )
    strict: bool = flag(
        True, "path_pre_trained must hold every weight of the network; False: load those that fit"
    )
    scale_in: float = flag(1.0, "STD_CL: factor on the size of the image that the classifier sees", gt=0)
    freeze_cl: bool = flag(False, "tasks with a decoder: keep encoder and head as they are, in eval mode")
    freeze_encoder: bool = flag(False, "STD_CL: keep the encoder as it is; train the head only")
    freeze_decoder_bn: bool = flag(
        False, "from the second epoch on the decoder's batch norm uses its running statistics"
    )
    seg_mode: str = flag("binary", "maps of the decoder: foreground and background", choices=("binary",))
    multi_label_flag: bool = flag(False, "several classes per video: not supported, must be False")


@dataclass(frozen=True)
class MethodFlags:
    """CAM method."""

    method: str = flag("LayerCAM", "CAM method: how class activation maps are made", choices=tuple(METHODS))
    cam_chunk_size: int = flag(
        64, "ScoreCAM, SSCAM, ISCAM: masked images per forward pass; lower it to save memory", ge=1
    )


@dataclass(frozen=True)
class OptimizerFlags:
    """Optimizer and learning rate."""

    opt__name_optimizer: str = flag("sgd", "optimizer", choices=("sgd", "adam"))
    opt__lr: float = flag(0.001, "learning rate; lower it if the loss grows or is not finite", gt=0)
    opt__lr_classifier_ratio: float = flag(
        10.0, "STD_CL: factor on the learning rate of the last layers", gt=0
    )
    opt__momentum: float = flag(0.9, "sgd: momentum; 0: none", ge=0, le=1)
    opt__dampening: float = flag(0.0, "sgd: dampening of the momentum; 0 with opt__nesterov", ge=0, le=1)
    opt__nesterov: bool = flag(True, "sgd: Nesterov momentum")
    opt__weight_decay: float = flag(0.0001, "weight decay: pulls weights to 0; larger: stronger", ge=0)
    opt__beta1: float = flag(0.9, "adam: decay of the running mean of gradients", ge=0, le=0.999999)
    opt__beta2: float = flag(
        0.999, "adam: decay of the running mean of squared gradients", ge=0, le=0.9999999
    )
    opt__eps_adam: float = flag(1e-08, "adam: small number that avoids a division by 0", gt=0)
    opt__amsgrad: bool = flag(False, "adam: use the AMSGrad variant")
    opt__lr_scheduler: bool = flag(True, "change the learning rate over epochs")
    opt__name_lr_scheduler: str = flag(
        "mystep",
        "how the learning rate falls; step is mystep without opt__min_lr",
        choices=("mystep", "step", "cosine"),
    )
    opt__gamma: float = flag(
        0.1, "mystep, step: factor on the learning rate every opt__step_size epochs", gt=0, le=1
    )
    opt__step_size: int = flag(
        40, "mystep, step: epochs after which the learning rate gets the factor opt__gamma", ge=1
    )
    opt__min_lr: float = flag(1e-07, "mystep, cosine: smallest learning rate", ge=0)
    opt__t_max: float = flag(100.0, "cosine: epochs in which the learning rate falls to opt__min_lr", gt=0)
    opt__last_epoch: int = flag(
        -1, "scheduler's start", ge=-1, no_effect="a resumed run restores the scheduler from its checkpoint"
    )


@dataclass(frozen=True)
class ClassifierFlags:
    """Classifier's loss and pretrained classifiers."""

    std_label_smooth: bool = flag(False, "label smoothing of the classifier's cross entropy")
    std_label_smooth_e: float = flag(
        0.0, "label smoothing: share of the target that is spread over all classes", ge=0, le=1
    )
    colocam_pretrained_cl_ch_pt: str = flag(
        BEST_CLASSIFICATION, "CoLo-CAM: which best classifier encoder and head start from", choices=CRITERIA
    )
    colocam_pretrained_seeder_ch_pt: str = flag(
        BEST_LOCALIZATION, "CoLo-CAM: which best classifier makes the CAMs for the seeds", choices=CRITERIA
    )
