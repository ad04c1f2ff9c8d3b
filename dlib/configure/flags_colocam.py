"""Flags of CoLo-CAM's loss terms: seeds, CRFs, sizes.

Switch, λ and epochs of each term come from its row in ``terms.py``; ``cfg.term(NAME)`` reads them. A term is on from
its _start_ep to its _end_ep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlib.configure.flag import flag
from dlib.configure.flags_decoder import falling_heat, split_shots, unused_region
from dlib.configure.literals import JointInput, LambdaStyle, RoiMask, RoiMethod, SeedTechnique, WindowMode
from dlib.configure.terms import with_terms
from dlib.utils.errors import UsageError

if TYPE_CHECKING:
    from dlib.configure.table import Flags


@dataclass(frozen=True)
@with_terms
class SeedFlags:
    """Seeds: pseudo-labels from CAMs (sl_clc)."""

    sl_clc_min: int = flag(10, "background seeds drawn per frame, at most", ge=0)
    sl_clc_max: int = flag(10, "foreground seeds drawn per frame, at most", ge=0)
    sl_clc_min_p: float = flag(
        0.2,
        "background seeds come from this share of the frame's pixels, those lowest in the CAM; lower: surer",
        ge=0,
        le=1,
    )
    sl_clc_max_p: float = flag(
        0.2,
        "foreground seeds come from this share of the region's pixels, those highest in "
        "the CAM; lower: surer",
        ge=0,
        le=1,
    )
    sl_clc_ksz: int = flag(
        3, "each seed grows to a square of this side, in pixels; 1: the pixel alone", ge=1, odd=True
    )
    sl_clc_seed_tech: SeedTechnique = flag(
        "seed_uniform",
        "foreground seeds: all candidates are as likely (uniform), or more likely where "
        "the CAM is high (weighted)",
    )
    sl_clc_use_roi: bool = flag(False, "draw foreground seeds only inside the CAM's region of interest (ROI)")
    sl_clc_roi_method: RoiMethod = flag(
        "roi_all",
        "which of the blobs above Otsu's threshold are the ROI: all, the one of highest "
        "mean CAM, or the largest",
    )
    sl_clc_roi_min_size: float = flag(
        0.05,
        "roi_high_density: if its area is a smaller share of the frame than this, the largest blob is used",
        ge=0,
        le=1,
    )
    sl_clc_roi_mask: RoiMask = flag(
        "box",
        "draw foreground seeds in the ROI's bounding box, as published, or only in the ROI's own pixels",
    )
    sl_clc_fg_erode_k: int = flag(
        11, "erosion, which shrinks the ROI: side of its square in pixels", ge=1, odd=True
    )
    sl_clc_fg_erode_iter: int = flag(
        0, "how many times the ROI is eroded; 0: not; raise it if seeds lie outside the object", ge=0
    )
    sl_clc_balance: bool = flag(
        False, "give foreground and background seeds the same total weight; use it if one kind is rare"
    )
    sl_clc_knn_t: float = flag(
        0.0, "temperature that sharpens the CAM before seeding; larger: sharper; 0: off", ge=0
    )
    sl_clc_min_t: float = flag(
        0.0, "temperature to which sl_clc_knn_t falls until epoch sl_clc_seed_epoch_switch_uniform", ge=0
    )
    sl_clc_seed_epoch_switch_uniform: int = flag(
        -1, "from this epoch on, foreground seeds are drawn uniformly; -1: never", ge=-1
    )
    sl_clc_epoch_switch_to_sl: int = flag(
        -1, "from this epoch on, the best model so far makes the CAMs, not the classifier; -1: never", ge=-1
    )
    sl_clc_block: int = flag(
        1, "block size of seeding", ge=1, no_effect="seeds are pixels; the authors' program ignores it too"
    )


@dataclass(frozen=True)
@with_terms
class CrfFlags:
    """Dense CRF per frame (crf_clc)."""

    crf_clc_sigma_rgb: float = flag(
        15.0, "width of the colour kernel in colour levels (0..255); larger: colours may differ more", ge=0.01
    )
    crf_clc_sigma_xy: float = flag(
        100.0, "width of the position kernel in pixels; larger: pixels may be farther apart", ge=0.01
    )
    crf_clc_scale: float = flag(
        1.0, "factor on the size of image and maps in this term; lower it to save time and memory", gt=0, le=1
    )


@dataclass(frozen=True)
@with_terms
class JointCrfFlags:
    """Joint colour CRF over the frames of a shot (rgb_jcrf_clc)."""

    rgb_jcrf_clc_lambda_style: LambdaStyle = flag(
        "constant", "constant: λ·L; adaptive: λ·L/|L|, so that the term always has the size λ"
    )
    rgb_jcrf_clc_sigma_rgb: float = flag(
        15.0, "width of the colour kernel in units of the planes; larger: colours may differ more", ge=0.01
    )
    rgb_jcrf_clc_input_data: JointInput = flag(
        "image", "planes by which pixels are compared: the frame's colours, decoder features, or map logits"
    )
    rgb_jcrf_clc_input_re_dim: int = flag(
        -1,
        "deep_features: average the channels in groups to this number; -1: keep all; fewer is faster",
        ge=-1,
    )
    rgb_jcrf_clc_scale: float = flag(
        1.0,
        "factor on the size of images and maps in this term; lower it to save time and memory",
        gt=0,
        le=1,
    )
    rgb_jcrf_clc_warmup_ep: int = flag(
        0, "epochs in which λ grows linearly to its full value; 0: full from the start", ge=0
    )
    rgb_jcrf_clc_seed_agreement: bool = flag(
        False, "lower the term's weight while the maps do not agree with the seeds"
    )


@dataclass(frozen=True)
@with_terms
class SizeFlags:
    """Size priors and the other terms."""

    sizefg_tmp_clc_eps: float = flag(
        0.001, "allowed difference from the ROI's size, as a share of the frame", ge=0
    )
    sizefg_tmp_clc_knn: int = flag(
        0, "frames around", ge=0, no_effect="the size is always that of the frame itself"
    )
    sizefg_tmp_clc_knn_mode: WindowMode = flag(
        "instant", "which frames around", no_effect="the size is always that of the frame itself"
    )


def check(cfg: Flags) -> Iterator[str]:
    """Probable mistakes in CoLo-CAM's flags, one line each; UsageError for what cannot work."""
    seeds, joint, frames = cfg.term("sl_clc").on, cfg.term("rgb_jcrf_clc").on, cfg.sample_n_from_seq
    if cfg.rgb_jcrf_clc_input_re_dim == 0:
        raise UsageError("--rgb_jcrf_clc_input_re_dim 0: expected -1 (all channels) or at least 1")
    if joint and cfg.rgb_jcrf_clc_seed_agreement and not seeds:
        raise UsageError("--rgb_jcrf_clc_seed_agreement True: needs seeds, --sl_clc True")
    if joint and frames < 2:
        yield "--rgb_jcrf_clc True has no effect with --sample_n_from_seq 1: it needs 2 or more frames of a shot"
    if joint:
        yield from split_shots(cfg, frames, f"--sample_n_from_seq {frames}")
    yield from falling_heat(cfg, "sl_clc_knn_t", "sl_clc_min_t", "sl_clc_seed_epoch_switch_uniform")
    if seeds:
        yield from unused_region(cfg, "sl_clc_roi_method", "sl_clc_use_roi")
