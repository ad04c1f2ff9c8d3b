"""Final maps with the frame's edges: the flags reach evaluation and prediction alike, and are off by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dlib.cams import refine_cams
from dlib.configure.config import Config, metadata_dir
from dlib.configure.constants import TEST
from dlib.datasets.splits import read_frames
from dlib.learning.evaluation import whole_frames
from dlib.localizer import Localizer, find_weights
from dlib.models import load_best_model
from dlib.tasks import build_task
from helpers.workplace import Workplace, colocam_flags


def maps_of(folder: Path, **changes: object) -> tuple[torch.Tensor, torch.Tensor, list[Path]]:
    """Maps [2, H, W] of a finished run's first two test frames, their pixels, and their files."""
    cfg = Config.from_yaml(folder / "config.yml").replace(**changes)
    frames = read_frames(cfg, TEST)
    task = build_task(cfg, frames.metadata.class_names, torch.device("cpu"), initialize=False)
    load_best_model(task.model, find_weights(folder, "best_localization"))
    task.model.eval()
    batch = whole_frames(frames, [0, 1])
    assert metadata_dir(cfg).is_dir()
    root = Path(str(cfg.data_root)) / cfg.dataset
    return (
        task.maps(batch.images, batch.frames, batch.labels)[0],
        batch.frames,
        [root / frame for frame in batch.ids],
    )


@pytest.fixture(scope="module")
def colocam(tmp_path_factory: pytest.TempPathFactory, trained: Workplace) -> Path:
    """A CoLo-CAM run of one epoch whose maps are softened and refined."""
    from helpers.programs import start

    folder = tmp_path_factory.mktemp("refined")
    (folder / "pretrained").symlink_to(trained.folder / "pretrained")
    place = Workplace(folder, trained.datasets, trained.folds)
    more = {"map_temperature": 3, "map_refine_sigma_xy": 3, "map_refine_sigma_rgb": 25, "max_epochs": 1}
    refined = {"seed_refine_sigma_xy": 3, "soft_cam_clc": True, "best_start_ep": 1}
    code, _, error = start(place.flags("CoLo-CAM", **colocam_flags(**more, **refined)))
    assert code == 0, error
    return place.experiment("CoLo-CAM")


@pytest.mark.parametrize("task", ["STD_CL", "CoLo-CAM"])
def test_evaluation_sees_the_refined_map(task: str, trained: Workplace, colocam: Path) -> None:
    folder = trained.experiment() if task == "STD_CL" else colocam
    soft = {"map_temperature": 1e3}  # this short run's logits are in the hundreds
    plain, raw, _ = maps_of(folder, map_refine_sigma_xy=0.0, **soft)
    refined, _, _ = maps_of(folder, map_refine_sigma_xy=3.0, map_refine_sigma_rgb=25.0, **soft)
    assert torch.equal(refined, refine_cams(plain, raw, 25.0, 3.0))
    assert not torch.allclose(refined, plain, atol=1e-2)


def test_temperature_divides_the_logits(colocam: Path) -> None:
    some, more = (
        maps_of(colocam, map_refine_sigma_xy=0.0, map_temperature=t)[0].double() for t in (1e3, 3e3)
    )
    assert torch.allclose(torch.logit(more), torch.logit(some) / 3, atol=1e-4)
    assert more.std() > 0.01


def test_prediction_gives_the_map_of_evaluation(colocam: Path) -> None:
    settings = yaml.safe_load((find_weights(colocam, "best_localization") / "config_model.yaml").read_text())
    assert (settings["map_temperature"], settings["map_refine_sigma_xy"]) == (3.0, 3.0)
    maps, _, files = maps_of(colocam)
    found = Localizer(colocam, tau=0.5, model="own").localize([Image.open(file) for file in files])
    for result, wanted in zip(found, maps.numpy(), strict=True):
        np.testing.assert_allclose(result.map, wanted, atol=1e-4)


def test_off_by_default() -> None:
    cfg = Config()
    assert (cfg.map_temperature, cfg.map_refine_sigma_xy, cfg.seed_refine_sigma_xy) == (1.0, 0.0, 0.0)
    assert not cfg.soft_cam_clc
