"""Pseudo-labels: what the maps of CoLo-CAM learn from, drawn from source CAMs by the recipe of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dlib.cams import region_of_interest, sample_seeds, seed_technique_at, temper_at, temper_cams
from dlib.configure.config import Config
from dlib.configure.literals import RoiMask, RoiMethod, SeedTechnique


@dataclass(frozen=True)
class SeedRecipe:
    """How pseudo-labels are drawn in one epoch (CoLo-CAM paper, section 3).

    Attributes:
        temperature: sharpens the CAMs before all else, see ``temper_cams``; 0: off.
        use_roi: foreground seeds lie only in the region of interest.
        roi_method, roi_mask, roi_min_size, erode_k, erode_iter: of the region, see ``region_of_interest``.
        max_n, min_n, max_p, min_p, ksz, technique, ignore_index: of the seeds, see ``sample_seeds``.
    """

    temperature: float
    use_roi: bool
    roi_method: RoiMethod
    roi_mask: RoiMask
    roi_min_size: float
    erode_k: int
    erode_iter: int
    max_n: int
    min_n: int
    max_p: float
    min_p: float
    ksz: int
    technique: SeedTechnique
    ignore_index: int

    @classmethod
    def of_epoch(cls, cfg: Config, epoch: int) -> SeedRecipe:
        """The flags' recipe in ``epoch``; the first epoch is 1."""
        switch = cfg.sl_clc_seed_epoch_switch_uniform
        return cls(
            temperature=temper_at(epoch, cfg.sl_clc_knn_t, cfg.sl_clc_min_t, switch),
            use_roi=cfg.sl_clc_use_roi,
            roi_method=cfg.sl_clc_roi_method,
            roi_mask=cfg.sl_clc_roi_mask,
            roi_min_size=cfg.sl_clc_roi_min_size,
            erode_k=cfg.sl_clc_fg_erode_k,
            erode_iter=cfg.sl_clc_fg_erode_iter,
            max_n=cfg.sl_clc_max,
            min_n=cfg.sl_clc_min,
            max_p=cfg.sl_clc_max_p,
            min_p=cfg.sl_clc_min_p,
            ksz=cfg.sl_clc_ksz,
            technique=seed_technique_at(epoch, cfg.sl_clc_seed_tech, switch),
            ignore_index=cfg.seg_ignore_idx,
        )


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of B frames; the attributes are those of ``LossInputs``."""

    seeds: Tensor  # [B, H, W]: 1, 0 or the ignore index
    cams: Tensor  # [B, H, W] in 0..1, as the seeds were drawn from them
    roi_boxes: Tensor  # [B, 4] of the regions of interest
    fg_sizes: Tensor  # [B] Σ of the CAM over the region, as a share of the frame


def pseudo_labels(cams: Tensor, keys: Tensor, recipe: SeedRecipe) -> PseudoLabels:
    """Pseudo-labels of source CAMs.

    Args:
        cams: [B, H, W] in 0..1.
        keys: int64 [B], one random key per image.
        recipe: of the epoch.
    """
    if recipe.temperature > 0:
        cams = temper_cams(cams, recipe.temperature)
    roi = region_of_interest(
        cams,
        recipe.roi_method,
        recipe.roi_min_size,
        recipe.erode_k,
        recipe.erode_iter,
        recipe.roi_mask,
    )
    seeds = sample_seeds(
        cams,
        roi.masks if recipe.use_roi else None,
        max_n=recipe.max_n,
        min_n=recipe.min_n,
        max_p=recipe.max_p,
        min_p=recipe.min_p,
        ksz=recipe.ksz,
        technique=recipe.technique,
        ignore_index=recipe.ignore_index,
        keys=keys,
    )
    inside = (cams * roi.regions).sum(dim=(1, 2)) / cams[0].numel()  # [B]
    return PseudoLabels(seeds, cams, roi.boxes, inside)


def makes_own_maps(cfg: Config, epoch: int) -> bool:
    """Whether the best model so far makes the source CAMs of ``epoch``.

    It does from the switch to self-learning on. It also does from the start of the term that keeps the outside of the
    region's box empty: that box comes from the model's own maps.
    """
    learns = 0 <= cfg.sl_clc_epoch_switch_to_sl <= epoch
    outside = cfg.term("empty_out_bb_clc")
    return learns or (outside.on and outside.start_epoch <= epoch)
