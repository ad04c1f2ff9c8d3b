"""The terms of CoLo-CAM's loss that the flags switch on."""

from __future__ import annotations

from typing import Any

from dlib.configure.config import Config
from dlib.losses import ELB, Term, TotalLoss, colocam


def build_losses(cfg: Config) -> TotalLoss:
    """One term per flag, in the order of the method's table; the barrier terms share one ELB."""
    barrier = ELB(cfg.elb_init_t, cfg.elb_max_t, cfg.elb_mulcoef)
    terms: list[Term] = []
    backend: Any = cfg.crf_backend
    if not cfg.freeze_cl:
        terms.append(colocam.ClassCrossEntropy(cfg.std_label_smooth_e if cfg.std_label_smooth else 0.0))
    if cfg.sl_clc:
        terms.append(colocam.SelfLearning(cfg.seg_ignore_idx, cfg.sl_clc_balance, **_common(cfg, "sl_clc")))
    if cfg.soft_cam_clc:
        terms.append(colocam.SoftCam(**_common(cfg, "soft_cam_clc")))
    if cfg.crf_clc:
        terms.append(
            colocam.ConRanField(
                cfg.crf_clc_sigma_rgb,
                cfg.crf_clc_sigma_xy,
                cfg.crf_clc_scale,
                backend=backend,
                **_common(cfg, "crf_clc"),
            )
        )
    if cfg.rgb_jcrf_clc:
        style: Any = cfg.rgb_jcrf_clc_lambda_style
        planes: Any = cfg.rgb_jcrf_clc_input_data
        terms.append(
            colocam.RgbJointConRanField(
                cfg.rgb_jcrf_clc_sigma_rgb,
                cfg.rgb_jcrf_clc_scale,
                style,
                planes,
                cfg.rgb_jcrf_clc_input_re_dim,
                backend=backend,
                seed_agreement=cfg.rgb_jcrf_clc_seed_agreement,
                warmup_epochs=cfg.rgb_jcrf_clc_warmup_ep,
                **_common(cfg, "rgb_jcrf_clc"),
            )
        )
    if cfg.max_sizepos_clc:
        terms.append(colocam.MaxSizePositive(barrier, **_common(cfg, "max_sizepos_clc")))
    if cfg.min_entropy_clc:
        terms.append(colocam.Entropy(**_common(cfg, "min_entropy_clc")))
    if cfg.size_bg_g_fg_clc:
        terms.append(colocam.BgSizeGreaterFg(barrier, **_common(cfg, "size_bg_g_fg_clc")))
    if cfg.sizefg_tmp_clc:
        terms.append(colocam.FgSize(barrier, cfg.sizefg_tmp_clc_eps, **_common(cfg, "sizefg_tmp_clc")))
    if cfg.empty_out_bb_clc:
        terms.append(colocam.EmptyOutsideBbox(barrier, **_common(cfg, "empty_out_bb_clc")))
    return TotalLoss(terms)


def _common(cfg: Config, name: str) -> dict[str, Any]:
    """Weight and epochs of the term ``name``."""
    return {
        "weight": getattr(cfg, f"{name}_lambda"),
        "start_epoch": getattr(cfg, f"{name}_start_ep"),
        "end_epoch": getattr(cfg, f"{name}_end_ep"),
    }
