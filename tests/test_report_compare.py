from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlib import compare
from dlib.visualization.report import write_report
from helpers.report_experiment import build_experiment


@pytest.fixture
def experiments(tmp_path: Path) -> list[Path]:
    finished = [
        build_experiment(tmp_path / f"s{seed}", epochs=2, seed=seed, pictures=False, classes=["cat", "<b>"])
        for seed in (0, 1)
    ]
    return [*finished, build_experiment(tmp_path / "running", epochs=5, done=2, classes=["cat", "<b>"])]


def test_table_and_report(
    experiments: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "out.html"
    assert compare.main([*map(str, experiments), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    results = [json.loads((folder / "results.json").read_text()) for folder in experiments[:2]]
    for line, result in zip(lines[1:3], results, strict=True):
        test = result["test"]["best_localization"]
        assert f"seed {result['seed']}" in line
        for value in (
            test["headline"],
            test["at_val_taus"]["corloc"]["50"],
            test["box_rule"]["corloc"]["50"],
            result["classifier_test"]["headline"],
        ):
            assert f" {value:.1f} " in line
    assert lines[3].split()[-1] == "–"
    assert lines[-1] == f"report: {out}"
    text = out.read_text(encoding="utf-8")
    assert "<b>" not in text.split("<h2>Test CorLoc by class</h2>")[1].split("<h2>")[0]
    best = max(r["test"]["best_localization"]["headline"] for r in results)
    assert f'<td class="top">{best:.1f}</td>' in text
    flags = text.split("<h2>Flags that differ</h2>")[1]
    assert "<th>MYSEED</th>" in flags
    assert "<th>dataset</th>" not in flags


def test_both_headlines_are_of_one_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = build_experiment(tmp_path / "v2", epochs=1, pictures=False, classes=["cat"])
    path = folder / "results.json"
    results = json.loads(path.read_text())
    test = results["test"]["best_localization"]
    test |= {"box_v2_metric": True, "headline": test["corloc"]["mean"]}
    path.write_text(json.dumps(results))
    chosen = test["at_val_taus"]["corloc"]
    assert abs(chosen["mean"] - chosen["50"]) > 1
    assert compare.main([str(folder), "--out", str(tmp_path / "c.html")]) == 0
    assert f" {test['headline']:.1f} " in (line := capsys.readouterr().out.splitlines()[1])
    assert f" {chosen['mean']:.1f} " in line
    page = write_report(folder).read_text(encoding="utf-8")
    tile = f"<b>{chosen['mean']:.1f} %</b><small>τ chosen on validation</small>"
    assert tile in page
    rule = test["box_rule"]["corloc"]["mean"]
    assert f"<b>{rule:.1f} %</b><small>boxes without thresholds</small>" in page


def test_a_wrong_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(tmp_path / "none")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none: no experiment there" in error


def test_output_that_cannot_be_written(experiments: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(experiments[0]), "--out", str(experiments[0])]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_equal_experiments_are_numbered(experiments: list[Path]) -> None:
    found = [compare.read_experiment(folder) for folder in (experiments[0], experiments[0], experiments[1])]
    assert compare.short_names(found) == [
        "CoLo-CAM · seed 0 (1)",
        "CoLo-CAM · seed 0 (2)",
        "CoLo-CAM · seed 1",
    ]
