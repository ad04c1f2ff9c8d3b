"""Pseudo-labels: what the maps learn from, drawn from source CAMs by the recipe of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from dlib.cams import Roi, region_of_interest, sample_seeds, strict_region, temper_cams, without_one_level
from dlib.configure.literals import RoiMask, RoiMethod, SeedTechnique


@dataclass(frozen=True)
class OtsuRegion:
    """The region of CoLo-CAM and TCAM; arguments of ``region_of_interest``."""

    method: RoiMethod
    min_size: float
    erode_k: int
    erode_iter: int
    mask: RoiMask

    def find(self, cams: Tensor) -> tuple[Tensor, Roi]:
        """CAMs [B, H, W] as seeds see them, and their regions."""
        return cams, region_of_interest(
            cams, self.method, self.min_size, self.erode_k, self.erode_iter, self.mask
        )


@dataclass(frozen=True)
class StrictRegion:
    """The region of F-CAM; arguments of ``strict_region``."""

    erode_k: int
    erode_iter: int

    def find(self, cams: Tensor) -> tuple[Tensor, Roi]:
        """As ``OtsuRegion.find``; a CAM whose pixels all have one level of 0..255 counts as constant."""
        return without_one_level(cams), strict_region(cams, self.erode_k, self.erode_iter)


@dataclass(frozen=True)
class SeedRecipe:
    """How pseudo-labels are drawn in one epoch.

    Attributes:
        temperature: sharpens the CAMs before all else, see ``temper_cams``; 0: off.
        region: finds the region of interest.
        use_roi: foreground seeds lie only in that region.
        max_n, min_n, max_p, min_p, ksz, technique, ignore_index: of the seeds, see ``sample_seeds``.
    """

    temperature: float
    region: OtsuRegion | StrictRegion
    use_roi: bool
    max_n: int
    min_n: int
    max_p: float
    min_p: float
    ksz: int
    technique: SeedTechnique
    ignore_index: int


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
    cams, roi = recipe.region.find(cams)
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
