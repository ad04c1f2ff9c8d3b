"""Running studies: what is started, skipped, continued and reported; the table against numbers worked by hand."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlib.study.__main__ import main
from dlib.study.table import write_tables
from dlib.utils.errors import UserError
from helpers.fake_study import Place
from helpers.paths import ROOT


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def cost(folder: Path, method: str) -> dict[str, float]:
    return {"seconds": 0.0125, "parameters": 1234}


def test_errors_stay_with_their_variant_and_unfinished_runs_go_on(place: Place, capsys) -> None:
    text = "variants:\n  broken: {opt__lr: 0.5}\n  half:\n  good: {opt__lr: 0.1}\nbase: {dataset: d}\n"
    runs = place.run(text)
    assert [run.error for run in runs] == [
        "error: the disk is full",
        "stopped before its end; start the study again to continue",
        "",
    ]
    assert "broken seed 0: failed: error: the disk is full\n" in capsys.readouterr().out
    assert [call[0] for call in place.started()] == ["broken", "half", "good"]
    again = place.run(text)
    assert [bool(run.error) for run in again] == [True, False, False]
    assert [call[0] for call in place.started()] == ["broken", "half"]
    table = write_tables(again, place.folder, cost)
    assert "- failed: broken, seed 0: error: the disk is full" in table
    assert "**good**" in table


COLOCAM = """
seeds: [0, 1]
base: {dataset: d, sl_clc: True, opt__lr: 0.1}
classifier: {opt__lr: 0.01}
variants:
  one:
  two: {opt__lr: 0.2}
  GradCAM: {method: GradCAM, eval_only: True}
  GAP: {method: GAP, eval_only: True}
"""
ONE_SEED = COLOCAM.replace("[0, 1]", "[0]")


def test_classifiers_once_per_seed_then_the_table(place: Place) -> None:
    runs = place.run(COLOCAM, jobs=2)
    assert not any(run.error for run in runs)
    calls = place.started()
    assert sorted(c[:3] for c in calls[:4]) == [
        [name, seed, "STD_CL"] for name in ("classifier", "classifier-GAP") for seed in (0, 1)
    ]
    assert sorted(c[:3] for c in calls if c[2] == "CoLo-CAM") == [
        [name, seed, "CoLo-CAM"] for name in ("one", "two") for seed in (0, 1)
    ]
    evaluated = sorted((c[3], c[4]) for c in calls if c[5])
    assert evaluated == [(m, s) for m in ("GAP", "GradCam") for s in ("test", "test", "val", "val")]

    # Variant two: value = 70 and 72, headline 4 more, classifier 51 and 52 -> differences 23 and 24.
    table = write_tables(runs, place.folder, cost)
    head, _, one, two, grad_cam, *_ = table.splitlines()
    assert [c.strip() for c in head.strip("|").split("|")] == [
        "variant", "val CorLoc", "test CorLoc", "test at val τ", "classifier's CAM", "difference", "accuracy",
        "cat", "dog", "ms per frame", "parameters", "hours", "peak MiB", "runs",
    ]  # fmt: skip
    assert one.startswith("| one | 65.0 ± 1.4 |")
    assert [c.strip() for c in two.strip("|").split("|")] == [
        "**two**", "**75.0 ± 1.4**", "75.0 ± 1.4", "70.0 ± 1.4", "51.5 ± 0.7", "23.5 ± 0.7 (+23.0, +24.0)",
        "90.0 ± 0.0", "71.0 ± 1.4", "79.0 ± 1.4", "12.5", "1,234", "0.50", "1000", "2/2",
    ]  # fmt: skip
    # An evaluation knows no thresholds of validation: they are read off the test's curves, here 40 and 48.
    assert grad_cam.startswith("| GradCAM | 44.0 ± 0.0 | 44.0 ± 0.0 | 44.0 ± 0.0 | – | – | 90.0 ± 0.0 | 40.0")

    rows = list(csv.DictReader((place.folder / "table.csv").open()))
    assert [row["best"] for row in rows] == ["0", "1", "0", "0"]
    assert float(rows[1]["val CorLoc"]) == 75.0
    assert float(rows[1]["val CorLoc std"]) == pytest.approx(2**0.5)
    assert rows[1]["difference per seed"] == "23.0000 24.0000"
    assert rows[1]["seeds"] == "0 1"

    # Variants that were left out say so, in the study's order.
    table = write_tables(
        [run for run in runs if run.variant.name != "one"], place.folder, cost, ["one", "two"]
    )
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:6]] == [
        "one",
        "**two**",
        "GradCAM",
        "GAP",
    ]
    assert table.splitlines()[2].endswith("| – | not run |")
    page = (place.folder / "table.html").read_text(encoding="utf-8")
    assert "<td><b>two</b></td>" in page
    assert "<td>not run</td>" in page

    models = (place.folder / "models.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in models.splitlines() if "|" in line]
    assert rows[2:] == [
        ["two", seed, test, at_val, "–", "abc123", "a card", "30 min 00 s", "–"]
        for seed, test, at_val in (("0", "74.0", "69.0"), ("1", "76.0", "71.0"))
    ]
    assert models.endswith("\n\n- two: `python main.py --exp_id two`\n")

    assert not any(run.error for run in place.run(COLOCAM))
    assert place.started() == []


def refused(place: Place, text: str) -> str:
    with pytest.raises(UserError) as error:
        place.run(text)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; give another --out, or remove that folder")
    assert place.started() == []
    return str(error.value)


def test_results_of_other_flags_are_refused(place: Place) -> None:
    text = "seeds: [0, 1]\nbase: {dataset: d, max_epochs: 3}\nvariants:\n  a: {opt__lr: 0.1}\n  b:\n"
    place.run(text)
    assert len(place.started()) == 4
    (folder,) = place.folder.glob("out/exps/d/*/*/*/id_a-*-sd_0-*")
    said = refused(place, text.replace("opt__lr: 0.1", "opt__lr: 0.2"))
    assert said.startswith(f"a seed 0: {folder} was made with --opt__lr 0.1, the study says 0.2; ")
    # A flag that the study no longer has is a change too: 150 is the default.
    assert "--max_epochs 3, the study says 150" in refused(place, text.replace(", max_epochs: 3", ""))
    # No number depends on these.
    more = (
        "num_workers: 0, vizu_n: 3, report: True, verbose: False, progress: false, device: cpu, data_root: x"
    )
    assert not any(run.error for run in place.run(text.replace("dataset: d", f"dataset: d, {more}")))
    assert place.started() == []
    for seed in (0, 1):
        (folder,) = place.folder.glob(f"out/exps/d/*/*/*/id_a-*-sd_{seed}-*")
        shutil.rmtree(folder)
    place.run(text.replace("opt__lr: 0.1", "opt__lr: 0.2"))
    assert [call[:2] for call in place.started()] == [["a", 0], ["a", 1]]


def test_an_interrupted_run_goes_on_with_its_own_flags_only(place: Place) -> None:
    text = "variants:\n  half: {opt__lr: 0.1}\nbase: {dataset: d}\n"
    place.run(text)
    place.started()
    (begun,) = place.folder.rglob("begun")
    # Nothing was saved yet: the run starts anew, with whatever flags.
    begun.unlink()
    changed = text.replace("0.1", "0.3")
    place.run(changed)
    assert len(place.started()) == 1
    (begun.parent / "checkpoints").mkdir()
    (begun.parent / "checkpoints" / "5_checkpoint.pth").touch()
    assert "was made with --opt__lr 0.3, the study says 0.1" in refused(place, text)
    assert not any(run.error for run in place.run(changed))


def test_evaluations_of_other_flags_are_refused(place: Place) -> None:
    place.run(ONE_SEED)
    place.started()
    (folder,) = place.folder.glob("out/evaluations/GradCAM/seed_0")
    changed = ONE_SEED.replace("{method: GradCAM,", "{method: GradCAMpp,")
    assert refused(place, changed).startswith(
        f"GradCAM seed 0: {folder} was made with --method GradCam, the study says GradCAMpp; "
    )
    finer = ONE_SEED.replace("GAP, eval_only", "GAP, cam_curve_interval: 0.01, eval_only")
    assert "--cam_curve_interval 0.001, the study says 0.01" in refused(place, finer)
    # Rates and lengths of base are those of CoLo-CAM: the classifier has its own, and its readings stay.
    (place.folder / "alone").mkdir()
    alone = Place(place.folder / "alone")
    text = ONE_SEED.replace("  one:\n  two: {opt__lr: 0.2}\n", "")
    alone.run(text)
    alone.started()
    assert not any(run.error for run in alone.run(text.replace("opt__lr: 0.1}", "opt__lr: 0.5}")))
    assert alone.started() == []
    # Numbers of which nothing says how they were measured are measured again.
    (alone.folder / "out/evaluations/GAP/seed_0/evaluation.yml").unlink()
    alone.run(text)
    assert [call[1:5] for call in alone.started()] == [
        [0, "STD_CL", "GAP", split] for split in ("val", "test")
    ]


def test_what_builds_on_another_classifier_is_refused(place: Place) -> None:
    place.run(ONE_SEED)
    place.started()
    changed = ONE_SEED.replace("opt__lr: 0.01", "opt__lr: 0.05")
    assert "classifier seed 0: " in refused(place, changed)
    for folder in place.folder.glob("out/exps/d/*/STD_CL/*/*"):
        shutil.rmtree(folder)
    said = refused(place, changed)
    assert said.startswith("one seed 0: ")
    assert "was made with --opt__lr 0.01 of its classifier, the study says 0.05" in said
    for folder in place.folder.glob("out/exps/d/*/CoLo-CAM/*/*"):
        shutil.rmtree(folder)
    assert refused(place, changed).startswith("GradCAM seed 0: ")
    shutil.rmtree(place.folder / "out/evaluations")
    assert not any(run.error for run in place.run(changed))


def test_flags_that_cannot_be_read_are_named(place: Place, capsys) -> None:
    text = "variants: {a: }\nbase: {dataset: d}"
    place.run(text)
    (config,) = place.folder.rglob("config.yml")
    config.write_text("[")
    assert main([str(place.folder / "s.yaml"), "--out", str(place.folder / "out")]) == 1
    assert capsys.readouterr().err == (
        f"error: {config}: cannot be read as flags; give another --out, or remove its folder\n"
    )


def test_variants_of_a_failed_classifier(place: Place) -> None:
    place.program.write_text("import sys; sys.exit('error: no data')")
    runs = place.run(COLOCAM)
    assert {run.error for run in runs} == {"its classifier failed"}
    table = write_tables(runs, place.folder, cost)
    assert table.count("its classifier failed") == 8
    assert "0/2" in table


def test_stopping_asks_the_runs_to_save(place: Place) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom dlib.study.plan import read_study\n"
        "from dlib.study.runs import Runner\n"
        f"place = Path({str(place.folder)!r})\n"
        "Runner(read_study(place / 's.yaml'), place / 'out', 1, (sys.executable, str(place / 'fake.py'))).run()\n"
    )
    (place.folder / "s.yaml").write_text("variants: {slow: , later: }\nbase: {dataset: d}")
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + 20
    while not list(place.folder.rglob("started")) and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in error
    assert list(place.folder.rglob("saved"))
    assert [call[0] for call in place.started()] == ["slow"]


def test_command_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "s.yaml").write_text("variants: {a: {colour: 1}}")
    assert main([str(tmp_path / "s.yaml"), "--out", str(tmp_path / "o")]) == 2
    assert "line 1: unknown flag --colour" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_a_real_study(tmp_path: Path, tiny_data: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "s.yaml").write_text(
        "base: {dataset: tiny, encoder_name: resnet18, encoder_weights: None, crop_size: 16, resize_size: 18,\n"
        "  batch_size: 4, max_epochs: 1, num_workers: 0, sl_clc: True, freeze_cl: True, device: cpu,\n"
        "  report: False, vizu_n: 0}\n"
        "classifier: {opt__lr: 0.01}\n"
        "variants: {CAM: {method: CAM, eval_only: True}, CoLo-CAM: }\n"
    )
    words = [str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out"), "--jobs", "2", "--"]
    more = ["--data_root", str(tiny_data / "datasets"), "--metadata_root", str(tiny_data / "folds")]
    code = main(words + more)
    said = capsys.readouterr()
    assert code == 0, said
    lines = [line for line in said.out.splitlines() if line.startswith("| ")]
    assert len(lines) == 4
    assert "1/1" in lines[2]
    assert "1/1" in lines[3]
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").open()))
    assert [row["variant"] for row in rows] == ["CAM", "CoLo-CAM"]
    assert float(rows[1]["difference"]) == pytest.approx(
        float(rows[1]["test CorLoc"]) - float(rows[1]["classifier's CAM"])
    )
    assert int(rows[0]["parameters"]) < int(rows[1]["parameters"])
