from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from dlib import compare
from dlib.visualization.groups import short_names
from dlib.visualization.models_page import repeatable
from dlib.visualization.records import read_experiment
from dlib.visualization.report import write_report
from dlib.visualization.tables import TableCell, latex_table
from helpers.report_experiment import build_experiment


def test_a_page_of_the_models(
    experiments: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = experiments[0] / "a-cp_best_localization-boxv2_False"
    weights.mkdir()
    (weights / "7_best_model.pth").write_bytes(b"weights")
    results = json.loads((experiments[0] / "results.json").read_text())
    results["command"] = "/opt/python /home/me/main.py --task STD_CL --data_root /home/me/data --opt__lr 0.1"
    (experiments[0] / "results.json").write_text(json.dumps(results))
    page = tmp_path / "models.md"
    words = [*map(str, experiments), "--out", str(tmp_path / "c.html"), "--models", str(page)]
    assert compare.main(words) == 0
    assert capsys.readouterr().out.endswith(f"models: {page}\n")
    text = page.read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    assert len(rows) == 4  # the running one is not tested yet
    test = results["test"]["best_localization"]
    assert rows[2][2:5] == [
        f"{test['headline']:.1f}",
        f"{test['at_val_taus']['corloc']['50']:.1f}",
        f"{test['box_rule']['corloc']['50']:.1f}",
    ]
    assert rows[2][-1] == hashlib.sha256(b"weights").hexdigest()
    assert "`python main.py --task STD_CL --data_root DIR --opt__lr 0.1`" in text


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("/p/python -m x", "DIR -m x"),
        ("/p/python /c/dlib/commands/__main__.py train --a 1", "python main.py --a 1"),
        ("torchrun --nnodes=1 main.py --exps_root /e", "torchrun --nnodes=1 main.py --exps_root DIR"),
        ("torchrun --nnodes=1 /c/main.py --exps_root=/e", "torchrun --nnodes=1 main.py --exps_root=DIR"),
        ("python main.py 'no end", "–"),
    ],
)
def test_commands_for_other_machines(command: str, expected: str) -> None:
    assert repeatable(command) == expected


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
    for name, line, result in zip(("s0", "s1"), lines[1:3], results, strict=True):
        test = result["test"]["best_localization"]
        assert line.startswith(f"{name} ")
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


def test_runs_on_other_test_lists_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results of earlier versions do not name their lists, and are taken."""
    folders = [build_experiment(tmp_path / name, epochs=1, pictures=False) for name in ("a", "b", "c")]
    command = [*map(str, folders), "--out", str(tmp_path / "out.html")]

    def name_lists(folder: Path, test: str) -> None:
        path = folder / "results.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"test": test}}))

    name_lists(folders[0], "1f")
    name_lists(folders[2], "1f")
    assert compare.main(command) == 0
    name_lists(folders[2], "2e")
    capsys.readouterr()
    assert compare.main(command) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folders[0]} and {folders[2]} were measured on different test lists")
    assert len(error.splitlines()) == 1


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


def named(folder: Path, exp_id: str, seed: int, **more: object) -> Path:
    """An experiment whose results and flags have these values."""
    build_experiment(folder, epochs=2, seed=seed, pictures=False, classes=["cat", "dog"])
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "exp_id": exp_id, **more}))
    return folder


def test_names_are_those_of_the_experiments(tmp_path: Path) -> None:
    folders = [
        named(tmp_path / "a", "recipe", 0),
        named(tmp_path / "b", "recipe", 1),
        named(tmp_path / "c", "other", 0),
    ]
    found = [read_experiment(folder) for folder in (*folders, folders[2])]
    assert short_names(found) == [
        "recipe · seed 0",
        "recipe · seed 1",
        "other · seed 0 (1)",
        "other · seed 0 (2)",
    ]
    assert short_names(found[1:3]) == ["recipe", "other"]  # nothing more is needed
    both = [read_experiment(named(tmp_path / t, "demo", 0, task=t)) for t in ("STD_CL", "CoLo-CAM")]
    assert short_names(both) == ["demo · STD_CL", "demo · CoLo-CAM"]


def test_seeds_have_a_row_of_mean_and_deviation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [named(tmp_path / f"r{seed}", "recipe", seed) for seed in range(3)]
    folders.append(named(tmp_path / "other", "other", 0))
    tables = [tmp_path / "t.tex", tmp_path / "t.md"]
    flags = [word for table in tables for word in ("--table", str(table))]
    assert compare.main([*map(str, folders), "--out", str(tmp_path / "c.html"), *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    headlines = [
        json.loads((f / "results.json").read_text())["test"]["best_localization"]["headline"]
        for f in folders[:3]
    ]
    expected = f"{np.mean(headlines):.1f} ± {np.std(headlines, ddof=1):.1f}"
    assert lines[4].startswith(f"recipe, 3 seeds  {expected} ")
    assert lines[5].startswith("other")
    assert f"| recipe, 3 seeds | {expected} |" in tables[1].read_text()
    latex = tables[0].read_text()
    assert f"recipe, 3 seeds & {expected.replace('±', '$' + chr(92) + 'pm$')} &" in latex
    rows = [line for line in latex.splitlines() if line.endswith(r" \\")]
    assert {line.count(" & ") for line in rows} == {7}
    assert len(rows) == 1 + 5
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert page.count("<td>" + expected) + page.count('<td class="top">' + expected) == 1


def test_a_table_of_another_kind_is_one_line(experiments: list[Path], tmp_path: Path, capsys) -> None:
    out = ["--out", str(tmp_path / "c.html"), "--table", str(tmp_path / "t.xls")]
    assert compare.main([str(experiments[0]), *out]) == 2
    assert "expected a name that ends in .md or .tex" in capsys.readouterr().err
    assert not (tmp_path / "c.html").exists()


def test_latex_has_no_bare_special_characters() -> None:
    text = latex_table(["a_b", "50%"], [[TableCell("x & y"), TableCell("1 # {2} ^ \\")]])
    assert r"a\_b & 50\% \\" in text
    assert r"x \& y & 1 \# \{2\} \textasciicircum{} \textbackslash{} \\" in text


def test_the_same_frames_stand_side_by_side(tmp_path: Path) -> None:
    folders = [build_experiment(tmp_path / f"s{i}", epochs=1, seed=i, classes=["cat", "dog"]) for i in (0, 1)]
    ids = [
        {r["id"] for r in json.loads((f / "best_localization/test/vizu/50/gallery.json").read_text())}
        for f in folders
    ]
    compare.compare(folders, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'<small class="muted">([^<]+)</small>', page))
    assert shown == ids[0] & ids[1]
    assert page.count("<img ") == 3 * len(shown)  # the frame, and the map of each experiment
    assert page.count('class="predicted"') == 2 * len(shown)
    alone = [folders[0], build_experiment(tmp_path / "none", epochs=1, seed=2, pictures=False)]
    compare.compare(alone, tmp_path / "d.html")
    assert "The same test frames" not in (tmp_path / "d.html").read_text(encoding="utf-8")
