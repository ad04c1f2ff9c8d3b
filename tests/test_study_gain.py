"""The two rows that the demo ends with, against numbers written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlib.configure.config import Config
from dlib.study.gain import main


def report(
    best: float, chosen: float | None, mean: float = 0.0, v2: bool = False, rule: float | None = None
) -> dict[str, Any]:
    corloc = {"30": 1.0, "50": chosen, "70": 2.0, "mean": mean}
    by_rule = {} if rule is None else {"box_rule": {"corloc": {"50": rule, "mean": rule + 1}}}
    return {"headline": best, "box_v2_metric": v2, "at_val_taus": {"corloc": corloc}, **by_rule}


def experiment(folder: Path, results: dict[str, Any], **flags: Any) -> Path:
    cfg = Config.from_values({"task": "CoLo-CAM", "sl_clc": True, **flags})
    (folder / "config.yml").write_text(cfg.to_yaml())
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def results(classifier: dict[str, Any] | None, localized: dict[str, Any]) -> dict[str, Any]:
    test = {"best_localization": localized, "best_classification": report(99.0, 99.0)}
    return {"classifier_test": classifier, "test": test}


def test_both_rows(tmp_path: Path, capsys) -> None:
    found = experiment(tmp_path, results(report(20.04, 18.0), report(35.3333, None, rule=31.26)))
    assert main([str(found)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "                                                test CorLoc  at validation's τ  without τ",
        "LayerCAM (the classifier that gives the seeds)         20.0               18.0          –",
        "CoLo-CAM                                               35.3                  –       31.3",
    ]


def test_the_row_names_the_method_that_gives_the_seeds(tmp_path: Path, capsys) -> None:
    v2 = report(60.0, 11.0, mean=59.0, v2=True, rule=57.0)
    found = experiment(
        tmp_path, results(v2, report(1.0, 2.0)), seed_cam_method="GradCAMpp", box_v2_metric=True
    )
    assert main([str(found)]) == 0
    first = capsys.readouterr().out.splitlines()[1]
    assert first.startswith("GradCAMpp (the classifier that gives the seeds) ")
    assert first.split()[-3:] == ["60.0", "59.0", "58.0"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            results(None, report(1.0, 2.0)),
            "no classifier's CAMs were measured in this run; name a run of CoLo-CAM, TCAM or F_CL",
        ),
        ({"classifier_test": None, "test": {}}, "not the results of a finished run"),
        ([], "not the results of a finished run"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, capsys, content: Any, words: str) -> None:
    assert main([str(experiment(tmp_path, content))]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'results.json'}: {words}")
    assert error.count("\n") == 1


def test_no_results(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path / "none")]) == 1
    assert "cannot read" in capsys.readouterr().err
