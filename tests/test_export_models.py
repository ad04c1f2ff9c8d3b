from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from dlib import export
from dlib.cams import build_cam_extractor, normalize_cams
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.datasets.batch import normalize
from dlib.localizer import Localizer
from dlib.models import load_saved_model
from helpers.clips import scene
from helpers.paths import ROOT
from helpers.published_lines import blocks
from helpers.saved_experiment import CLASSES, TAUS, save_experiment

Exported = Callable[[str, str, str], tuple[Path, Path]]


def truth(folder: Path, images: torch.Tensor, method: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and the map in 0..1 of each image's predicted class, of the model itself."""
    model = load_saved_model(next(folder.glob("*-cp_*")))
    with torch.no_grad():
        output = model(normalize(images))
    if isinstance(output, tuple):
        return output.logits, output.maps.softmax(1)[:, 1]
    return output, build_cam_extractor(model, method)(normalize(images), output.argmax(1))


def outputs(path: Path, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        logits, maps = (torch.from_numpy(v) for v in session.run(None, {"images": images.float().numpy()}))
        return logits, maps
    return torch.jit.load(str(path))(images.float())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """``exported(task, method, format)``: an experiment and its exported file, made once."""

    @cache
    def make(task: str, method: str, format_: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp("exported")
        folder, out = save_experiment(root, task, method), root / "new" / f"m{export.FORMATS[format_]}"
        assert export.main(["--fd_exp", str(folder), "--format", format_, "--out", str(out)]) == 0
        return folder, out

    return make


@pytest.mark.parametrize(
    ("format_", "task", "method"),
    [
        ("onnx", COLOCAM, "LayerCAM"),
        ("torchscript", COLOCAM, "LayerCAM"),
        ("onnx", STD_CL, "LayerCAM"),
        ("torchscript", STD_CL, "CAM"),
        ("torchscript", STD_CL, "WILDCAT"),
    ],
)
def test_the_file_gives_the_models_outputs(exported: Exported, format_: str, task: str, method: str) -> None:
    torch.set_num_threads(1)
    folder, out = exported(task, method, format_)
    images = torch.from_numpy(np.stack([scene(i, 32, 32) for i in range(3)])).permute(0, 3, 1, 2)
    logits, maps = truth(folder, images, method)
    for count in (1, 3):
        found_logits, found_maps = outputs(out, images[:count])
        torch.testing.assert_close(found_logits, logits[:count], atol=1e-3, rtol=1e-3)
        if task == STD_CL:
            assert found_maps.shape[:2] == (count, len(CLASSES))
            found_maps = normalize_cams(found_maps[torch.arange(count), found_logits.argmax(1)])
        torch.testing.assert_close(found_maps, maps[:count], atol=2e-3, rtol=1e-3)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    assert export.main(["--fd_exp", str(tmp_path / "none"), "--format", "torchscript"]) == 1
    assert "no such folder" in capsys.readouterr().err
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    assert export.main(["--fd_exp", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "pip install onnx onnxscript" in error
    assert error.count("\n") == 1


def test_a_file_that_differs_from_the_model_is_refused(tmp_path: Path, capsys, monkeypatch) -> None:
    folder = save_experiment(tmp_path)
    write = export._write_script

    def other(network, images, path, about):
        network.model.classification_head.fc.bias.data += 1.0
        write(network, images, path, about)
        network.model.classification_head.fc.bias.data -= 1.0

    monkeypatch.setattr(export, "_write_script", other)
    assert export.main(["--fd_exp", str(folder), "--format", "torchscript"]) == 1
    assert "its logits differ" in capsys.readouterr().err


def published_program(model: Path) -> Callable[[np.ndarray], tuple[str, Any]]:
    """``box_of`` of doc/export.md for this file."""
    (code,) = blocks(ROOT / "doc" / "export.md", "python")
    space: dict[str, Any] = {}
    exec(code.replace('"model.onnx"', repr(str(model))), space)
    return space["box_of"]


@pytest.mark.parametrize("task", [COLOCAM, STD_CL])
def test_the_published_program_draws_the_boxes_of_localization(exported: Exported, task: str) -> None:
    folder, file = exported(task, "LayerCAM", "onnx")
    box_of = published_program(file)
    localizer = Localizer(folder, device="cpu", box_rule="threshold")
    rng, found = np.random.default_rng(0), []
    for number in range(24):
        width, height = (int(side) for side in rng.integers(20, 90, 2))
        frame = scene(number, width, height)
        result = localizer.localize(frame)[0]
        assert box_of(frame) == (result.label, result.box)
        found.append(result.box)
    assert len(set(found)) > 12


def test_torchscript_holds_the_same_facts(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = save_experiment(tmp_path), tmp_path / "m.pt"
    command = ["--fd_exp", str(folder), "--format", "torchscript", "--out", str(out)]
    assert export.main(command) == 0
    assert str(out) in capsys.readouterr().out
    module = torch.jit.load(str(out))
    facts = json.loads(module.facts)
    _, onnx = exported(STD_CL, "LayerCAM", "onnx")
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(found[name]) for name in facts} == facts
    assert (module.class_names, module.crop_size) == (CLASSES, 32)
    mean = (TAUS["bird"] + TAUS["cat"]) / 2  # of a class without validation frames
    rule = {"name": "largest_contour", "thresholds": {"bird": 0.2, "cat": 0.4, "train": pytest.approx(mean)}}
    assert facts["box_rule"] == rule
    (folder / "thresholds-best_localization.yaml").unlink()
    assert export.main(command) == 0
    assert json.loads(torch.jit.load(str(out)).facts)["box_rule"]["thresholds"] is None
