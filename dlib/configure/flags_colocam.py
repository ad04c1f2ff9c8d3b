"""Flags of CoLo-CAM's loss terms: seeds, CRFs, sizes.

The switches, λ and epochs of the terms come from their rows in ``terms.py`` and are read by ``cfg.term(NAME)``; a term
is on from its _start_ep to its _end_ep.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure.constants import METHODS, SEED_IGNORE
from dlib.configure.flag import flag
from dlib.configure.literals import Backend, JointInput, LambdaStyle, RoiMask, RoiMethod, SeedTechnique
from dlib.configure.terms import with_terms


@dataclass(frozen=True)
@with_terms
class SeedFlags:
    """Seeds: pseudo-labels from CAMs (sl_clc)."""

    sl_clc_min: int = flag(10, "background seeds per frame, at most", ge=0)
    sl_clc_max: int = flag(10, "foreground seeds per frame, at most", ge=0)
    sl_clc_min_p: float = flag(
        0.2, "share of the frame's lowest CAM pixels that are background candidates", ge=0, le=1
    )
    sl_clc_max_p: float = flag(
        0.2, "share of the region's highest CAM pixels that are foreground candidates", ge=0, le=1
    )
    sl_clc_ksz: int = flag(3, "side of the square that each seed grows to, odd", ge=1)
    sl_clc_seed_tech: SeedTechnique = flag(
        "seed_uniform", "foreground seeds drawn uniformly or in proportion to the CAM"
    )
    sl_clc_use_roi: bool = flag(False, "foreground seeds only inside the CAM's region of interest")
    sl_clc_roi_method: RoiMethod = flag("roi_all", "region of interest among Otsu's blobs")
    sl_clc_roi_min_size: float = flag(
        0.05, "roi_high_density: least area, as a share of the frame", ge=0, le=1
    )
    sl_clc_roi_mask: RoiMask = flag("box", "the region's bounding box, as published, or the region itself")
    sl_clc_fg_erode_k: int = flag(11, "erosion of the region: side of the square", ge=1)
    sl_clc_fg_erode_iter: int = flag(0, "erosion of the region: iterations", ge=0)
    sl_clc_balance: bool = flag(False, "give foreground and background seeds the same total weight")
    sl_clc_knn_t: float = flag(0.0, "exponent h that sharpens the CAM before seeding; 0: off", ge=0)
    sl_clc_min_t: float = flag(0.0, "exponent h at epoch sl_clc_seed_epoch_switch_uniform", ge=0)
    sl_clc_seed_epoch_switch_uniform: int = flag(-1, "epoch from which seeding is uniform; -1: never", ge=-1)
    sl_clc_epoch_switch_to_sl: int = flag(
        -1, "epoch from which the best model so far makes the CAMs; -1: never", ge=-1
    )
    sl_clc_block: int = flag(
        1, "block size of seeding", ge=1, no_effect="seeds are pixels; the authors' program ignores it too"
    )
    seg_ignore_idx: int = flag(SEED_IGNORE, "target value of pixels without a seed")
    seed_refine_sigma_xy: float = flag(
        0.0,
        "width in pixels of a bilateral filter that gives CAMs the frame's edges before seeding; 0: off",
        ge=0,
    )
    seed_refine_sigma_rgb: float = flag(30.0, "width of that filter in grey levels", ge=0.01)
    seed_cam_method: str = flag(
        "", "CAM method that seeds are drawn from; empty: --method", choices=("", *METHODS)
    )


@dataclass(frozen=True)
@with_terms
class CrfFlags:
    """Dense CRF per frame (crf_clc)."""

    crf_clc_sigma_rgb: float = flag(15.0, "width of the colour kernel, in grey levels", ge=0.01)
    crf_clc_sigma_xy: float = flag(100.0, "width of the position kernel, in pixels", ge=0.01)
    crf_clc_scale: float = flag(1.0, "size of the image and maps that the filter sees", gt=0, le=1)
    crf_backend: Backend = flag(
        "auto", "filters in C++ or in PyTorch; auto: C++ on the CPU, PyTorch elsewhere"
    )


@dataclass(frozen=True)
@with_terms
class JointCrfFlags:
    """Joint colour CRF over the frames of a shot (rgb_jcrf_clc)."""

    rgb_jcrf_clc_lambda_style: LambdaStyle = flag("constant", "λ·L, or λ·L/|L| (adaptive)")
    rgb_jcrf_clc_sigma_rgb: float = flag(15.0, "width of the colour kernel", ge=0.01)
    rgb_jcrf_clc_input_data: JointInput = flag("image", "what pixels are compared by")
    rgb_jcrf_clc_input_re_dim: int = flag(
        -1, "deep_features: channels kept, by averaging consecutive ones; -1: all", ge=-1
    )
    rgb_jcrf_clc_scale: float = flag(1.0, "size of the images and maps that the filter sees", gt=0, le=1)
    rgb_jcrf_clc_warmup_ep: int = flag(0, "epochs over which λ grows linearly from 0; 0: at once", ge=0)
    rgb_jcrf_clc_seed_agreement: bool = flag(False, "weight the term by the maps' agreement with the seeds")


@dataclass(frozen=True)
@with_terms
class SizeFlags:
    """Size priors and the other terms."""

    sizefg_tmp_clc_eps: float = flag(0.001, "tolerance of the size, as a share of the frame", ge=0)
    sizefg_tmp_clc_knn: int = flag(
        0, "frames around", ge=0, no_effect="the size is always taken from the frame itself"
    )
    sizefg_tmp_clc_knn_mode: str = flag(
        "instant",
        "which frames around",
        choices=("instant", "before", "after", "before-after"),
        no_effect="the size is always taken from the frame itself",
    )


@dataclass(frozen=True)
class BarrierFlags:
    """Extended log-barrier (ELB) of the size terms."""

    elb_init_t: float = flag(1.0, "parameter t at the start", gt=0)
    elb_max_t: float = flag(10.0, "largest t", gt=0)
    elb_mulcoef: float = flag(1.01, "factor on t after every epoch", ge=1)
