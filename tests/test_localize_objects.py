"""Several objects, frames that hold nothing, and tracks: in Python and through the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dlib import localize
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.localizer import Localizer
from dlib.metrics import foreground_odds, quantize_maps
from dlib.metrics.regions import region_boxes
from helpers.clips import scene, write_clip
from helpers.saved_experiment import both_tasks


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    return both_tasks(tmp_path_factory.mktemp("experiments"))


def written(experiment: Path, source: Path, out: Path, *more: str) -> tuple[dict, list[dict]]:
    words = ["--fd_exp", str(experiment), "--input", str(source), "--out", str(out), *more]
    assert localize.main(words) == 0
    with (out / "boxes.csv").open() as file:
        return json.loads((out / "boxes.json").read_text()), list(csv.DictReader(file))


@pytest.mark.parametrize("tau", [None, 0.95])
def test_boxes_are_those_of_the_regions_of_the_mask(experiments: dict[str, Path], tau: float | None) -> None:
    several = 0
    localizer = Localizer(experiments[COLOCAM], multi=True, tau=tau, min_presence=0)
    alone = Localizer(experiments[COLOCAM], tau=tau, min_presence=0)
    for i in range(12):
        image = scene(i, 32, 32)  # the crop's size: boxes are the map's own
        (result,), (single,) = localizer.localize(image), alone.localize(image)
        u = quantize_maps(result.map)
        mask = foreground_odds(u, image) > 0 if tau is None else u > int(tau * u.max())
        assert single.boxes == (single.box,)
        if not mask.any():
            continue
        expected = region_boxes(mask.astype(np.uint8), u)
        ends = np.where(expected[:, 2:] == 31, 31, expected[:, 2:] - 1)  # both corners inside
        assert np.array(result.boxes).tolist() == np.hstack([expected[:, :2], ends]).tolist()
        several += len(expected) > 1
    assert several


def test_presence_is_the_peak_of_the_decoders_foreground(experiments: dict[str, Path]) -> None:
    image = scene(3, 32, 32)
    (result,) = Localizer(experiments[COLOCAM]).localize(image)
    assert result.presence == pytest.approx(float(result.map.max()))  # these maps are not refined or mixed
    assert Localizer(experiments[STD_CL]).localize(image)[0].presence is None


def test_a_frame_below_the_least_presence_holds_nothing(experiments: dict[str, Path]) -> None:
    image = scene(3, 32, 32)
    (found,) = Localizer(experiments[COLOCAM], min_presence=0.0).localize(image)
    assert found.box is not None
    (result,) = Localizer(experiments[COLOCAM], min_presence=1.0).localize(image)
    assert (result.box, result.boxes, result.mask().any()) == (None, (), np.False_)
    assert result.presence == found.presence
    assert Localizer(experiments[STD_CL], min_presence=1.0).localize(image)[0].box is not None


def test_the_files_have_a_row_for_each_box(experiments: dict[str, Path], tmp_path: Path, capsys) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 9)
    more = ("--multi", "True", "--min_presence", "0", "--tau", "0.9")
    content, rows = written(experiments[COLOCAM], clip, tmp_path / "out", *more)
    boxes = [(entry["name"], box) for entry in content["frames"] for box in entry["boxes"]]
    assert [(row["name"], [int(row[c]) for c in ("x0", "y0", "x1", "y1")]) for row in rows] == boxes
    assert len(boxes) > 9
    assert content["multi"]
    assert {row["track"] for row in rows} == {""}
    assert content["tracks"] == []
    assert "nothing found" not in capsys.readouterr().out


def test_frames_that_hold_nothing_are_said(experiments: dict[str, Path], tmp_path: Path, capsys) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5)
    more = ("--min_presence", "1", "--masks", "True")
    content, rows = written(experiments[COLOCAM], clip, tmp_path / "out", *more)
    assert [(entry["box"], entry["boxes"]) for entry in content["frames"]] == [(None, [])] * 5
    assert [(row["x0"], float(row["presence"])) for row in rows] == [
        ("", entry["presence"]) for entry in content["frames"]
    ]
    assert "; nothing found in 5" in capsys.readouterr().out


def test_tracks_have_numbers_in_every_file(experiments: dict[str, Path], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20)
    content, rows = written(experiments[STD_CL], clip, tmp_path / "out", "--tracks", "True")
    numbers = [entry["tracks"] for entry in content["frames"]]
    assert all(len(entry["tracks"]) == len(entry["boxes"]) for entry in content["frames"])
    assert [row["track"] for row in rows] == [str(n) for frame in numbers for n in frame or [""]]
    table = {row["track"]: row for row in content["tracks"]}
    assert set(table) == {n for frame in numbers for n in frame}
    for number, row in table.items():
        frames = [i for i, frame in enumerate(numbers) if number in frame]
        assert (row["first"], row["last"], row["frames"]) == (frames[0], frames[-1], len(frames))
        assert row["class"] in content["classes"]


@pytest.mark.parametrize("value", ["-0.1", "1.5"])
def test_a_wrong_presence_is_one_line(
    experiments: dict[str, Path], tmp_path: Path, value: str, capsys
) -> None:
    words = ["--fd_exp", experiments[COLOCAM], "--input", tmp_path, "--out", tmp_path / "out"]
    assert localize.main([*map(str, words), "--min_presence", value]) == 2
    assert capsys.readouterr().err.count(f"--min_presence {float(value)}: expected a number from 0 to 1") == 1
