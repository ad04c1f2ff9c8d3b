"""CoLo-CAM: seeds, CRF, joint colour CRF and size priors train the decoder (Belharbi et al. 2025)."""

from __future__ import annotations

import torch

from dlib.cams import seed_technique_at, temper_at
from dlib.configure.config import Config
from dlib.tasks.decoder.labels import OtsuRegion, SeedRecipe
from dlib.tasks.decoder.task import DecoderTask
from dlib.utils.errors import UsageError


class CoLoCam(DecoderTask):
    """Frames of a shot are trained together (paper, section 3)."""

    advice = (
        "lower --rgb_jcrf_clc_lambda or start it later with --rgb_jcrf_clc_start_ep, draw seeds from the region with "
        "--sl_clc_roi_mask region and a smaller --sl_clc_max_p; doc/small_data.md has a recipe (cmds/colocam_small.sh)"
    )

    def __init__(
        self, cfg: Config, classes: list[str], device: torch.device, initialize: bool = True
    ) -> None:
        super().__init__(cfg, classes, device, initialize)
        channels = self.model.decoder.out_channels
        if cfg.rgb_jcrf_clc_input_re_dim > channels:
            raise UsageError(
                f"--rgb_jcrf_clc_input_re_dim {cfg.rgb_jcrf_clc_input_re_dim}: the decoder of {cfg.encoder_name}"
                f" has only {channels} channels"
            )

    def recipe(self, epoch: int) -> SeedRecipe:
        cfg = self.cfg
        switch = cfg.sl_clc_seed_epoch_switch_uniform
        return SeedRecipe(
            temperature=temper_at(epoch, cfg.sl_clc_knn_t, cfg.sl_clc_min_t, switch),
            region=OtsuRegion(
                method=cfg.sl_clc_roi_method,
                min_size=cfg.sl_clc_roi_min_size,
                erode_k=cfg.sl_clc_fg_erode_k,
                erode_iter=cfg.sl_clc_fg_erode_iter,
                mask=cfg.sl_clc_roi_mask,
            ),
            use_roi=cfg.sl_clc_use_roi,
            max_n=cfg.sl_clc_max,
            min_n=cfg.sl_clc_min,
            max_p=cfg.sl_clc_max_p,
            min_p=cfg.sl_clc_min_p,
            ksz=cfg.sl_clc_ksz,
            technique=seed_technique_at(epoch, cfg.sl_clc_seed_tech, switch),
            ignore_index=cfg.seg_ignore_idx,
        )

    def makes_own_maps(self, epoch: int) -> bool:
        """From the switch to self-learning on, and from the start of the term that keeps the outside of the region's
        box empty: that box comes from the model's own maps.
        """
        learns = 0 <= self.cfg.sl_clc_epoch_switch_to_sl <= epoch
        outside = self.cfg.term("empty_out_bb_clc")
        return learns or (outside.on and outside.start_epoch <= epoch)
