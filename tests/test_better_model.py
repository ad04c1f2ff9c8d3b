"""Which maps are better on validation, the trained ones or the classifier's; what localization then uses."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dlib.configure.config import Config
from dlib.configure.constants import BEST_CLASSIFICATION, COLOCAM, STD_CL
from dlib.learning.preferred import keep_better
from dlib.localize import main as localize
from dlib.localizer import Localizer, read_saved_model
from dlib.utils.errors import UserError
from dlib.utils.logging import start_logging
from helpers.saved_experiment import CLASSES, TAUS, save_experiment


def report(without_thresholds: float | None) -> dict[str, Any]:
    """A validation, whose headline says the opposite."""
    per_class = {name: {"best_tau": {"50": tau}} for name, tau in TAUS.items()}
    headline = None if without_thresholds is None else 100 - without_thresholds
    rule = {"corloc": {"50": without_thresholds, "mean": None}}
    return {"headline": headline, "box_v2_metric": False, "box_rule": rule, "per_class": per_class}


@pytest.fixture
def kept(tmp_path: Path) -> Any:
    """``kept(own, other)``: a CoLo-CAM experiment with these validations, its classifier's experiment, results."""
    classifier, trained = save_experiment(tmp_path, STD_CL), save_experiment(tmp_path, COLOCAM)
    saved = read_saved_model(classifier, "best_localization", torch.device("cpu"))
    cfg = Config.from_yaml(trained / "config.yml")

    def keep(own: float | None, other: float | None) -> tuple[Path, Path, dict[str, Any]]:
        start_logging(None, talks=True)
        content = {"val": {"best_localization": report(own)}, "classifier_val": report(other)}
        keep_better(trained, cfg, CLASSES, saved.maps, SimpleNamespace(content=content))  # type: ignore[arg-type]
        return trained, classifier, content

    return keep


def test_localization_uses_the_classifier_where_it_is_better(
    kept: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, classifier, content = kept(38.2, 58.7)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    for part in ("the classifier is better", "38.2 of CoLo-CAM", "58.7 of its classifier's LayerCAM"):
        assert part in said
    assert content["better_on_validation"] == "classifier"
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected, own = (Localizer(folder, model="own").localize(image)[0] for folder in (classifier, trained))
    assert np.abs(expected.map - own.map).max() > 0.01
    for model in ("better", "classifier"):
        found = Localizer(trained, model=model).localize(image)[0]
        assert np.array_equal(found.map, expected.map)
        assert (found.box, found.tau, found.label) == (expected.box, expected.tau, expected.label)
    taus = yaml.safe_load((trained / "classifier" / "thresholds-best_localization.yaml").read_text())
    assert taus == TAUS
    with pytest.raises(UserError, match=BEST_CLASSIFICATION):  # the classifier is better by localization only
        Localizer(trained, BEST_CLASSIFICATION)


@pytest.mark.parametrize(("own", "other"), [(60.0, 58.7), (58.7, 58.7), (None, None)])
def test_localization_uses_the_trained_maps_otherwise(
    kept: Any, own: float | None, other: float | None, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(1.0, 2.0)  # an earlier end of the same run, which is not true any more
    capsys.readouterr()
    trained, _, content = kept(own, other)
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert ("cannot be compared" if own is None else "colocam localize uses CoLo-CAM") in said
    assert content["better_on_validation"] == "CoLo-CAM"
    assert not (trained / "classifier").exists()
    assert not Localizer(trained).is_classifier
    with pytest.raises(UserError, match="keeps no classifier"):
        Localizer(trained, model="classifier")


def test_the_command_says_which_model_it_uses(
    kept: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained, _, _ = kept(38.2, 58.7)
    frame = tmp_path / "frame.png"
    from PIL import Image

    Image.fromarray(np.full((30, 30, 3), 90, np.uint8)).save(frame)
    flags = ["--fd_exp", str(trained), "--input", str(frame), "--device", "cpu"]
    capsys.readouterr()
    assert localize([*flags, "--out", str(tmp_path / "a")]) == 0
    assert "the classifier localizes" in capsys.readouterr().out
    assert localize([*flags, "--out", str(tmp_path / "b"), "--model", "own"]) == 0
    assert "the classifier localizes" not in capsys.readouterr().out
    assert "classifier" in (tmp_path / "a" / "boxes.json").read_text().split('"classes"')[0]
