"""Final maps of several views of a frame, and of larger frames than those of training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

from dlib.configure.config import Config, parse_args
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.datasets.batch import normalize
from dlib.datasets.splits import load_data
from dlib.localizer import Localizer, read_saved_model
from dlib.localizer.result import frame_box
from dlib.metrics import quantize_maps, rule_boxes
from dlib.models import MapMaker
from dlib.tasks.networks import build_classifier
from dlib.utils.errors import UsageError, UserError
from dlib.utils.files import read_json
from helpers.clips import scene
from helpers.programs import start
from helpers.saved_experiment import both_tasks
from helpers.workplace import DATASET, Workplace

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    return both_tasks(tmp_path_factory.mktemp("experiments"))


def maker(folder: Path, **more: object) -> MapMaker:
    return replace(read_saved_model(folder, "best_localization", CPU).maps, **more)


def batch(side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    frames = torch.from_numpy(np.stack([scene(i, side, side) for i in range(3)])).permute(0, 3, 1, 2)
    return normalize(frames), frames


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_maps_are_the_mean_of_the_views_each_over_its_peak(
    experiments: dict[str, Path], task: str, scale: float
) -> None:
    images, frames = batch()
    one = maker(experiments[task])
    maps, logits = maker(experiments[task], view_flip=True, view_scale=scale)(images, frames)
    labels = logits.argmax(dim=1)
    sides = sorted({64, int(64 * scale)})
    smallest = F.interpolate(images, size=(sides[0], sides[0]), mode="bilinear", antialias=True)
    torch.testing.assert_close(logits, one(smallest, smallest)[1])
    expected = []
    for size in sides:
        seen = (
            F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
            if size != 64
            else images
        )
        for flip in (False, True):
            shown = seen.flip(-1) if flip else seen
            found = one(shown, shown, labels)[0]
            found = F.interpolate(found[:, None], size=(64, 64), mode="bilinear")[:, 0]
            found = found.flip(-1) if flip else found
            expected.append(found / found.amax(dim=(1, 2), keepdim=True))
    torch.testing.assert_close(maps, torch.stack(expected).mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
def test_a_mirrored_frame_has_the_mirrored_map(experiments: dict[str, Path], task: str) -> None:
    images, frames = batch()
    both = maker(experiments[task], view_flip=True)
    labels = torch.tensor([0, 1, 2])
    maps = both(images, frames, labels)[0]
    torch.testing.assert_close(both(images.flip(-1), frames.flip(-1), labels)[0].flip(-1), maps)
    one = maker(experiments[task])
    assert not torch.allclose(
        one(images.flip(-1), frames, labels)[0].flip(-1), one(images, frames, labels)[0]
    )


def test_views_and_the_share_of_the_cam(experiments: dict[str, Path]) -> None:
    images, frames = batch()
    labels = torch.tensor([0, 1, 2])
    parts = [
        maker(experiments[COLOCAM], view_flip=True, cam_share=share)(images, frames, labels)[0]
        for share in (0, 1)
    ]
    mixed = maker(experiments[COLOCAM], view_flip=True, cam_share=0.25)(images, frames, labels)[0]
    decoded, cams = (part / part.amax(dim=(1, 2), keepdim=True) for part in parts)
    torch.testing.assert_close(mixed, 0.75 * decoded + 0.25 * cams, atol=1e-5, rtol=1e-4)


def test_presence_is_that_of_the_smallest_view_as_it_is(experiments: dict[str, Path]) -> None:
    images, frames = batch()
    plain, several = maker(experiments[COLOCAM]), maker(experiments[COLOCAM], view_flip=True, view_scale=0.5)
    half = F.interpolate(images, size=(32, 32), mode="bilinear", antialias=True)
    torch.testing.assert_close(several.readout(images, frames)[2], plain.readout(half, half)[2])


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
@pytest.mark.parametrize("views", [{}, {"view_flip": True, "view_scale": 0.5}])
def test_the_box_rules_features_are_of_the_frame_as_it_is(
    experiments: dict[str, Path], task: str, views: dict[str, Any]
) -> None:
    """Of resnet18 the stage whose grid is four times as coarse; maps and logits do not change."""
    images, frames = batch()
    plain = maker(experiments[task], **views)
    found = replace(plain, box_features=True).readout(images, frames)
    with torch.no_grad():
        features = plain.model.features(images)[2]
    assert features.shape[1:] == (64, 16, 16)
    assert found.features is not None
    torch.testing.assert_close(found.features, features)
    expected = plain.readout(images, frames)
    assert expected.features is None
    torch.testing.assert_close(found[:3], expected[:3])


@pytest.mark.parametrize("options", [{}, {"cam_share": 0.5}, {"box_features": True}])
def test_a_decoder_runs_as_a_whole_if_nothing_else_needs_its_features(
    experiments: dict[str, Path], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--compile compiles the whole."""
    images, frames = batch()
    network = maker(experiments[COLOCAM], **options)
    calls: list[torch.Tensor] = []
    whole = network.model.forward
    monkeypatch.setattr(network.model, "forward", lambda x: calls.append(x) or whole(x))
    network(images, frames)
    assert len(calls) == (not options)


@pytest.mark.parametrize(("side", "expected"), [(64, 16), (65, 17), (62, 16), (8, 2)])
def test_the_features_are_the_finest_that_are_coarse_enough(
    experiments: dict[str, Path], side: int, expected: int
) -> None:
    images, frames = batch(side)
    found = maker(experiments[STD_CL], box_features=True).readout(images, frames).features
    assert found is not None
    assert found.shape[1:] == (64, expected, expected)


def test_an_encoder_without_fine_features_gives_its_only_ones() -> None:
    model = build_classifier(parse_args(["--encoder_name", "vit_b_16"]), 3, encoder_weights=None).eval()
    images, frames = batch(32)
    found = MapMaker(model, "CAM", box_features=True).readout(images, frames).features
    assert found is not None
    assert found.shape[2:] == (2, 2)


def test_boxes_of_localization_and_of_the_metric_ask_the_features(
    experiments: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(experiments[COLOCAM], tmp_path / "e"))
    (settings,) = folder.glob("*/config_model.yaml")
    written = yaml.safe_load(settings.read_text())
    settings.write_text(yaml.safe_dump(written | {"box_features": True}))
    plain, asked = Localizer(experiments[COLOCAM]), Localizer(folder)
    differ = 0
    for i in range(6):
        frame = scene(i, 32, 32)
        images, frames = normalize(torch.from_numpy(frame)[None].permute(0, 3, 1, 2)), torch.from_numpy(frame)
        seen = asked.saved.maps.readout(images, frames.permute(2, 0, 1)[None])
        assert seen.features is not None
        found = rule_boxes(quantize_maps(seen.maps)[0], frame, features=seen.features[0].numpy())[0]
        (result,), (other,) = asked.localize(frame), plain.localize(frame)
        assert result.box == frame_box(found, 32, (32, 32))
        differ += result.box != other.box
    assert differ
    settings.write_text(yaml.safe_dump(written | {"box_features": 2}))
    with pytest.raises(UserError, match="box_features must be from 0 to 1"):
        Localizer(folder)


def test_larger_frames_in_evaluation(trained: Workplace) -> None:
    cfg = parse_args([*trained.flags(), "--eval_size", "96"])
    data = load_data(cfg)
    assert (data.train.crop_size, data.val.crop_size, data.test.crop_size) == (cfg.crop_size, 96, 96)
    assert Config().eval_side == Config().crop_size


def test_a_model_remembers_the_size(experiments: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(experiments[COLOCAM], tmp_path / "larger")
    (settings,) = folder.glob("*/config_model.yaml")
    content = yaml.safe_load(settings.read_text())
    settings.write_text(yaml.safe_dump(content | {"eval_size": 64, "map_view_flip": True}))
    image = scene(0, 80, 60)
    (result,) = Localizer(folder, model="own").localize(image)
    small = torch.from_numpy(np.array(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)))
    frames = small.permute(2, 0, 1)[None]
    expected = maker(experiments[COLOCAM], view_flip=True)(normalize(frames), frames)[0][0]
    np.testing.assert_allclose(result.map, expected.numpy(), atol=1e-6)
    (old,) = Localizer(experiments[COLOCAM], model="own").localize(image)
    assert old.map.shape == (32, 32)
    (fast,) = Localizer(folder, model="own", fast=True).localize(image)
    np.testing.assert_array_equal(fast.map, old.map)
    settings.write_text(yaml.safe_dump(content | {"eval_size": 64, "map_refine_sigma_xy": 6.0}))
    maps = read_saved_model(folder, "best_localization", CPU, fast=True).maps
    assert (maps.refine_sigma_xy, maps.view_scale, maps.view_flip) == (3.0, 1.0, False)


def test_a_size_that_the_encoder_cannot_see_is_named() -> None:
    cfg = Config.from_values(
        {"encoder_name": "vit_b_16", "crop_size": 224, "eval_size": 250, "task": "STD_CL"}
    )
    with pytest.raises(UsageError, match="--eval_size 250: --encoder_name vit_b_16 needs a multiple of 16"):
        build_classifier(cfg, 2, None)


def test_fast_validation_sees_frames_as_without_views_until_the_end(
    trained: Workplace, workplace: Workplace
) -> None:
    views = {"eval_size": 64, "map_view_flip": True, "val_fast": True}
    code, out, error = start(workplace.flags(**views))
    assert code == 0, error
    folder = workplace.experiment()
    found, plain = (read_json(place.experiment() / "results.json") for place in (workplace, trained))
    assert [epoch["val"] for epoch in found["epochs"]] == [epoch["val"] for epoch in plain["epochs"]]
    assert "validation of best localization, seen as in test: CorLoc" in out
    again = {"eval_only": True, "fd_exp": folder, "split": "val", "cam_curve_interval": 0.004}
    code, _, error = start(workplace.flags(**views, **again))
    assert code == 0, error
    whole = read_json(folder / f"eval_{DATASET}_val_best_localization.json")
    validated = found["val"]["best_localization"]
    assert validated["curves"] == whole["curves"]
    assert validated["curves"] != plain["val"]["best_localization"]["curves"]
