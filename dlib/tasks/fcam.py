"""F-CAM: the decoder learns from the CAM of the frame alone (Belharbi et al., WACV 2022)."""

from __future__ import annotations

from dlib.tasks.decoder.labels import SeedRecipe, StrictRegion
from dlib.tasks.decoder.task import DecoderTask


class Fcam(DecoderTask):
    """Seeds inside an eroded region, CRF, size and entropy terms."""

    advice = "raise --max_sizepos_fc_lambda, draw surer background seeds with a smaller --sl_min_p"

    def recipe(self, epoch: int) -> SeedRecipe:
        cfg = self.cfg
        return SeedRecipe(
            temperature=0.0,
            region=StrictRegion(cfg.sl_fg_erode_k, cfg.sl_fg_erode_iter),
            use_roi=True,
            max_n=cfg.sl_max,
            min_n=cfg.sl_min,
            max_p=1.0,
            min_p=cfg.sl_min_p,
            ksz=cfg.sl_ksz,
            technique="seed_uniform",
            ignore_index=cfg.seg_ignore_idx,
        )
