"""A result in Python: as a dict, as a picture, in matplotlib."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from dlib.localize import main
from dlib.localizer import Localization, Localizer
from helpers.clips import scene
from helpers.saved_experiment import save_experiment

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_experiment(tmp_path_factory.mktemp("result"))


@pytest.fixture
def result(experiment: Path) -> Localization:
    return Localizer(experiment, device="cpu").localize(scene(0, 48, 36))[0]


def test_dict_and_picture_are_those_of_the_command(
    experiment: Path, result: Localization, tmp_path: Path
) -> None:
    Image.fromarray(scene(0, 48, 36)).save(tmp_path / "frame.png")
    out = tmp_path / "out"
    words = ["--fd_exp", experiment, "--input", tmp_path / "frame.png", "--out", out, "--device", "cpu"]
    assert main(list(map(str, words))) == 0
    (written,) = json.loads((out / "boxes.json").read_text())["frames"]
    found = result.to_dict()
    assert {**found, "name": written["name"], "score": pytest.approx(written["score"])} == written
    json.dumps(found)
    saved = result.save(str(tmp_path / "new" / "mine.png"))
    assert saved == tmp_path / "new" / "mine.png"
    np.testing.assert_array_equal(np.asarray(Image.open(saved)), np.asarray(Image.open(out / "overlay.png")))


def test_plot_shows_frame_map_and_box_in_given_axes(result: Localization) -> None:
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    assert result.plot(axes) is axes
    frame, heat = axes.images
    np.testing.assert_array_equal(frame.get_array(), scene(0, 48, 36))
    np.testing.assert_array_equal(heat.get_array(), result.full_map())
    assert result.box is not None
    x0, y0, x1, y1 = result.box
    (patch,) = axes.patches
    assert patch.get_bbox().extents.tolist() == [x0 - 0.5, y0 - 0.5, x1 + 0.5, y1 + 0.5]
    assert axes.get_title() == f"{result.label} {result.score:.0%}"
    empty = replace(result, box=None).plot()
    assert empty is not axes
    assert not empty.patches
    pyplot.close("all")


def test_a_stream_gives_the_frame_beside_the_result(experiment: Path) -> None:
    from dlib.localizer.source import Frame

    frames = [Frame(0, "0", 0.0, scene(0, 48, 36))]
    ((frame, result),) = Localizer(experiment, device="cpu").stream(frames)
    assert result.image is None
    with pytest.raises(ValueError, match="no image"):
        result.overlay()
    assert replace(result, image=frame.image).overlay().shape == (36, 48, 3)
