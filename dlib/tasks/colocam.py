"""CoLo-CAM: seeds, CRF, joint colour CRF and size priors train the decoder (Belharbi et al. 2025)."""

from __future__ import annotations

from dlib.cams import seed_technique_at, temper_at
from dlib.models import UnetCoLoCAM
from dlib.tasks.decoder.labels import SeedRecipe
from dlib.tasks.decoder.task import DecoderTask
from dlib.utils.errors import UsageError


class CoLoCam(DecoderTask):
    """Frames of a shot are trained together (paper, section 3)."""

    advice = (
        "lower --rgb_jcrf_clc_lambda or start it later with --rgb_jcrf_clc_start_ep, draw seeds from the region with "
        "--sl_clc_roi_mask region and a smaller --sl_clc_max_p; doc/small_data.md has a recipe (cmds/colocam_small.sh)"
    )

    def build_model(self) -> UnetCoLoCAM:
        model = super().build_model()
        wanted, channels = self.cfg.rgb_jcrf_clc_input_re_dim, model.decoder.out_channels
        if wanted > channels:
            raise UsageError(
                f"--rgb_jcrf_clc_input_re_dim {wanted}: the decoder of {self.cfg.encoder_name} has only {channels} "
                "channels"
            )
        return model

    def recipe(self, epoch: int) -> SeedRecipe:
        cfg = self.cfg
        switch = cfg.sl_clc_seed_epoch_switch_uniform
        temperature = temper_at(epoch, cfg.sl_clc_knn_t, cfg.sl_clc_min_t, switch)
        technique = seed_technique_at(epoch, cfg.sl_clc_seed_tech, switch)
        return SeedRecipe.of_flags(cfg, "sl_clc", temperature, technique)

    def makes_own_maps(self, epoch: int) -> bool:
        """From the switch to self-learning on, and from the start of the term that keeps the outside of the region's
        box empty: that box comes from the model's own maps.
        """
        learns = 0 <= self.cfg.sl_clc_epoch_switch_to_sl <= epoch
        outside = self.cfg.term("empty_out_bb_clc")
        return learns or (outside.on and outside.start_epoch <= epoch)
