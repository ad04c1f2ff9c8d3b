from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from dlib.visualization.charts import loss_charts, speed_charts, tau_chart, validation_charts
from dlib.visualization.curves import sheet, write_curves
from dlib.visualization.records import read_experiment
from helpers.logs import events
from helpers.paths import ROOT
from helpers.report_experiment import build_experiment, report_dict


def test_pictures_of_a_finished_and_of_a_running_experiment(tmp_path: Path) -> None:
    finished = [p.name for p in write_curves(build_experiment(tmp_path / "a", epochs=2, pictures=False))]
    names = ["training", "diagnosis", "tau_best_localization", "tau_best_classification"]
    assert finished == [f"curves_{name}.{kind}" for name in names for kind in ("png", "pdf", "svg")]
    for name in names:
        with Image.open(tmp_path / "a" / f"curves_{name}.png") as picture:
            assert np.asarray(picture.convert("L")).std() > 5
        assert (tmp_path / "a" / f"curves_{name}.pdf").read_bytes().startswith(b"%PDF-")
        drawn = ElementTree.parse(tmp_path / "a" / f"curves_{name}.svg")
        assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 20
    running = [p.name for p in write_curves(build_experiment(tmp_path / "b", epochs=2, done=1))]
    assert running == [f"curves_{n}.{k}" for n in ("training", "diagnosis") for k in ("png", "pdf", "svg")]
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "log.jsonl").write_text('{"event":"start"}\n')
    assert write_curves(tmp_path / "c") == []


def test_plotted_points_are_the_logged_ones(tmp_path: Path) -> None:
    experiment = read_experiment(build_experiment(tmp_path / "a", epochs=4, done=4))
    epochs = events(tmp_path / "a", "epoch")
    charts = {chart.title: chart for chart in [*loss_charts(experiment), *speed_charts(experiment)]}
    mean = charts["Seeds"].data[1]
    assert mean["x"] == [1, 2, 3, 4]
    assert mean["y"] == pytest.approx([e["train"]["terms"]["sl_clc"] for e in epochs], rel=1e-5)
    raw = next(t for t in charts["Dense CRF"].data if t["group"] == 1 and t["name"] == "epoch mean")
    assert raw["y"] == pytest.approx([e["train"]["raw"]["crf_clc"] for e in epochs], rel=1e-5)
    steps = charts["Total loss"].data[0]
    assert len(steps["x"]) == 48
    assert steps["x"][-1] == 4  # the last step of epoch 4 lies at 4
    assert sum(t["y"][0] for t in charts["Where the time goes"].data) == pytest.approx(100)


def test_a_term_of_weight_one_is_shown_once(tmp_path: Path) -> None:
    experiment = read_experiment(build_experiment(tmp_path / "a", epochs=2, done=2))
    buttons = {chart.title: chart.buttons for chart in loss_charts(experiment)}
    assert buttons["Seeds"] == []  # its weight is 1
    assert buttons["Dense CRF"] == ["with λ", "without λ"]


def test_static_lines_equal_the_chart(tmp_path: Path) -> None:
    (chart,) = validation_charts(read_experiment(build_experiment(tmp_path / "a", epochs=3, done=3)))
    lines = sheet([chart]).axes[0].get_lines()
    np.testing.assert_allclose(lines[0].get_ydata(), chart.data[0]["y"])


def test_a_class_without_frames_has_no_curve() -> None:
    report = report_dict(["cat", "dog"], 50, np.random.default_rng(0))
    whole = tau_chart("t", "", report)
    report["curves"]["50"]["dog"] = None
    chart = tau_chart("t", "", report)
    assert whole is not None
    assert chart is not None
    assert chart.buttons == ["IoU ≥ 50 %", "IoU ≥ 30 %", "IoU ≥ 70 %"]
    names = [[t["name"] for t in c.data if t["group"] == 0] for c in (whole, chart)]
    assert names == [["cat", "dog", "mean"], ["cat", "mean"]]
    assert tau_chart("t", "", {"curves": {"taus": [0.0], "50": {"cat": None}}}) is None


def test_no_global_plotting_state() -> None:
    code = "import sys, dlib.visualization.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
