from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dlib import export
from dlib.cams import build_cam_extractor, normalize_cams
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.datasets.batch import normalize
from dlib.models import load_saved_model
from helpers.clips import scene
from helpers.saved_experiment import CLASSES, save_experiment


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
def test_the_file_gives_the_models_outputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str, task: str, method: str
) -> None:
    torch.set_num_threads(1)
    folder = save_experiment(tmp_path, task, method)
    out = tmp_path / "new" / f"m{export.FORMATS[format_]}"
    assert export.main(["--fd_exp", str(folder), "--format", format_, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
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

    def other(network, images, path):
        network.model.classification_head.fc.bias.data += 1.0
        write(network, images, path)
        network.model.classification_head.fc.bias.data -= 1.0

    monkeypatch.setattr(export, "_write_script", other)
    assert export.main(["--fd_exp", str(folder), "--format", "torchscript"]) == 1
    assert "its logits differ" in capsys.readouterr().err
