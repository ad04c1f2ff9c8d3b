"""Where CoLo-CAM finds the classifier that it builds on."""

from __future__ import annotations

from pathlib import Path

from dlib.configure.config import Config, as_it_lies, model_folder, model_tag
from dlib.utils.errors import UserError


def classifier_folder(cfg: Config) -> Path:
    """Weights that encoder and head start from."""
    return _existing(cfg, cfg.colocam_pretrained_cl_ch_pt)


def seeder_folder(cfg: Config) -> Path:
    """Weights of the classifier whose CAMs give the seeds."""
    return _existing(cfg, cfg.colocam_pretrained_seeder_ch_pt)


def cam_store_folder(cfg: Config) -> Path:
    """Where the seeder's CAMs of all train frames lie."""
    return as_it_lies(cfg, _cam_store_folder)


def _cam_store_folder(cfg: Config) -> Path:
    method = f"{cfg.seed_cam_method}_" if cfg.seed_cam_method not in ("", cfg.method) else ""
    return Path(cfg.cams_root) / f"{model_tag(cfg, cfg.colocam_pretrained_seeder_ch_pt)}_{method}cams_train"


def _existing(cfg: Config, criterion: str) -> Path:
    folder = model_folder(Path(cfg.pretrained_root), cfg, criterion)
    if folder.is_dir():
        return folder
    other = Path(cfg.pretrained_root) / model_tag(cfg, cfg.colocam_pretrained_seeder_ch_pt)
    wanted = " and ".join(dict.fromkeys((str(folder), str(other))))
    raise UserError(
        f"CoLo-CAM starts from a trained classifier, but {folder} does not exist (it needs {wanted}): "
        "train one with --task STD_CL and the same --dataset, --encoder_name, --method, --spatial_pooling and "
        "--box_v2_metric, then run 'bash cmds/promote.sh EXPERIMENT_FOLDER', or copy the folders there yourself"
    )
