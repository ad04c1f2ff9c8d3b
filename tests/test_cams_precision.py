"""Mixed precision of the CAM methods: the encoder's passes obey the caller's autocast, everything else is float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlib.cams import build_cam_extractor
from dlib.configure.config import Config
from dlib.configure.constants import METHODS, WGAP
from dlib.datasets.batch import Batch
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.decoder import task as decoder_task
from dlib.tasks.std_cl import StdCl

CLASS_IDX = torch.tensor([1, 0])


class Net(nn.Module):
    """Notes the number formats of encoder and head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.classification_head = nn.Module()
        self.classification_head.fc = nn.Linear(4, 3)
        self.encoded: list[torch.dtype] = []
        self.classified: list[torch.dtype] = []

    def cam_features(self, images: Tensor) -> Tensor:
        features = self.body(images)
        self.encoded.append(features.dtype)
        return features

    def logits_from_features(self, features: Tensor) -> Tensor:
        # Quadratic, so that SmoothGradCAMpp makes its noisy passes.
        logits = self.classification_head.fc(features.square().mean(dim=(2, 3)))
        self.classified.append(logits.dtype)
        return logits


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].pooling == WGAP])
@pytest.mark.parametrize("half", [True, False])
def test_every_pass_of_the_encoder_and_nothing_else_obeys_autocast(method: str, half: bool) -> None:
    net = Net().eval()
    expected = build_cam_extractor(net, method)(images(), CLASS_IDX)
    passes = len(net.encoded)
    assert set(net.encoded) == {torch.float32}
    net.encoded.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        maps, logits = build_cam_extractor(net, method).cams_and_logits(images(), CLASS_IDX)
    assert net.encoded == [torch.bfloat16 if half else torch.float32] * passes
    assert passes > 1 or method not in ("ScoreCAM", "SSCAM", "ISCAM", "SmoothGradCAMpp")
    assert set(net.classified) == {torch.float32}
    assert maps.dtype == logits.dtype == torch.float32
    assert torch.equal(maps, expected) != half
    assert torch.allclose(maps, expected, atol=0.2)


def test_an_extractor_forgets_the_precision_of_its_last_call() -> None:
    net = Net().eval()
    extractor = build_cam_extractor(net, "ScoreCAM")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        extractor(images(), CLASS_IDX)
    net.encoded.clear()
    extractor(images(), CLASS_IDX)
    assert set(net.encoded) == {torch.float32}


def colocam(amp: bool, monkeypatch: pytest.MonkeyPatch) -> CoLoCam:
    """CoLo-CAM on a classifier with random weights that no file holds."""
    monkeypatch.setattr(decoder_task, "load_best_model", lambda *_, **__: None)
    monkeypatch.setattr(decoder_task, "seeder_folder", lambda _: None)
    flags: dict[str, Any] = {
        "task": "CoLo-CAM",
        "sl_clc": True,
        "freeze_cl": True,
        "encoder_name": "resnet18",
    }
    cfg = Config.from_values({**flags, "method": "ScoreCAM", "amp_eval": amp, "cam_chunk_size": 512})
    torch.manual_seed(0)
    return CoLoCam(cfg, ["a", "b"], torch.device("cpu"), initialize=False)


def std_cl(amp: bool) -> StdCl:
    flags: dict[str, Any] = {"encoder_name": "resnet18", "encoder_weights": None, "amp_eval": amp}
    task = StdCl(Config.from_values(flags), ["a", "b"], torch.device("cpu"))
    task.model.eval()
    return task


@pytest.mark.parametrize("amp", [True, False])
@pytest.mark.parametrize("call", ["seeder", "store", "classifier"])
def test_amp_eval_reaches_evaluation_and_the_cam_store(
    call: str, amp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = std_cl(amp) if call == "classifier" else colocam(amp, monkeypatch)
    # What a card makes of the flag, on the CPU: a task there never leaves float32.
    monkeypatch.setattr(task, "amp_dtype", lambda wanted: torch.bfloat16 if wanted else None)
    maker = task.classifier if isinstance(task, CoLoCam) else task.maps
    raw = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8)
    zero = torch.zeros(1, dtype=torch.int64)
    batch = Batch(raw, zero, ["f"], zero, zero, zero, zero)
    seen: list[torch.dtype] = []
    handle = maker.model.encoder.register_forward_hook(lambda *call: seen.append(call[2][-1].dtype))
    if call == "store":
        cams, logits = maker.low_resolution(batch.images, batch.labels)
    else:
        cams, logits = maker(batch.images, batch.frames, batch.labels)
    handle.remove()
    assert set(seen) == {torch.bfloat16 if amp else torch.float32}
    assert len(seen) > 1 or call == "classifier"  # ScoreCAM's masked passes
    assert cams.dtype == logits.dtype == torch.float32
