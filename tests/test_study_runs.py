"""Running studies: what is started, skipped, continued and reported; the table against numbers worked by hand."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlib.study.__main__ import main
from dlib.study.plan import read_study
from dlib.study.runs import ROOT, Run, Runner
from dlib.study.table import write_tables

# Stands in for main.py: same flags, same folders, but results by a formula instead of training.
FAKE = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from dlib.configure.config import experiment_dir, model_tag, parse_args
cfg = parse_args(sys.argv[1:])
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([cfg.exp_id, cfg.seed, cfg.task, cfg.method, cfg.split, cfg.eval_only]) + "\\n")
def report(value):
    taus = [0.0, 0.25, 0.5, 0.75]
    curves = {{"30": {{}}, "50": {{"cat": [0, value, 0, 0], "dog": [0, 0, value + 8, 0]}}, "70": {{}}}}
    best = {{"cat": 0.25, "dog": 0.5}}
    return {{"headline": value + 4, "classification": 90.0, "box_v2_metric": False,
        "curves": {{"taus": taus, **curves}},
        "at_val_taus": {{"corloc": {{"50": value - 1, "mean": 0}}}},
        "per_class": {{n: {{"corloc": {{"50": value + 8 * i}}, "best_tau": {{"50": best[n]}}}}
                      for i, n in enumerate(best)}}}}
if cfg.eval_only:
    folder = Path(cfg.fd_exp)
    assert list(folder.glob("*-cp_best_localization-*/1_best_model.pth")) and (folder / "config.yml").exists()
    name = f"eval_{{cfg.dataset}}_{{cfg.split}}_best_localization.json"
    (folder / name).write_text(json.dumps(report(40.0)))
    sys.exit()
folder = experiment_dir(cfg)
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yml").write_text(cfg.to_yaml())
if cfg.exp_id == "broken":
    sys.exit("Traceback ...\\nerror: the disk is full")
if cfg.exp_id == "slow":
    import signal
    def leave(*_):
        (folder / "saved").touch()
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    (folder / "started").touch()
    time.sleep(60)
if cfg.exp_id == "half" and not (folder / "begun").exists():
    (folder / "begun").touch()
    sys.exit()
if cfg.task == "CoLo-CAM":
    assert list(Path(cfg.pretrained_root).glob(f"{{cfg.dataset}}-*-{{cfg.method}}-*-cp_best_localization-*"))
else:
    for criterion in ("best_localization", "best_classification"):
        weights = folder / model_tag(cfg, criterion)
        weights.mkdir(exist_ok=True)
        (weights / "1_best_model.pth").touch()
        (weights / "config_model.yaml").touch()
value = 50.0 + 100 * cfg.opt__lr + 2 * cfg.seed
results = {{"val": {{"best_localization": report(value)}}, "test": {{"best_localization": report(value)}},
           "classifier_test": {{"headline": 51.0 + cfg.seed}} if cfg.task == "CoLo-CAM" else None}}
(folder / "results.json").write_text(json.dumps(results))
(folder / "passed.txt").touch()
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.program = folder / "fake.py"
        self.program.write_text(FAKE.format(root=str(ROOT), calls=str(self.calls)))

    def run(self, text: str, jobs: int = 1) -> list[Run]:
        path = self.folder / "s.yaml"
        path.write_text(text)
        return Runner(read_study(path), self.folder / "out", jobs, (sys.executable, str(self.program))).run()

    def started(self) -> list[list[object]]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]


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
        "stopped before its end; start the study again to go on",
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
    assert evaluated == [(m, s) for m in ("GAP", "GradCAM") for s in ("test", "test", "val", "val")]

    # Variant two: value = 70 and 72, headline 4 more, classifier 51 and 52 -> differences 23 and 24.
    table = write_tables(runs, place.folder, cost)
    head, _, one, two, grad_cam, *_ = table.splitlines()
    assert [c.strip() for c in head.strip("|").split("|")] == [
        "variant", "val CorLoc", "test CorLoc", "test at val τ", "classifier's CAM", "difference", "accuracy",
        "cat", "dog", "ms per frame", "parameters", "runs",
    ]  # fmt: skip
    assert one.startswith("| one | 65.0 ± 1.4 |")
    assert [c.strip() for c in two.strip("|").split("|")] == [
        "**two**", "**75.0 ± 1.4**", "75.0 ± 1.4", "70.0 ± 1.4", "51.5 ± 0.7", "23.5 ± 0.7 (+23.0, +24.0)",
        "90.0 ± 0.0", "71.0 ± 1.4", "79.0 ± 1.4", "12.5", "1,234", "2/2",
    ]  # fmt: skip
    # An evaluation knows no thresholds of validation: they are read off the test's curves, here 40 and 48.
    assert grad_cam.startswith("| GradCAM | 44.0 ± 0.0 | 44.0 ± 0.0 | 44.0 ± 0.0 | – | – | 90.0 ± 0.0 | 40.0")

    rows = list(csv.DictReader((place.folder / "table.csv").open()))
    assert [row["best"] for row in rows] == ["0", "1", "0", "0"]
    assert float(rows[1]["val CorLoc"]) == 75.0
    assert float(rows[1]["val CorLoc std"]) == pytest.approx(2**0.5)
    assert rows[1]["difference per seed"] == "23.0000 24.0000"
    assert rows[1]["seeds"] == "0 1"

    assert not any(run.error for run in place.run(COLOCAM))
    assert place.started() == []


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


def test_a_real_study(tmp_path: Path, tiny_data: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "s.yaml").write_text(
        "base: {dataset: tiny, encoder_name: resnet18, encoder_weights: None, crop_size: 16, resize_size: 18,\n"
        "  batch_size: 4, max_epochs: 1, num_workers: 0, sl_clc: True, freeze_cl: True, device: cpu}\n"
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
