"""Training steps as a card runs them, without a card: what makes the host wait, and tensors on the wrong device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from dlib.configure.config import Config, parse_args
from dlib.crf import lattice_table
from dlib.datasets.batch import Batch
from dlib.learning.trainer import Trainer
from dlib.tasks import Task, build_task
from dlib.utils.logging import EventLog
from dlib.utils.signals import StopRequest
from dlib.utils.timing import StepClock
from helpers.cam_maps import smooth_cams

SIDE = 32
SEQUENCE, ORDER = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])  # these stay on the CPU
SEEDS = "--sl_clc True --sl_clc_min 20 --sl_clc_max 20 --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True"
TASKS = {
    "STD_CL": "--task STD_CL",
    "CoLo-CAM": f"--task CoLo-CAM --freeze_cl True {SEEDS} --sl_clc_roi_method largest --crf_clc True "
    "--rgb_jcrf_clc True --rgb_jcrf_clc_lambda_style adaptive --max_sizepos_clc True --soft_cam_clc True "
    "--sizefg_tmp_clc True --min_entropy_clc True --size_bg_g_fg_clc True --sample_n_from_seq 2 --crf_backend torch",
    "TCAM": "--task TCAM --freeze_cl True --sl_tc True --sl_tc_use_roi True --sl_tc_roi_method largest --crf_tc True "
    "--max_sizepos_tc True --crf_backend torch",
    "F_CL": "--task F_CL --freeze_cl True --sl_fc True --crf_fc True --max_sizepos_fc True --crf_backend torch",
}
ATEN = torch.ops.aten
# On a card each of these reads a value, or makes a shape that depends on values.
READS = (
    ATEN._local_scalar_dense,
    ATEN.nonzero,
    ATEN._unique2,
    ATEN.unique_dim,
    ATEN.unique_consecutive,
    ATEN.masked_select,
    ATEN.bincount,
    ATEN.equal,
    ATEN.is_nonzero,
    ATEN.repeat_interleave.Tensor,
)


class Waits(TorchDispatchMode):
    """Counts operations for which the host would wait for a card."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READS or func.overloadpacket in READS:
            self.found[str(func)] += 1
        if func.overloadpacket in (ATEN.index, ATEN.index_put, ATEN.index_put_):
            indices = [index for index in args[1] if index is not None]
            if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self.found[f"{func} by a mask"] += 1
        return func(*args, **(kwargs or {}))


class Loader:
    def __len__(self) -> int:
        return 100


def settings(name: str, more: str = "") -> Config:
    sizes = f"--encoder_name resnet18 --encoder_weights None --crop_size {SIDE} --resize_size {SIDE}"
    return parse_args(f"{TASKS[name]} {sizes} {more}".split())


def batch_of(task: Task) -> Batch:
    numbers = torch.arange(4)
    batch = Batch(
        frames=torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8),
        labels=numbers % 3,
        ids=[str(n) for n in range(4)],
        indices=numbers,
        sequence=SEQUENCE,
        order=ORDER,
        keys=numbers + 7,
    )
    if task.trains_maps:
        cams = smooth_cams(4, SIDE, 1)
        reader = task.region_reader()  # type: ignore[attr-defined]
        found = [reader(cam, pixels, 1) for cam, pixels in zip(cams, batch.frames, strict=True)]
        batch.cams = cams
        batch.roi_masks, batch.roi_boxes, batch.roi_sizes = (
            torch.stack([getattr(one, name) for one in found]) for name in ("mask", "box", "size")
        )
    return batch


def on_card(task: Task) -> Batch:
    """The same with empty fake tensors, which have no values to find regions in."""
    shape = (4, SIDE, SIDE)

    def numbers(*size: int) -> Tensor:
        return torch.zeros(size, dtype=torch.int64, device="cuda")

    batch = Batch(
        frames=torch.zeros((4, 3, SIDE, SIDE), dtype=torch.uint8, device="cuda"),
        labels=numbers(4),
        ids=[str(n) for n in range(4)],
        indices=numbers(4),
        sequence=SEQUENCE,
        order=ORDER,
        keys=numbers(4),
    )
    if task.trains_maps:
        batch.cams = torch.zeros(shape, device="cuda")
        batch.roi_masks = torch.zeros(shape, dtype=torch.bool, device="cuda")
        batch.roi_boxes, batch.roi_sizes = numbers(4, 4), torch.zeros(4, device="cuda")
    return batch


@pytest.mark.parametrize("more", ["", "--opt__name_optimizer adam --grad_clip 1 --ema_decay 0.9"])
@pytest.mark.parametrize("name", TASKS)
def test_a_step_does_not_wait(name: str, more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first step, which makes the optimizer's state. The log reads once, one step later."""
    for module in ("dlib.cams.seeds", "dlib.learning.trainer"):
        monkeypatch.setattr(f"{module}.host_waits", lambda device: True)
    cfg = settings(name, more)
    task = build_task(cfg, ["a", "b", "c"], torch.device("cpu"), initialize=False)
    trainer = Trainer(cfg, task, Loader(), EventLog(tmp_path / "log.jsonl"))  # type: ignore[arg-type]
    task.model.train()
    batch = batch_of(task)
    trainer._step(batch, 1, StepClock())
    with Waits() as waits:
        numbers = trainer._step(batch, 1, StepClock())
    assert not waits.found
    assert all(value.numel() == 1 for value in numbers.values())
    assert torch.isfinite(numbers["loss"])


def test_asking_for_a_stop_does_not_wait() -> None:
    """Training does it after every step."""
    stop = StopRequest(torch.device("cpu"))
    with Waits() as waits:
        assert not stop.agreed()
    assert not waits.found


def test_sgd_without_momentum_does_not_wait(tmp_path: Path) -> None:
    cfg = settings("STD_CL", "--opt__momentum 0 --opt__nesterov False")
    task = build_task(cfg, ["a", "b", "c"], torch.device("cpu"), initialize=False)
    trainer = Trainer(cfg, task, Loader(), EventLog(tmp_path / "log.jsonl"))  # type: ignore[arg-type]
    task.model.train()
    batch = batch_of(task)
    with Waits() as waits:
        trainer._step(batch, 1, StepClock())
    assert not waits.found


def test_the_counter_sees_what_waits() -> None:
    x = torch.tensor([1.0, 0.0, 2.0])
    with Waits() as waits:
        bool(x.any())
        x[x > 0]
        x.nonzero()
        torch.bincount(x.long())
        x.unique()
        x[torch.tensor([0, 1])]
    assert sum(waits.found.values()) == 5, waits.found


@pytest.mark.parametrize("name", TASKS)
def test_forward_losses_and_evaluation_stay_on_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On fake CUDA tensors: an operation on tensors of two devices raises."""
    monkeypatch.setattr(lattice_table, "triton_works", lambda device: False)
    monkeypatch.setattr("dlib.losses.colocam.joint_groups", lambda sequence, order: [[0, 1], [2, 3]])
    # Parameters are made on the card at once: fake ones cannot be moved.
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *target, **more: module)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            task = build_task(
                settings(name, "--method CAM"), ["a", "b", "c"], torch.device("cuda"), initialize=False
            )
        batch = on_card(task)
        task.model.train()
        result = task.training_step(batch, 1, StepClock(), diagnose=False)
        assert result.loss.device.type == "cuda"
        for value in (*result.terms.values(), *result.unweighted.values(), *result.diagnostics.values()):
            assert value.device.type == "cuda"
        task.model.eval()
        with torch.no_grad():
            maps, logits = task.maps(batch.images, batch.frames, batch.labels)
        assert (maps.device.type, logits.device.type) == ("cuda", "cuda")
