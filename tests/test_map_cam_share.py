"""The classifier's CAM in a decoder's final map: the mixture against its two parts, in evaluation and in prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dlib.cams import build_cam_extractor, refine_cams, upsample_cams
from dlib.configure.constants import COLOCAM
from dlib.datasets.batch import normalize
from dlib.localizer import Localizer, find_weights, read_saved_model
from dlib.models.readout import over_peak
from dlib.utils.errors import UserError
from helpers.clips import scene
from helpers.saved_experiment import save_experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_experiment(tmp_path_factory.mktemp("share"), COLOCAM)


def describe(folder: Path, **more: object) -> None:
    path = find_weights(folder, "best_localization") / "config_model.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **more}))


@pytest.mark.parametrize("sigma_xy", [0.0, 4.0])
@pytest.mark.parametrize("known", [True, False])
def test_the_map_is_the_mixture_of_its_parts(folder: Path, sigma_xy: float, known: bool) -> None:
    maker = read_saved_model(folder, "best_localization", torch.device("cpu"), thresholds=False).maps
    frames = torch.from_numpy(np.stack([scene(i, 32, 32) for i in range(3)])).permute(0, 3, 1, 2)
    images = normalize(frames)
    with torch.no_grad():
        output = maker.model(images)
    labels = torch.tensor([2, 0, 1]) if known else output.logits.argmax(1)
    cams = upsample_cams(build_cam_extractor(maker.model, "LayerCAM")(images, labels), (32, 32))
    parts = [output.maps.softmax(1)[:, 1], cams]
    if sigma_xy:
        parts = [refine_cams(part, frames, 30.0, sigma_xy) for part in parts]
    for share in (0.0, 0.3, 1.0):
        mixed = replace(maker, cam_share=share, refine_sigma_xy=sigma_xy)
        maps, logits = mixed(images, frames, labels if known else None)
        torch.testing.assert_close(logits, output.logits, atol=1e-4, rtol=1e-4)
        decoded, cam = (part.double().numpy() for part in parts)
        for i in range(3):
            truth = decoded[i]
            if share:
                truth = (1 - share) * decoded[i] / decoded[i].max() + share * cam[i] / cam[i].max()
            np.testing.assert_allclose(maps[i].numpy(), truth, atol=1e-4)


def test_a_map_of_zeros_stays_one() -> None:
    maps = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 0.1], [0.2, 0.4]])])
    expected = torch.stack([torch.zeros(2, 2), torch.tensor([[0.0, 0.25], [0.5, 1.0]])])
    torch.testing.assert_close(over_peak(maps), expected)


def test_prediction_reads_the_share_beside_the_weights(folder: Path) -> None:
    frame = scene(1, 32, 32)
    (plain,) = Localizer(folder).localize(frame)
    describe(folder, map_cam_share=0.5)
    (mixed,) = Localizer(folder).localize(frame)
    maker = read_saved_model(folder, "best_localization", torch.device("cpu"), thresholds=False).maps
    assert maker.cam_share == 0.5
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None]
    np.testing.assert_allclose(mixed.map, maker(normalize(pixels), pixels)[0][0].numpy(), atol=1e-5)
    assert np.abs(mixed.map - plain.map).max() > 0.05
    describe(folder, map_cam_share=1.5)
    with pytest.raises(UserError, match="map_cam_share must be from 0 to 1"):
        Localizer(folder)
