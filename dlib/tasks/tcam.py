"""TCAM: the seeds of a frame come from the CAMs of the frames around it too (Belharbi et al., WACV 2023)."""

from __future__ import annotations

from dlib.cams import TemporalPool, seed_technique_at
from dlib.datasets.splits import Data
from dlib.datasets.video_dataset import VideoDataset
from dlib.tasks.decoder.labels import SeedRecipe
from dlib.tasks.decoder.task import DecoderTask
from dlib.utils.logging import logger
from dlib.utils.signals import StopRequest


class Tcam(DecoderTask):
    """CAM-TMP: the stored CAMs of a window of frames are pooled before a frame's seeds are drawn.

    Frames of the validation split have no neighbours: the purity of seeds is measured with each frame's own CAM.
    """

    advice = "raise --max_sizepos_tc_lambda, draw surer seeds with smaller --sl_tc_max_p and --sl_tc_min_p"

    def set_sampling(self, train: VideoDataset) -> None:
        around = self.cfg.knn_tc
        if around:
            train.n_frames, train.style = 2 * around + 1, "before-after"

    def prepare(self, data: Data, stop: StopRequest) -> None:
        cfg = self.cfg
        data.train.pool = TemporalPool(
            cfg.sl_tc_knn,
            cfg.sl_tc_knn_mode,
            heat=cfg.sl_tc_knn_t,
            min_heat=cfg.sl_tc_min_t,
            switch_epoch=cfg.sl_tc_knn_epoch_switch_uniform,
        )
        if cfg.sl_tc_knn:
            logger.info(
                "validation frames have no neighbours: the seeds' purity is measured with each frame's own CAM"
            )
        super().prepare(data, stop)

    def recipe(self, epoch: int) -> SeedRecipe:
        cfg = self.cfg
        technique = seed_technique_at(epoch, cfg.sl_tc_seed_tech, cfg.sl_tc_knn_epoch_switch_uniform)
        # Without a temperature: the pool has sharpened the CAMs of the window.
        return SeedRecipe.of_flags(cfg, "sl_tc", 0.0, technique)

    def makes_own_maps(self, epoch: int) -> bool:
        """From the switch to self-learning on."""
        return 0 <= self.cfg.sl_tc_epoch_switch_to_sl <= epoch
