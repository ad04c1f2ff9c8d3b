"""Pseudo-labels: what the maps learn from, drawn from source CAMs by the recipe of an epoch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dlib.cams import (
    Roi,
    edge_maps,
    region_of_interest,
    sample_seeds,
    strict_region,
    temper_cams,
    without_one_level,
)
from dlib.configure.config import Config
from dlib.configure.literals import RoiMask, RoiMethod, SeedTechnique
from dlib.datasets.batch import Regions
from dlib.datasets.video_dataset import FrameRegion
from dlib.utils.graphs import Graphed


@dataclass(frozen=True)
class OtsuRegion:
    """The region of CoLo-CAM and TCAM; arguments of ``region_of_interest``."""

    method: RoiMethod
    min_size: float
    erode_k: int
    erode_iter: int
    mask: RoiMask

    def seen(self, cams: Tensor) -> Tensor:
        """CAMs [B, H, W] as seeds see them."""
        return cams

    def find(self, cams: Tensor) -> Roi:
        """The regions of CAMs [B, H, W]."""
        return region_of_interest(cams, self.method, self.min_size, self.erode_k, self.erode_iter, self.mask)


@dataclass(frozen=True)
class StrictRegion:
    """The region of F-CAM; arguments of ``strict_region``."""

    erode_k: int
    erode_iter: int

    def seen(self, cams: Tensor) -> Tensor:
        """As ``OtsuRegion.seen``; a CAM whose pixels all have one level of 0..255 counts as constant."""
        return without_one_level(cams)

    def find(self, cams: Tensor) -> Roi:
        """As ``OtsuRegion.find``."""
        return strict_region(cams, self.erode_k, self.erode_iter)


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

    @classmethod
    def of_flags(cls, cfg: Config, prefix: str, temperature: float, technique: SeedTechnique) -> SeedRecipe:
        """The recipe in the flags whose names begin with ``prefix``: ``sl_clc`` of CoLo-CAM, ``sl_tc`` of TCAM."""

        def flag(name: str) -> Any:
            return getattr(cfg, f"{prefix}_{name}")

        return cls(
            temperature=temperature,
            region=OtsuRegion(
                method=flag("roi_method"),
                min_size=flag("roi_min_size"),
                erode_k=flag("fg_erode_k"),
                erode_iter=flag("fg_erode_iter"),
                mask=flag("roi_mask"),
            ),
            use_roi=flag("use_roi"),
            max_n=flag("max"),
            min_n=flag("min"),
            max_p=flag("max_p"),
            min_p=flag("min_p"),
            ksz=flag("ksz"),
            technique=technique,
            ignore_index=cfg.seg_ignore_idx,
        )

    def seen(self, cams: Tensor) -> Tensor:
        """Source CAMs [B, H, W] as seeds see them."""
        return self.region.seen(temper_cams(cams, self.temperature))

    def needs_regions(self, wanted: Collection[str]) -> bool:
        """Whether these pseudo-labels, by their names in ``LossInputs``, need the regions of the CAMs."""
        return "roi_boxes" in wanted or "fg_sizes" in wanted or (self.use_roi and "seeds" in wanted)

    def find(self, cams: Tensor) -> tuple[Tensor, Roi]:
        """Source CAMs [B, H, W] as seeds see them, and their regions."""
        tempered = temper_cams(cams, self.temperature)
        return self.region.seen(tempered), self.region.find(tempered)


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of B frames; the attributes are those of ``LossInputs``. None: not needed."""

    seeds: Tensor | None  # [B, H, W]: 1, 0 or the ignore index
    cams: Tensor  # [B, H, W] in 0..1, as the seeds were drawn from them
    roi_boxes: Tensor | None  # [B, 4] of the regions of interest
    fg_sizes: Tensor | None  # [B] Σ of the CAM over the region, as a share of the frame


@dataclass(frozen=True)
class RegionReader:
    """Finds the regions of stored CAMs where these are read: in the loader's workers, on the CPU.

    Attributes:
        recipes: of epochs 1, 2, …; None for an epoch in which the CAMs come from elsewhere.
        sigma_rgb, sigma_xy: of the refinement that comes first, see ``edge_maps``.
    """

    recipes: tuple[SeedRecipe | None, ...]
    sigma_rgb: float
    sigma_xy: float

    def __call__(self, cam: Tensor, pixels: Tensor, epoch: int) -> FrameRegion | None:
        """Of a CAM [H, W] and its frame's pixels [3, H, W]; None in an epoch without a recipe."""
        recipe = self.recipes[min(max(epoch, 1), len(self.recipes)) - 1]
        if recipe is None:
            return None
        refined = edge_maps(cam[None], pixels[None], self.sigma_rgb, self.sigma_xy)
        cams, roi = recipe.find(refined)
        return FrameRegion(refined[0], roi.masks[0], roi.boxes[0], _sizes(cams, roi)[0])


def pseudo_labels(
    cams: Tensor,
    keys: Tensor,
    recipe: SeedRecipe,
    wanted: Collection[str] = ("seeds", "roi_boxes", "fg_sizes"),
    found: Regions | None = None,
) -> PseudoLabels:
    """Pseudo-labels of source CAMs.

    Args:
        cams: [B, H, W] in 0..1.
        keys: int64 [B], one random key per image.
        recipe: of the epoch.
        wanted: names of fields of ``LossInputs``; what is not wanted is not computed.
        found: the regions of these CAMs, if a ``RegionReader`` has found them; None: they are found here, on the CPU.
    """
    if found is None and recipe.needs_regions(wanted):
        seen, roi = recipe.find(cams)
        found = Regions(roi.masks, roi.boxes, _sizes(seen, roi))
    if "seeds" in wanted:
        masks = [found.masks] if found and recipe.use_roi else []
        cams, seeds = _graphed_seeds(cams, keys, *masks, recipe=recipe)
    else:
        cams, seeds = recipe.seen(cams), None
    return PseudoLabels(seeds, cams, found.boxes if found else None, found.sizes if found else None)


def _seeds(cams: Tensor, keys: Tensor, *masks: Tensor, recipe: SeedRecipe) -> tuple[Tensor, Tensor]:
    """Source CAMs as seeds see them, and seeds, inside the masks if there are some."""
    seen = recipe.seen(cams)
    seeds = sample_seeds(
        seen,
        masks[0] if masks else None,
        max_n=recipe.max_n,
        min_n=recipe.min_n,
        max_p=recipe.max_p,
        min_p=recipe.min_p,
        ksz=recipe.ksz,
        technique=recipe.technique,
        ignore_index=recipe.ignore_index,
        keys=keys,
    )
    return seen, seeds


_graphed_seeds = Graphed(_seeds)


def _sizes(cams: Tensor, roi: Roi) -> Tensor:
    """Σ of the CAM over the region as a share of the frame, [B]."""
    return (cams * roi.regions).sum(dim=(1, 2)) / cams[0].numel()
