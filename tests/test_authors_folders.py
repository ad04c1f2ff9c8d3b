"""Folders of best models as the authors' program leaves them: evaluated, used on videos, exported."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import dlib.export
import main
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.localizer import Localizer
from dlib.models import read_model_settings
from dlib.utils.errors import UserError
from helpers.clips import scene
from helpers.saved_experiment import CLASSES, save_experiment
from helpers.small_datasets import write_dataset


class Munch(dict[str, Any]):
    """Stands for munch.Munch, which is dumped with a tag of its own."""


class Dumper(yaml.Dumper):
    """Writes as that program does: plain dicts, lists, dates, and Munches with their tag."""


Dumper.add_representer(Munch, lambda dumper, value: dumper.represent_mapping("!munch.Munch", value))


def arguments(task: str = STD_CL, method: str = "GradCam", **changes: Any) -> dict[str, Any]:
    """An excerpt of all arguments, with every kind of value that is among them."""
    network = {
        "arch": "STDClassifier" if task == STD_CL else "UnetCoLoCAM",
        "encoder_name": "resnet18",
        "encoder_weights": "imagenet",
        "in_channels": 3,
        "path_pre_trained": None,
        "strict": True,
        "support_background": True,
        "scale_in": 1.0,
        "freeze_cl": task == COLOCAM,
        "folder_pre_trained_cl": None if task == STD_CL else "/home/x/pretrained/a",
        "scale_domain": 1.0,
    }
    return {
        "MYSEED": "0",
        "cudaid": "3",
        "c_cudaid": 0,
        "dataset": "tiny",
        "num_classes": len(CLASSES),
        "crop_size": 32,
        "resize_size": 40,
        "num_workers": 99,
        "dist_backend": "nccl",
        "world_size": 8,
        "fd_exp": None,
        "t0": datetime.datetime(2023, 5, 1, 10, 11, 12, 131415),
        "tend": datetime.datetime(2023, 5, 2, 10, 11, 12),
        "running_time": None,
        "data_root": "/home/x/datasets/wsol-done-right",
        "metadata_root": "./folds/wsol-done-right-splits/tiny",
        "data_paths": Munch(train="/home/x/tiny", val="/home/x/tiny", test="/home/x/tiny"),
        "std_cams_folder": Munch(train="", nested=Munch(lists=[[1, 2], [None, 0.5]])),
        "iou_threshold_list": [30, 50, 70],
        "sizes": (1, 2),
        "box_v2_metric": False,
        "optimizer": {"opt__name_optimizer": "sgd", "opt__lr": 0.001},
        "model": network,
        "method": method,
        "spatial_pooling": "WGAP",
        "lse_r": 10.0,
        "task": task,
        "sl_tc": False,
        **changes,
    }


def write_arguments(path: Path, content: Any) -> None:
    path.write_text(yaml.dump(content, Dumper=Dumper))


def authors_folder(root: Path, task: str, method: str = "LayerCAM", **changes: Any) -> tuple[Path, Path]:
    """An experiment of ours, and its weights as the authors' program describes them."""
    own = save_experiment(root / "own", task, method)
    folder = root / "authors"
    folder.mkdir()
    weights = next(own.glob("*-cp_*"))
    (folder / "7_best_model.pth").write_bytes((weights / "7_best_model.pth").read_bytes())
    spelled = "GradCam" if method == "GradCAM" else method
    write_arguments(folder / "config_model.yaml", arguments(task, spelled, **changes))
    return own, folder


def test_what_describes_the_model_is_taken(tmp_path: Path) -> None:
    expected = {
        **{"arch": "STDClassifier", "encoder_name": "resnet18", "num_classes": 3, "spatial_pooling": "WGAP"},
        **{"support_background": True, "lse_r": 10.0, "in_channels": 3, "scale_in": 1.0},
        **{"task": "STD_CL", "method": "GradCam", "dataset": "tiny", "crop_size": 32, "box_v2_metric": False},
    }
    for whole in (dict, Munch):  # the tag may also stand at the top
        write_arguments(tmp_path / "config_model.yaml", whole(arguments()))
        text = (tmp_path / "config_model.yaml").read_text()
        assert ("!munch.Munch\n" in text[:20]) == (whole is Munch)
        assert "!!python/tuple" in text
        assert read_model_settings(tmp_path) == expected
    flat = arguments()
    write_arguments(tmp_path / "config_model.yaml", {**flat, **flat.pop("model")})
    assert read_model_settings(tmp_path) == expected


@pytest.mark.parametrize(("task", "method"), [(STD_CL, "GradCAM"), (COLOCAM, "LayerCAM")])
def test_evaluation_of_either_folder_gives_the_same(tmp_path: Path, task: str, method: str, capsys) -> None:
    torch.set_num_threads(1)
    own, folder = authors_folder(tmp_path, task, method)
    tag = tmp_path / "exp" / f"tiny-resnet18-{method}-WGAP-cp_best_localization-boxv2_False"
    tag.mkdir(parents=True)
    for path in folder.iterdir():
        (tag / path.name).write_bytes(path.read_bytes())
    write_arguments(tmp_path / "exp" / "config.yml", arguments(task))
    flags = write_dataset(tmp_path, CLASSES)
    reports = []
    for source in (own, folder, tmp_path / "exp"):
        assert main.main([*flags, "--fd_exp", str(source)]) == 0, capsys.readouterr().err
        reports.append(json.loads((source / "eval_other_test_best_localization.json").read_text()))
    assert reports[0]["curves"] == reports[1]["curves"] == reports[2]["curves"]


def test_videos_and_export_ask_for_the_classes_and_then_work(tmp_path: Path, capsys) -> None:
    own, folder = authors_folder(tmp_path, STD_CL, "GradCAM")
    assert dlib.export.main(["--fd_exp", str(folder), "--format", "torchscript"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{folder / 'config_model.yaml'} lacks classes: add lines such as 'classes: [cat, dog]'" in said
    with (folder / "config_model.yaml").open("a") as file:
        file.write(f"classes: [{', '.join(CLASSES)}]\n")
    image = scene(0, 48, 36)
    (ours,), (theirs,) = (Localizer(f, tau=0.4).localize(image) for f in (own, folder))
    assert (ours.label, ours.box) == (theirs.label, theirs.box)
    assert (ours.map == theirs.map).all()
    assert dlib.export.main(["--fd_exp", str(folder), "--format", "torchscript"]) == 0


def test_classes_of_youtube_objects_are_known(tmp_path: Path) -> None:
    _, folder = authors_folder(tmp_path, STD_CL, dataset="YouTube-Objects-v1.0")
    with pytest.raises(UserError, match="lacks classes"):  # three classes are not those ten
        Localizer(folder, tau=0.4)
    torch.manual_seed(0)
    from dlib.models import STDClassifier, best_model_state

    torch.save(best_model_state(STDClassifier("resnet18", 10)), folder / "8_best_model.pth")
    content = arguments(method="LayerCAM", dataset="YouTube-Objects-v1.0", num_classes=10)
    write_arguments(folder / "config_model.yaml", content)
    localizer = Localizer(folder, tau=0.4)
    assert localizer.classes[0] == "aeroplane"
    assert localizer.classes[9] == "train"


def test_what_is_missing_is_asked_for(tmp_path: Path, capsys) -> None:
    _, folder = authors_folder(tmp_path, STD_CL, crop_size=None)
    flags = [*write_dataset(tmp_path, CLASSES), "--fd_exp", str(folder)]
    assert main.main(flags) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "config_model.yaml lacks crop_size: add lines such as 'crop_size: 224' to it, or give --crop_size"
        in said
    )
    assert main.main([*flags, "--crop_size", "32"]) == 0
    with pytest.raises(UserError, match="lacks classes, crop_size: add lines"):
        Localizer(folder, tau=0.4)


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch {0}']",
        "!!python/object/new:os.system ['touch {0}']",
        "!!python/object/apply:subprocess.check_output [['touch', '{0}']]",
        "!munch.Munch {{deep: !!python/object/apply:os.system ['touch {0}']}}",
        "!!python/name:os.system",
        "!!python/module:os",
        "!munch.Munch text",
        "!munch.munch {{}}",
        "2023-99-99",
        "!!int ''",
        "{{[]: 1}}",
    ],
)
def test_other_tags_are_refused_and_run_nothing(tmp_path: Path, value: str, capsys) -> None:
    _, folder = authors_folder(tmp_path, STD_CL)
    made = tmp_path / "made"
    path = folder / "config_model.yaml"
    text = path.read_text()
    path.write_text(text + f"more: {value.format(made)}\n")
    assert main.main([*write_dataset(tmp_path, CLASSES), "--fd_exp", str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(path) in said
    assert "not readable YAML" in said
    if "!" in value and "int" not in value:
        assert f"line {text.count(chr(10)) + 1}" in said
    with pytest.raises(UserError, match="not readable YAML"):
        Localizer(folder, tau=0.4)
    assert not made.exists()
