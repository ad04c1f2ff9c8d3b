"""Flags of TCAM: seeds from maps that are pooled over time (CAM-TMP), and its other loss terms.

Switch, λ and epochs of each term come from its row in ``terms.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION, CRITERIA
from dlib.configure.flag import flag, like
from dlib.configure.flags_colocam import CrfFlags, JointCrfFlags, SeedFlags, SizeFlags
from dlib.configure.flags_decoder import falling_heat, split_shots, unused_region
from dlib.configure.literals import RoiMask, RoiMethod, SeedTechnique, WindowMode
from dlib.configure.terms import with_terms
from dlib.utils.errors import UsageError

if TYPE_CHECKING:
    from dlib.configure.table import Flags


@dataclass(frozen=True)
@with_terms
class TcamSeedFlags:
    """TCAM: seeds from CAMs that are pooled over time (sl_tc)."""

    sl_tc_knn: int = flag(
        0, "frames on each side of a frame whose CAMs are pooled with its own; 0: its own CAM alone", ge=0
    )
    sl_tc_knn_mode: WindowMode = flag(
        "instant", "on which side of the frame these frames are; instant goes with sl_tc_knn 0"
    )
    sl_tc_knn_t: float = flag(
        0.0, "heat that sharpens each CAM before the pooling; larger: sharper; 0: off", ge=0
    )
    sl_tc_min_t: float = flag(
        0.0, "heat to which sl_tc_knn_t falls until epoch sl_tc_knn_epoch_switch_uniform", ge=0
    )
    sl_tc_knn_epoch_switch_uniform: int = like(SeedFlags, "sl_clc_seed_epoch_switch_uniform")
    sl_tc_epoch_switch_to_sl: int = like(SeedFlags, "sl_clc_epoch_switch_to_sl")
    sl_tc_min: int = like(SeedFlags, "sl_clc_min")
    sl_tc_max: int = like(SeedFlags, "sl_clc_max")
    sl_tc_min_p: float = like(SeedFlags, "sl_clc_min_p")
    sl_tc_max_p: float = like(SeedFlags, "sl_clc_max_p")
    sl_tc_ksz: int = like(SeedFlags, "sl_clc_ksz", default=1)
    sl_tc_block: int = like(SeedFlags, "sl_clc_block")
    sl_tc_seed_tech: SeedTechnique = like(SeedFlags, "sl_clc_seed_tech")
    sl_tc_use_roi: bool = like(SeedFlags, "sl_clc_use_roi")
    sl_tc_roi_method: RoiMethod = like(SeedFlags, "sl_clc_roi_method")
    sl_tc_roi_min_size: float = like(SeedFlags, "sl_clc_roi_min_size")
    sl_tc_roi_mask: RoiMask = flag(
        "region", "draw foreground seeds in the ROI's own pixels, as published, or in its bounding box"
    )
    sl_tc_fg_erode_k: int = like(SeedFlags, "sl_clc_fg_erode_k")
    sl_tc_fg_erode_iter: int = like(SeedFlags, "sl_clc_fg_erode_iter")
    tcam_pretrained_cl_ch_pt: str = flag(
        BEST_CLASSIFICATION, "TCAM: which best classifier encoder and head start from", choices=CRITERIA
    )
    tcam_pretrained_seeder_ch_pt: str = flag(
        BEST_LOCALIZATION, "TCAM: which best classifier makes the CAMs for the seeds", choices=CRITERIA
    )


@dataclass(frozen=True)
@with_terms
class TcamTermFlags:
    """TCAM: its other loss terms."""

    crf_tc_sigma_rgb: float = like(CrfFlags, "crf_clc_sigma_rgb")
    crf_tc_sigma_xy: float = like(CrfFlags, "crf_clc_sigma_xy")
    crf_tc_scale: float = like(CrfFlags, "crf_clc_scale")
    rgb_jcrf_tc_sigma_rgb: float = like(JointCrfFlags, "rgb_jcrf_clc_sigma_rgb")
    rgb_jcrf_tc_scale: float = like(JointCrfFlags, "rgb_jcrf_clc_scale")
    knn_tc: int = flag(
        0,
        "frames on each side of the drawn one that enter the minibatch with it, for rgb_jcrf_tc; 0: none",
        ge=0,
    )
    sizefg_tmp_tc_eps: float = like(SizeFlags, "sizefg_tmp_clc_eps")
    sizefg_tmp_tc_knn: int = like(SizeFlags, "sizefg_tmp_clc_knn")
    sizefg_tmp_tc_knn_mode: WindowMode = like(SizeFlags, "sizefg_tmp_clc_knn_mode")


def check(cfg: Flags) -> Iterator[str]:
    """Probable mistakes in TCAM's flags, one line each; UsageError for what cannot work."""
    if (cfg.sl_tc_knn == 0) != (cfg.sl_tc_knn_mode == "instant"):
        raise UsageError(
            f"--sl_tc_knn {cfg.sl_tc_knn} does not fit --sl_tc_knn_mode {cfg.sl_tc_knn_mode}:"
            " instant goes with 0, the other modes with at least 1"
        )
    yield from _check_frames(cfg)
    yield from falling_heat(cfg, "sl_tc_knn_t", "sl_tc_min_t", "sl_tc_knn_epoch_switch_uniform")
    if cfg.term("sl_tc").on:
        yield from unused_region(cfg, "sl_tc_roi_method", "sl_tc_use_roi")
    if cfg.sl_tc_knn_t > 0 and cfg.sl_tc_knn == 0:
        yield "--sl_tc_knn_t has no effect with --sl_tc_knn 0: CAMs are sharpened for the pooling only"
    if cfg.term("empty_out_bb_tc").on and cfg.sl_tc_roi_method == "roi_all":
        yield "--empty_out_bb_tc True has no effect with --sl_tc_roi_method roi_all: its box is the full frame"


def _check_frames(cfg: Flags) -> Iterator[str]:
    """Checks of the frames that enter a minibatch together."""
    joint = cfg.term("rgb_jcrf_tc").on
    frames, given = cfg.sample_n_from_seq, f"--sample_n_from_seq {cfg.sample_n_from_seq}"
    if cfg.knn_tc:
        if frames > 1:
            raise UsageError(f"--knn_tc {cfg.knn_tc}: needs --sample_n_from_seq 1, not {frames}")
        if cfg.sample_n_from_seq_dist == "interval":
            raise UsageError(
                f"--knn_tc {cfg.knn_tc}: --sample_n_from_seq_dist interval does not fit; use uniform"
            )
        frames, given = 2 * cfg.knn_tc + 1, f"--knn_tc {cfg.knn_tc} ({2 * cfg.knn_tc + 1} frames)"
        if not joint:
            yield f"{given} without --rgb_jcrf_tc True: no term compares these frames"
    if joint and frames < 2:
        raise UsageError(
            "--rgb_jcrf_tc True: needs 2 or more frames of a shot; give --knn_tc 1 or --sample_n_from_seq 2"
        )
    if joint:
        yield from split_shots(cfg, frames, given)
