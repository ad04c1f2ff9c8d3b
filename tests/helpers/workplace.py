"""The folders and flags of runs on the tiny dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATASET = "tiny"
METHOD = "LayerCAM"
ENCODER = "resnet18"


@dataclass(frozen=True)
class Workplace:
    """Folders of one test's runs; all of them share the dataset."""

    folder: Path
    datasets: Path
    folds: Path

    def flags(self, task: str = "STD_CL", **changes: Any) -> list[str]:
        """A command line on the tiny dataset: two epochs at 32 pixels, without a single slow extra."""
        values: dict[str, Any] = {
            "task": task,
            "dataset": DATASET,
            "data_root": self.datasets,
            "metadata_root": self.folds,
            "exps_root": self.folder / "exps",
            "pretrained_root": self.folder / "pretrained",
            "cams_root": self.folder / "data_cams",
            "encoder_name": ENCODER,
            "encoder_weights": None,
            "method": METHOD,
            "crop_size": 32,
            "resize_size": 40,
            "batch_size": 4,
            "max_epochs": 2,
            "num_workers": 0,
            "opt__lr": 0.001,
            "exp_id": "t",
            "report": False,
            "vizu_n": 0,
            "checkpoint_save": 1000,
        }
        return [word for name, value in {**values, **changes}.items() for word in (f"--{name}", str(value))]

    def experiment(self, task: str = "STD_CL", exp_id: str = "t", seed: int = 0) -> Path:
        """Where the run with these flags writes; spelled out here, not taken from the program."""
        name = (
            f"id_{exp_id}-tsk_{task}-ds_{DATASET}-mth_{METHOD}-spooling_WGAP-sd_{seed}"
            f"-ecd_{ENCODER}-box_v2_metric_False"
        )
        return self.folder / "exps" / DATASET / ENCODER / task / METHOD / name


def colocam_flags(**changes: Any) -> dict[str, Any]:
    """Flags of CoLo-CAM with every term of the loss, sized for 32 pixels."""
    return {
        "freeze_cl": True,
        "opt__lr": 0.01,
        "sample_n_from_seq": 2,
        "sample_n_from_seq_style": "before",
        "sl_clc": True,
        "sl_clc_min": 20,
        "sl_clc_max": 20,
        "sl_clc_min_p": 0.1,
        "sl_clc_max_p": 0.7,
        "sl_clc_seed_tech": "seed_weighted",
        "sl_clc_use_roi": True,
        "sl_clc_roi_method": "largest",
        "crf_clc": True,
        "crf_clc_lambda": 2e-9,
        "rgb_jcrf_clc": True,
        "rgb_jcrf_clc_lambda": 9.0,
        "rgb_jcrf_clc_lambda_style": "adaptive",
        "max_sizepos_clc": True,
        "max_sizepos_clc_lambda": 0.01,
        "min_entropy_clc": True,
        "size_bg_g_fg_clc": True,
        "sizefg_tmp_clc": True,
        "empty_out_bb_clc": True,
        **changes,
    }


def tcam_flags(**changes: Any) -> dict[str, Any]:
    """Flags of TCAM with every term of the loss, sized for 32 pixels."""
    return {
        "freeze_cl": True,
        "opt__lr": 0.01,
        "sl_tc": True,
        "sl_tc_knn": 1,
        "sl_tc_knn_mode": "before-after",
        "sl_tc_knn_t": 5.0,
        "sl_tc_min": 20,
        "sl_tc_max": 20,
        "sl_tc_ksz": 3,
        "sl_tc_min_p": 0.1,
        "sl_tc_max_p": 0.7,
        "sl_tc_seed_tech": "seed_weighted",
        "sl_tc_use_roi": True,
        "sl_tc_roi_method": "largest",
        "soft_cam_tc": True,
        "crf_tc": True,
        "rgb_jcrf_tc": True,
        "knn_tc": 1,
        "max_sizepos_tc": True,
        "size_bg_g_fg_tc": True,
        "sizefg_tmp_tc": True,
        "empty_out_bb_tc": True,
        **changes,
    }


def fcam_flags(**changes: Any) -> dict[str, Any]:
    """Flags of F-CAM with every term of the loss, sized for 32 pixels."""
    return {
        "freeze_cl": True,
        "opt__lr": 0.01,
        "sl_fc": True,
        "sl_min": 20,
        "sl_max": 20,
        "sl_ksz": 3,
        "sl_fg_erode_k": 3,
        "soft_cam_fc": True,
        "crf_fc": True,
        "max_sizepos_fc": True,
        "entropy_fc": True,
        **changes,
    }


TASK_FLAGS = {"STD_CL": dict, "CoLo-CAM": colocam_flags, "TCAM": tcam_flags, "F_CL": fcam_flags}
"""The flags of each task, as functions."""
