"""The road of a user through main.py, from the classifier to CoLo-CAM's last file, on a tiny dataset."""

from __future__ import annotations

import json
import math
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from helpers.logs import events
from helpers.paths import ROOT
from helpers.programs import run_process, start, torchrun
from helpers.published_lines import published_flags
from helpers.workplace import DATASET, ENCODER, Workplace, colocam_flags

CRITERIA = ("best_localization", "best_classification")
TERMS = {
    *("sl_clc", "crf_clc", "rgb_jcrf_clc", "max_sizepos_clc"),
    *("min_entropy_clc", "size_bg_g_fg_clc", "sizefg_tmp_clc", "empty_out_bb_clc"),
}


def tag(criterion: str) -> str:
    return f"{DATASET}-{ENCODER}-LayerCAM-WGAP-cp_{criterion}-boxv2_False"


def check_experiment(experiment: Path, task: str, parts: set[str]) -> dict[str, Any]:
    """What spec 4 says of every finished experiment; returns results.json."""
    config = yaml.safe_load((experiment / "config.yml").read_text())
    assert (config["task"], config["crop_size"], config["max_epochs"]) == (task, 32, 2)
    command = shlex.split((experiment / "code" / "cmd.sh").read_text())
    assert command[command.index("--task") + 1] == task
    environment = yaml.safe_load((experiment / "environment.yml").read_text())
    assert environment["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["device"].startswith(("CPU", "NVIDIA"))
    results = json.loads((experiment / "results.json").read_text())
    expected = {"task": task, "dataset": DATASET, "encoder": ENCODER, "seed": 0, "exp_id": "t"}
    assert {name: results[name] for name in expected} == expected
    assert [entry["epoch"] for entry in results["epochs"]] == [0, 1, 2]
    for criterion in CRITERIA:
        folder = experiment / tag(criterion)
        (weights,) = folder.glob("*_best_model.pth")
        best = results["best"][criterion]
        assert weights.name == f"{best['step']}_best_model.pth"
        assert set(torch.load(weights, weights_only=True)) == parts
        assert yaml.safe_load((folder / "config_model.yaml").read_text())["encoder_name"] == ENCODER
        check_report(results["val"][criterion])
        scores = [
            entry["val"]["headline" if criterion == CRITERIA[0] else "classification"]
            for entry in results["epochs"]
        ]
        assert best["epoch"] == scores.index(max(scores))  # the first epoch wins on ties
        if (task, criterion) == ("CoLo-CAM", CRITERIA[1]):  # no model is best by a frozen classifier
            assert criterion not in results["test"]
            assert not list(experiment.glob(f"*{criterion}*.*"))
            assert not (experiment / criterion).exists()
            continue
        check_report(results["test"][criterion])
        taus = yaml.safe_load((experiment / f"thresholds-{criterion}.yaml").read_text())
        val = results["val"][criterion]["per_class"]
        assert taus == {name: row["best_tau"]["50"] for name, row in val.items()}
        log = (experiment / f"performance_log_{criterion}.txt").read_text()
        assert all(name in log for name in results["classes"])
        assert f"{results['test'][criterion]['headline']:.1f}" in log
        assert set(results["test"][criterion]["at_val_taus"]["corloc"]) >= {"30", "50", "70"}
    checkpoints = sorted((experiment / "checkpoints").glob("*_checkpoint.pth"))
    assert 1 <= len(checkpoints) <= 2
    assert not list(experiment.rglob("*.tmp"))
    assert (experiment / "passed.txt").read_text().strip()
    check_events(experiment, results)
    times = results["times"]
    assert all(times[name] > 0 for name in ("prepare_s", "train_s", "validation_s", "test_s"))
    assert times["total_s"] == pytest.approx(sum(v for name, v in times.items() if name != "total_s"))
    return results


def check_report(report: dict[str, Any]) -> None:
    assert report["samples"] == 12
    for name in ("corloc", "top1", "top5"):
        assert all(0 <= report[name][sigma] <= 100 for sigma in ("30", "50", "70", "mean"))
    assert report["headline"] == report["corloc"]["50"]
    assert report["corloc"]["30"] >= report["corloc"]["50"] >= report["corloc"]["70"]
    assert report["top1"]["50"] <= report["top5"]["50"] <= report["corloc"]["50"]
    rows = report["per_class"].values()
    assert math.isclose(sum(row["corloc"]["50"] for row in rows) / 3, report["corloc"]["50"], abs_tol=1e-9)


def check_events(experiment: Path, results: dict[str, Any]) -> None:
    found = events(experiment)
    kinds = [event["event"] for event in found]
    steps = [event["step"] for event in found if event["event"] == "step"]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert steps == list(range(1, steps[-1] + 1))
    assert [event["epoch"] for event in found if event["event"] == "epoch"] == [1, 2]
    assert [event["epoch"] for event in found if event["event"] == "validation"] == [0, 1, 2]
    assert kinds.count("test") == len(results["test"])
    for event in (event for event in found if event["event"] == "epoch"):
        ours = [e["loss"] for e in found if e["event"] == "step" and e["epoch"] == event["epoch"]]
        assert math.isclose(event["train"]["loss"], sum(ours) / len(ours), rel_tol=1e-9)
        assert math.isclose(sum(event["shares"].values()), 1.0, rel_tol=1e-6)
    validations = [e["report"]["headline"] for e in found if e["event"] == "validation"]
    assert validations == [entry["val"]["headline"] for entry in results["epochs"]]


def test_classifier_leaves_every_file(trained: Workplace) -> None:
    experiment = trained.experiment()
    results = check_experiment(experiment, "STD_CL", {"encoder", "classification_head"})
    assert results["classifier_test"] is None
    assert results["parameters"] == sum(
        value.numel()
        for part in torch.load(
            next(experiment.glob("*-cp_*/*_best_model.pth")), map_location="cpu", weights_only=True
        ).values()
        for name, value in part.items()
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    for criterion in CRITERIA:
        pictures = sorted((experiment / criterion / "test" / "vizu" / "50").glob("*.png"))
        assert len(pictures) >= 3  # of each class one
    page = (experiment / "report.html").read_text()
    assert "<script src" not in page
    assert (experiment / "log.txt").read_text().count("validation after epoch") == 3


def test_finished_experiment_is_not_run_again(trained: Workplace) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.experiment().rglob("*")}
    code, out, _ = start(trained.flags())
    assert code == 0
    assert "finished before" in out
    assert {path: path.stat().st_mtime_ns for path in trained.experiment().rglob("*")} == before


def test_promotion_copies_what_colocam_reads(trained: Workplace) -> None:
    for criterion in CRITERIA:
        ours = trained.experiment() / tag(criterion)
        theirs = trained.folder / "pretrained" / tag(criterion)
        assert {path.name for path in theirs.iterdir()} == {
            "config_model.yaml",
            *(path.name for path in ours.glob("*.pth")),
        }
        for path in theirs.iterdir():
            assert path.read_bytes() == (ours / path.name).read_bytes()


@pytest.fixture(scope="module")
def colocam(trained: Workplace) -> Workplace:
    """A finished CoLo-CAM run with every term on, its classifier frozen, its CAM store filled by it."""
    code, _, error = start(trained.flags("CoLo-CAM", **colocam_flags(), vizu_n=1, report=True), curves=True)
    assert code == 0, error
    return trained


def test_colocam_leaves_every_file(colocam: Workplace) -> None:
    experiment = colocam.experiment("CoLo-CAM")
    parts = {"encoder", "classification_head", "decoder", "segmentation_head"}
    results = check_experiment(experiment, "CoLo-CAM", parts)
    with Image.open(experiment / "curves_training.png") as image:
        assert image.width > 200
    check_report(results["classifier_test"])
    reports = (results["classifier_val"], results["val"][CRITERIA[0]])
    other, own = (report["box_rule"]["corloc"]["50"] for report in reports)
    better = other > own
    assert results["better_on_validation"] == ("classifier" if better else "CoLo-CAM")
    assert (experiment / "classifier").is_dir() == better
    step = events(experiment, "step")[0]
    assert set(step["terms"]) == set(step["raw"]) == TERMS
    assert math.isclose(step["loss"], sum(step["terms"].values()), rel_tol=1e-4)
    assert abs(step["terms"]["rgb_jcrf_clc"]) == pytest.approx(9.0, rel=1e-5)  # adaptive: λ L / |L|
    epoch = events(experiment, "epoch")[0]
    assert 0 <= epoch["diagnostics"]["seed_purity"] <= 1
    assert set(epoch["diagnostics"]["grad_norms"]) == TERMS
    assert list((experiment / "seeds").glob("*.png"))
    assert "best classification" not in (experiment / "log.txt").read_text()
    gallery = json.loads((experiment / CRITERIA[0] / "test/vizu/50/gallery.json").read_text())
    for record in gallery:
        classifier, own = record["strip"]["maps"]
        assert own["box"] == record["box"]
        assert classifier["name"] == "classifier"
        tau = results["classifier_test"]["per_class"][record["label"]]["best_tau"]["50"]
        assert classifier["tau"] == pytest.approx(tau, abs=1e-6)


def test_frozen_classifier_is_the_promoted_one(colocam: Workplace) -> None:
    promoted = torch.load(
        next((colocam.folder / "pretrained" / tag(CRITERIA[1])).glob("*.pth")), weights_only=True
    )
    for weights in colocam.experiment("CoLo-CAM").glob("*-cp_*/*_best_model.pth"):
        trained = torch.load(weights, weights_only=True)
        for part in ("encoder", "classification_head"):
            assert all(torch.equal(trained[part][key], value) for key, value in promoted[part].items())


def test_unfrozen_classifier_and_own_maps_as_seeds(colocam: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path, colocam.datasets, colocam.folds)
    (tmp_path / "pretrained").symlink_to(colocam.folder / "pretrained")
    shutil.copytree(colocam.folder / "data_cams", tmp_path / "data_cams")
    more = colocam_flags(freeze_cl=False, sl_clc_epoch_switch_to_sl=2, ema_decay=0.9, grad_clip=1.0)
    code, out, error = start(place.flags("CoLo-CAM", **more))
    assert code == 0, error
    assert "is complete" in out  # the store of the first run serves this one
    found = events(place.experiment("CoLo-CAM"))
    steps = [event for event in found if event["event"] == "step"]
    assert set(steps[0]["terms"]) == {*TERMS, "class"}
    assert all(math.isfinite(step["loss"]) for step in steps)


def test_store_holds_a_map_for_every_train_frame(colocam: Workplace) -> None:
    (folder,) = (colocam.folder / "data_cams").iterdir()
    assert folder.name == f"{tag(CRITERIA[0])}_cams_train"
    shots = (colocam.folds / DATASET / "train" / "image_ids.txt").read_text().splitlines()
    frames = [path for shot in shots for path in (colocam.datasets / DATASET / shot).glob("*.jpg")]
    wanted = {f"{path.relative_to(colocam.datasets / DATASET)}".replace("/", "_") + ".pt" for path in frames}
    assert {path.name for path in folder.glob("*.pt")} == wanted
    cam = torch.load(next(folder.glob("*.pt")), weights_only=True)
    assert cam.dim() == 2
    assert 0 <= cam.min() <= cam.max() <= 1


def plain(**values: Any) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


@pytest.mark.slow
def test_both_published_command_lines(trained: Workplace, tmp_path: Path) -> None:
    """As they stand in users' scripts, with dataset, paths, network and sizes changed, under torchrun."""
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    paths = {
        "data_root": place.datasets,
        "metadata_root": place.folds,
        "exps_root": tmp_path / "exps",
        "pretrained_root": tmp_path / "pretrained",
        "cams_root": tmp_path / "data_cams",
    }
    small = {
        "encoder_weights": None,
        "crop_size": 32,
        "resize_size": 40,
        "num_workers": 0,
        "max_epochs": 1,
        "vizu_n": 0,
        "report": False,
    }
    changes = plain(**paths, **small, dataset=DATASET, encoder_name=ENCODER, batch_size=8)
    code, out, error = run_process([*published_flags("STD_CL"), *changes], torchrun(1))
    assert code == 0, error
    assert out.count("no CUDA card is used") == (not torch.cuda.is_available())
    (experiment,) = (tmp_path / "exps" / "DEBUG" / DATASET / ENCODER / "STD_CL" / "LayerCAM").iterdir()
    name = f"id_03_14_2023_19_49_04_857184__2897019-tsk_STD_CL-ds_{DATASET}-mth_LayerCAM"
    assert experiment.name.startswith(name)
    shutil.copytree(experiment, tmp_path / "pretrained", ignore=shutil.ignore_patterns("checkpoints"))
    changes += plain(sl_clc_min=20, sl_clc_max=20)
    code, _, error = start([*published_flags("CoLo-CAM"), *changes])  # without torchrun
    assert code == 0, error
    (experiment,) = (tmp_path / "exps" / "DEBUG" / DATASET / ENCODER / "CoLo-CAM" / "LayerCAM").iterdir()
    assert (experiment / "passed.txt").is_file()


def test_promotion_says_epoch_and_scores_and_warns_of_untrained_weights(
    trained: Workplace, tmp_path: Path
) -> None:
    experiment = shutil.copytree(
        trained.experiment(), tmp_path / "e", ignore=shutil.ignore_patterns("checkpoints")
    )
    results = json.loads((experiment / "results.json").read_text())
    for criterion, epoch in zip(CRITERIA, (0, 2), strict=True):
        results["best"][criterion]["epoch"] = epoch
        results["val"][criterion] |= {"headline": 12.34, "classification": None}
    (experiment / "results.json").write_text(json.dumps(results))
    command = ["bash", str(ROOT / "cmds" / "promote.sh"), str(experiment), str(tmp_path / "pretrained")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = sorted(done.stdout.splitlines())
    assert lines[1].endswith(f"{tag(CRITERIA[0])}: epoch 0, validation CorLoc 12.3 %, accuracy – %")
    assert lines[0].endswith(f"{tag(CRITERIA[1])}: epoch 2, validation CorLoc 12.3 %, accuracy – %")
    assert done.stderr.startswith("warning: these weights by localization are from before training (epoch 0)")
    assert done.stderr.count("\n") == 1
    (experiment / "results.json").write_text("{")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("does not say of which epoch") == 2


def test_promotion_refuses_an_unfinished_experiment(tmp_path: Path) -> None:
    script = str(ROOT / "cmds" / "promote.sh")
    done = subprocess.run(["bash", script, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "is not finished" in done.stderr
