"""GradCam, as the authors' program spells it, and GradCAM, as earlier versions did: both are typed, either is found."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from dlib import Localizer, compare, status
from dlib.cams import build_cam_extractor
from dlib.cams.gradient import GradCAM, GradCAMpp
from dlib.configure import config
from dlib.configure.config import parse_args
from dlib.configure.constants import METHODS, spellings
from dlib.learning.checkpoints import load_tensors, save_tensors
from dlib.localizer import read_saved_model
from dlib.models import STDClassifier
from dlib.study.plan import read_study
from dlib.tasks.decoder.classifier import cam_store_folder, classifier_folder
from dlib.utils.errors import UserError
from helpers.fake_study import Place
from helpers.paths import ROOT
from helpers.programs import start
from helpers.saved_experiment import save_experiment
from helpers.workplace import DATASET, ENCODER, Workplace

# Spelled as in the published program's dlib/configure/constants.py.
THEIRS = {
    "WILDCAT", "GAP", "MaxPOL", "LogSumExp", "CAM", "ScoreCAM", "SSCAM", "ISCAM", "GradCam", "GradCAMpp",
    "SmoothGradCAMpp", "XGradCAM", "LayerCAM",
}  # fmt: skip
NEW, OLD = "GradCam", "GradCAM"
COLOCAM = ("--task", "CoLo-CAM", "--sl_clc", "True")
TAG = f"{DATASET}-{ENCODER}-{{}}-WGAP-cp_{{}}-boxv2_False"


def test_methods_are_spelled_as_theirs() -> None:
    assert set(METHODS) == THEIRS


@pytest.mark.parametrize("typed", [NEW, OLD, "gradcam"])
def test_either_is_typed(typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yml").write_text(f"method: {typed}\nseed_cam_method: {typed}\n")
    for words in (["--method", typed, f"--seed_cam_method={typed}"], ["--config", "c.yml"]):
        cfg = parse_args([*words, *COLOCAM, "--dataset", DATASET, "--encoder_name", ENCODER])
        assert (cfg.method, cfg.seed_cam_method) == (NEW, NEW)
        assert config.model_tag(cfg, "best_localization") == TAG.format(NEW, "best_localization")
        folder = config.experiment_dir(cfg)
        assert (folder.parent.name, folder.name.count("-mth_GradCam-")) == (NEW, 1)
        assert cam_store_folder(cfg) == Path(
            "data_cams", TAG.format(NEW, "best_localization") + "_cams_train"
        )


def test_either_names_the_extractor() -> None:
    net = STDClassifier("resnet18", 2)
    for name, kind in ((NEW, GradCAM), (OLD, GradCAM), ("GradCAMPP", GradCAMpp)):
        assert type(build_cam_extractor(net, name)) is kind
    with pytest.raises(ValueError, match="one of CAM, GradCam, GradCAMpp"):
        build_cam_extractor(net, "Grad-CAM")


@pytest.mark.parametrize("exp_id", ["1", "GradCam"])
def test_either_is_found(tmp_path: Path, exp_id: str) -> None:
    """The authors' spelling first; names of the user's own are never changed."""
    words = f"--exps_root {tmp_path} --pretrained_root {tmp_path} --cams_root {tmp_path} --exp_id {exp_id} --method"
    cfg = parse_args([*words.split(), NEW, *COLOCAM, "--dataset", "a-GradCam-b", "--encoder_name", ENCODER])
    tag = TAG.replace(DATASET, "a-GradCam-b")
    with pytest.raises(UserError, match=tag.format(NEW, "best_classification")):
        classifier_folder(cfg)
    name = f"id_{exp_id}-tsk_CoLo-CAM-ds_a-GradCam-b-mth_{{}}-spooling_WGAP-sd_0-ecd_{ENCODER}-box_v2_metric_False"
    for spelling in (OLD, NEW):
        experiment = tmp_path / "a-GradCam-b" / ENCODER / "CoLo-CAM" / spelling / name.format(spelling)
        model = tmp_path / tag.format(spelling, "best_classification")
        store = tmp_path / (tag.format(spelling, "best_localization") + "_cams_train")
        for folder in (experiment, model, store):
            folder.mkdir(parents=True)
        assert config.experiment_dir(cfg) == experiment
        assert classifier_folder(cfg) == model
        assert cam_store_folder(cfg) == store


@pytest.mark.parametrize(("method", "seeds"), [(NEW, "CAM"), ("CAM", NEW)])
def test_a_store_of_two_methods_is_found(tmp_path: Path, method: str, seeds: str) -> None:
    words = ["--method", method, "--seed_cam_method", seeds, "--cams_root", str(tmp_path)]
    cfg = parse_args([*words, *COLOCAM, "--dataset", DATASET, "--encoder_name", ENCODER])
    name = f"{TAG.format(method, 'best_localization')}_{seeds}_cams_train"
    assert cam_store_folder(cfg) == tmp_path / name
    (tmp_path / name.replace(NEW, OLD)).mkdir()
    assert cam_store_folder(cfg) == tmp_path / name.replace(NEW, OLD)


def as_an_earlier_version_wrote_it(folder: Path) -> None:
    """Rename and rewrite everything below ``folder`` from GradCam to GradCAM."""
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        if path.suffix in (".yml", ".yaml", ".json", ".jsonl"):
            path.write_text(path.read_text().replace(NEW, OLD))
        elif path.name.endswith("_checkpoint.pth"):
            state = load_tensors(path)
            assert NEW in state["experiment"]
            save_tensors(path, {**state, "experiment": state["experiment"].replace(NEW, OLD)})
        if NEW in path.name:
            path.rename(path.with_name(path.name.replace(NEW, OLD)))


def experiments(place: Workplace, task: str = "STD_CL") -> list[Path]:
    return sorted((place.folder / "exps" / DATASET / ENCODER / task).glob("*/*"))


def promote(place: Workplace, experiment: Path) -> list[str]:
    target = place.folder / "pretrained"
    command = ["bash", str(ROOT / "cmds" / "promote.sh"), str(experiment), str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return sorted(path.name for path in target.iterdir())


@pytest.mark.slow
def test_what_an_earlier_version_began_is_gone_on_with(workplace: Workplace) -> None:
    """A classifier with GradCAM stopped after an epoch; resumed, promoted, and CoLo-CAM on it, with GradCam."""
    assert start(workplace.flags(method=OLD, max_epochs=1))[0] == 0
    (written,) = experiments(workplace)
    assert written.parent.name == NEW
    (written / "passed.txt").unlink()
    as_an_earlier_version_wrote_it(workplace.folder / "exps")
    (began,) = experiments(workplace)
    assert (began.parent.name, f"-mth_{OLD}-" in began.name) == (OLD, True)

    code, out, error = start(workplace.flags(method=NEW, max_epochs=2))
    assert code == 0, error
    assert "resuming from" in out
    assert "method" not in "".join(line for line in (out + error).splitlines() if "other flags" in line)
    assert experiments(workplace) == [began]
    assert (began / "passed.txt").exists()
    assert sorted(path.name for path in began.glob("*-cp_*")) == [
        TAG.format(OLD, "best_classification"),
        TAG.format(OLD, "best_localization"),
    ]
    for typed in (NEW, OLD):
        code, out, _ = start(workplace.flags(method=typed, max_epochs=2))
        assert (code, "finished before" in out) == (0, True)
    assert [row[5] for row in status.status_rows(workplace.folder / "exps", 0.0)] == ["method", NEW]
    assert Localizer(began, device="cpu").saved.maps.method == NEW

    promoted = promote(workplace, began)
    assert promoted == [TAG.format(NEW, f"best_{kind}") for kind in ("classification", "localization")]
    for name in promoted:  # as copied there by hand, or promoted by an earlier version
        folder = workplace.folder / "pretrained" / name
        folder.rename(folder.with_name(name.replace(NEW, OLD)))
    flags = {"method": NEW, "seed_cam_method": OLD, "max_epochs": 1, "sl_clc": True, "freeze_cl": True}
    code, out, error = start(workplace.flags("CoLo-CAM", **flags))
    assert code == 0, error
    assert "CAMs of the train frames: computing" in out
    (own,) = experiments(workplace, "CoLo-CAM")
    assert own.parent.name == NEW
    as_an_earlier_version_wrote_it(workplace.folder / "data_cams")
    (store,) = (workplace.folder / "data_cams").iterdir()
    assert (OLD in store.name, json.loads((store / "origin.json").read_text())["method"]) == (True, OLD)
    code, out, error = start(workplace.flags("CoLo-CAM", **{**flags, "exp_id": "again"}))
    assert code == 0, error
    assert f"CAMs of the train frames: {store} is complete" in out

    # Side by side the spelling is no difference: both are GradCam.
    page = workplace.folder / "compare.html"
    again = next(path for path in experiments(workplace, "CoLo-CAM") if path != own)
    as_an_earlier_version_wrote_it(again)
    assert NEW not in compare.compare([own, again], page)
    assert "GradCAM" not in page.read_text()


def test_weights_of_either_are_read(tmp_path: Path) -> None:
    folder = save_experiment(tmp_path / "e", "STD_CL", NEW)
    settings = next(folder.glob("*-cp_*/config_model.yaml"))
    settings.write_text(settings.read_text().replace(NEW, OLD))
    assert read_saved_model(folder, "best_localization", torch.device("cpu")).maps.method == NEW


STUDY = """
seeds: [0]
base: {dataset: d, sl_clc: True, opt__lr: 0.1}
classifier: {opt__lr: 0.01}
variants:
  GradCam: {method: GradCam, eval_only: True}
  own: {method: GradCAM}
"""
GRID = "base: {dataset: d}\ngrid: {method: [GradCAM, CAM]}\n"


def test_a_study_of_an_earlier_version_is_not_run_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert not any(run.error for run in place.run(STUDY))
    assert len(place.started()) == 5  # two classifiers, an evaluation of two splits, CoLo-CAM
    assert not any(run.error for run in place.run(GRID))
    assert len(place.started()) == 2
    shutil.rmtree(tmp_path / "out" / "pretrained")
    as_an_earlier_version_wrote_it(tmp_path / "out")
    assert list((tmp_path / "out").rglob(f"id_classifier-{OLD}-*"))
    for study in (STUDY, GRID):
        assert not any(run.error for run in place.run(study))
        assert place.started() == []
    assert not list((tmp_path / "out" / "exps").rglob(f"*{NEW}*"))
    (tmp_path / "own.yaml").write_text(STUDY)
    for typed in (NEW, OLD):
        assert [v.name for v in read_study(tmp_path / "own.yaml", only=[typed]).variants] == [NEW]


def test_names_of_an_earlier_version() -> None:
    assert spellings("LayerCAM") == ["LayerCAM"]
    assert spellings("seeds_GradCam x=GradCam GradCamx") == [
        f"seeds_{a} x={b} GradCamx" for a in (NEW, OLD) for b in (NEW, OLD)
    ]
