"""The flags of the small-data recipe; doc/small_data.md says where they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlib.configure.config import command_line_words, experiment_dir, parse_args
from dlib.configure.constants import BEST_LOCALIZATION, COLOCAM, STD_CL

Flags = dict[str, Any]

# CoLo-CAM's time over its classifier's, for the time left before it begins: measured with 108 and 290 shots on a CPU
# (doc/small_data.md). Most of it is evaluation in all views.
COLOCAM_SHARE = 1.0

_CLASSIFIER: Flags = {
    "batch_size": 32,
    "max_epochs": 20,
    "min_steps": 80,
    "opt__lr": 0.001,
    "opt__step_size": 15,
}
# An untrained head's maps may localize by chance better than the trained one's: hence best_start_ep.
_BOTH: Flags = {"best_start_ep": 1, "ema_decay": 0.95, "aug_color": 0.4, "aug_scale_min": 0.35}
_COLOCAM: Flags = {
    "colocam_pretrained_cl_ch_pt": BEST_LOCALIZATION,
    "freeze_cl": True,
    "batch_size": 8,
    "max_epochs": 5,
    "min_steps": 135,
    "opt__lr": 0.01,
    "opt__step_size": 5,
    "sample_n_from_seq": 2,
    "sample_n_from_seq_style": "before",
    "soft_cam_clc": True,
    "seed_refine_sigma_xy": 10,
    "crf_clc": True,
    "crf_clc_sigma_xy": 50,
    "rgb_jcrf_clc": True,
    "rgb_jcrf_clc_lambda": 0.1,
    "rgb_jcrf_clc_lambda_style": "adaptive",
    "max_sizepos_clc": True,
    "max_sizepos_clc_lambda": 0.01,
    "eval_size": 224,
    "val_fast": True,
    "map_view_scale": 0.5,
    "map_view_flip": True,
    "map_refine_sigma_xy": 16,
    "box_features": True,
    "box_frames": 32,
}


@dataclass(frozen=True)
class Recipe:
    """Both trainings. Widths of filters are in pixels, for the crop of 112.

    Attributes:
        pretrained: folder from which CoLo-CAM gets the trained classifier.
        more: words of the command line for both trainings; they win over the recipe's, but for ``pretrained``.
    """

    dataset: str
    encoder: str
    seed: int
    exps_root: Path
    pretrained: Path
    cams_root: Path
    more: tuple[str, ...] = ()

    def classifier(self) -> list[str]:
        """Words after ``main.py``."""
        return self._words(STD_CL, _CLASSIFIER)

    def colocam(self) -> list[str]:
        # After the user's words: their pretrained_root says where ImageNet's weights are, for the classifier.
        return [*self._words(COLOCAM, _COLOCAM), *command_line_words({"pretrained_root": self.pretrained})]

    @staticmethod
    def folder(words: list[str]) -> Path:
        """The experiment that these words train. Raises UsageError if they are wrong."""
        return experiment_dir(parse_args(words))

    def _words(self, task: str, flags: Flags) -> list[str]:
        common: Flags = {
            "task": task,
            "dataset": self.dataset,
            "encoder_name": self.encoder,
            "method": "LayerCAM",
            "crop_size": 112,
            "resize_size": 128,
            "num_workers": 1,
            "opt__name_optimizer": "sgd",
            "opt__gamma": 0.9,
            "opt__weight_decay": 0.0001,
            "sample_fr_limit": 0.6,
            "amp": True,
            "exp_id": "small",
            "MYSEED": self.seed,
            "exps_root": self.exps_root,
            "cams_root": self.cams_root,
        }
        return [*command_line_words({**common, **_BOTH, **flags}), *self.more]
