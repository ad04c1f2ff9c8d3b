"""Flags of precision, memory order, compilation, processes and heads: what a run does with each of them."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import main
from dlib.configure.config import Config, model_tag
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA
from dlib.crf import filters
from dlib.datasets.batch import Batch
from dlib.learning import evaluate_only, experiment, trainer
from dlib.losses import LossInputs
from dlib.tasks import Task
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.decoder.losses import build_losses
from dlib.tasks.networks import build_classifier, build_unet
from dlib.tasks.std_cl import StdCl
from dlib.utils import distributed
from dlib.utils.errors import UsageError
from dlib.utils.timing import StepClock
from helpers.saved_experiment import CLASSES, save_experiment
from helpers.small_datasets import write_dataset

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SIDE = 16


def config(**flags: Any) -> Config:
    tiny = {"encoder_name": "resnet18", "encoder_weights": None, "crop_size": SIDE, "resize_size": SIDE}
    return Config.from_values({**tiny, **flags})


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    numbers = torch.arange(2)
    return Batch(raw, numbers, ["f0", "f1"], numbers, torch.zeros_like(numbers), numbers, numbers)


def std_cl(**flags: Any) -> StdCl:
    torch.manual_seed(0)
    return StdCl(config(**flags), ["a", "b"], CPU)


def step(task: StdCl) -> torch.Tensor:
    task.model.eval()  # batch norm of two tiny frames says nothing
    return task.training_step(batch(), 1, StepClock(), False).loss.detach()


@pytest.mark.parametrize("on", [True, False])
def test_compile(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the training step calls is what torch.compile returned; here that is the network itself, counted."""
    calls: list[str] = []

    def compiled(function: Any, **_: Any) -> Any:
        def run(*args: Any) -> Any:
            calls.append("compiled")
            return function(*args)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    plain, task = std_cl(), std_cl(compile=on)
    task.network = trainer.wrap_for_training(task.cfg, task)
    assert torch.equal(step(task), step(plain))
    assert calls == ["compiled"] * on
    assert list(task.model.state_dict()) == list(plain.model.state_dict())


@pytest.mark.parametrize(("on", "device", "converted"), [(True, CUDA, 1), (True, CPU, 0), (False, CUDA, 0)])
def test_sync_bn(on: bool, device: torch.device, converted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped: list[Any] = []
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(
        trainer, "DistributedDataParallel", lambda net, device_ids: wrapped.append(net) or net
    )
    task: Any = SimpleNamespace(model=nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), device=device)
    weight = task.model[1].weight
    trainer.wrap_for_training(config(sync_bn=on), task)
    norms = [m for m in wrapped[0].modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == converted
    assert all(norm.weight is weight for norm in norms)  # the one that the optimizer has


@pytest.mark.parametrize(
    ("name", "dtype", "scaled"),
    [("auto", torch.float16, True), ("float16", torch.float16, True), ("bfloat16", torch.bfloat16, False)],
)
def test_amp_dtype(name: str, dtype: torch.dtype, scaled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    scalers: list[bool] = []

    def autocast(device: str, dtype: torch.dtype, enabled: bool) -> Any:
        opened.append((device, dtype, enabled))
        return nullcontext()

    cfg = config(amp=True, amp_dtype=name)
    task: Any = SimpleNamespace(cfg=cfg, device=CUDA, model=nn.Linear(1, 1), bfloat16=None)
    task.amp_dtype = lambda wanted: Task.amp_dtype(task, wanted)
    task.training_dtype = lambda wanted: Task.training_dtype(task, wanted)
    task.parameter_groups = lambda: [{"params": list(task.model.parameters()), "lr": 0.1}]
    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda _, enabled: scalers.append(enabled))
    monkeypatch.setattr(trainer, "build_optimizer", lambda *_: None)
    for wanted, device in ((True, CUDA), (False, CUDA), (True, CPU)):
        task.device = device
        with Task.autocast(task, wanted):
            pass
        trainer.Trainer(cfg, task, None, None)  # type: ignore[arg-type]
    # The type is of no account where mixed precision is off.
    off = torch.bfloat16
    assert opened == [("cuda", dtype, True), ("cuda", off, False), ("cpu", off, False)]
    assert scalers == [scaled, scaled, False]


@pytest.mark.parametrize(("value", "on_cpu", "on_cuda"), [("auto", 0, 1), ("true", 1, 1), ("false", 0, 0)])
def test_channels_last(value: str, on_cpu: int, on_cuda: int) -> None:
    task, plain = std_cl(channels_last=value), std_cl(channels_last="false")
    last = torch.channels_last
    weights = [p for p in task.model.parameters() if p.ndim == 4 and min(p.shape[1:]) > 1]
    assert all(p.is_contiguous(memory_format=last) == on_cpu for p in weights)
    assert task.images(batch()).is_contiguous(memory_format=last) == on_cpu
    assert torch.allclose(step(task), step(plain), atol=1e-5)
    card: Any = SimpleNamespace(cfg=task.cfg, device=CUDA)
    assert Task._wants_channels_last(card) == on_cuda


def losses(backend: str) -> float:
    """The two CRF terms of two frames of a video."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, SIDE, SIDE, generator=generator)
    given = LossInputs(
        map_logits=logits,
        probabilities=logits.softmax(dim=1),
        images=torch.rand(2, 3, SIDE, SIDE, generator=generator) * 255,
        sequence=torch.zeros(2, dtype=torch.int64),
        order=torch.arange(2),
    )
    flags = {"task": "CoLo-CAM", "freeze_cl": True, "crf_clc": True, "rgb_jcrf_clc": True}
    weights = {"crf_clc_lambda": 1.0, "rgb_jcrf_clc_lambda": 1.0}
    total, _, _ = build_losses(config(**flags, **weights, crf_backend=backend))(given, 1, StepClock())
    return float(total)


@pytest.mark.parametrize(
    ("backend", "used"), [("auto", "_filter_cpp"), ("cpp", "_filter_cpp"), ("torch", "filter_table")]
)
def test_crf_backend(backend: str, used: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = losses("cpp")
    seen: list[str] = []
    for name in ("_filter_cpp", "filter_table", "filter_groups"):
        real = getattr(filters, name)
        monkeypatch.setattr(
            filters, name, lambda *args, name=name, real=real: seen.append(name) or real(*args)
        )
    assert losses(backend) == pytest.approx(expected, rel=1e-5)
    assert seen == [used, used]


def test_crf_backend_cpp_needs_the_cpu() -> None:
    flags = {"task": "CoLo-CAM", "sl_clc": True, "freeze_cl": True}
    with pytest.raises(UsageError, match="--crf_backend cpp: filters on the CPU only, not on meta"):
        CoLoCam(config(**flags, crf_backend="cpp"), ["a"], torch.device("meta"), initialize=False)
    CoLoCam(config(**flags, crf_backend="cpp"), ["a"], CPU, initialize=False)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_eval_checkpoint_type(criterion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_experiment(tmp_path / "exp")
    cfg = Config.from_yaml(folder / "config.yml")
    first = folder / model_tag(cfg, BEST_LOCALIZATION)
    for other in CRITERIA[1:]:
        shutil.copytree(first, folder / model_tag(cfg, other))
    loaded: list[Path] = []
    real = evaluate_only.load_best_model
    monkeypatch.setattr(
        evaluate_only,
        "load_best_model",
        lambda model, path, **more: loaded.append(path) or real(model, path, **more),
    )
    flags = write_dataset(tmp_path, CLASSES)
    assert main.main([*flags, "--fd_exp", str(folder), "--eval_checkpoint_type", criterion]) == 0
    assert loaded == [folder / model_tag(cfg, criterion)]
    assert [path.name for path in folder.glob("eval_*")] == [f"eval_other_test_{criterion}.json"]


def test_processes_meet_at_init_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As torchrun starts the only process of a run, without saying where processes meet.
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "meeting"
    with distributed.process_group("gloo", 1, f"file://{place}", CPU):
        assert place.exists()
        assert distributed.is_running()
        assert distributed.gather_objects("here") == ["here"]
    assert not distributed.is_running()


@pytest.mark.parametrize("place", ["file:///meeting", ""])
@pytest.mark.parametrize("start", [experiment.run, evaluate_only.evaluate_only])
def test_init_method_reaches_the_processes(
    start: Any, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def join(_: str, __: int, init_method: str, ___: torch.device) -> None:
        asked.append(init_method)
        raise InterruptedError  # enough seen

    monkeypatch.setattr(distributed, "process_group", join)
    folder = save_experiment(tmp_path)
    with pytest.raises(InterruptedError):
        start(config(init_method=place, device="cpu", fd_exp=str(folder)))
    assert asked == [place]


@pytest.mark.parametrize("build", ["classifier", "colocam"])
@pytest.mark.parametrize(
    ("pooling", "flag", "attribute", "value"),
    [
        ("WildCatCLHead", "wc_modalities", "modalities", 3),
        ("WildCatCLHead", "wc_kmax", "kmax", 0.25),
        ("WildCatCLHead", "wc_kmin", "kmin", 0.2),
        ("WildCatCLHead", "wc_alpha", "alpha", 0.3),
        ("WildCatCLHead", "wc_dropout", "dropout", 0.4),
        ("LogSumExpPool", "lse_r", "r", 3.0),
    ],
)
def test_flags_of_the_heads(build: str, pooling: str, flag: str, attribute: str, value: float) -> None:
    methods = {"WildCatCLHead": "WILDCAT", "LogSumExpPool": "LogSumExp"}
    task = {} if build == "classifier" else {"task": "CoLo-CAM", "sl_clc": True, "freeze_cl": True}
    cfg = config(method=methods[pooling], spatial_pooling=pooling, **{flag: value}, **task)
    net = build_classifier(cfg, 2, None) if build == "classifier" else build_unet(cfg, 2)
    head = net.classification_head
    assert type(head).__name__ == pooling
    found = getattr(head, attribute)
    assert (found.p if isinstance(found, nn.Dropout) else found) == value
    if flag == "wc_modalities":
        assert head.to_modalities.out_channels == value * 3  # two classes and the background


@pytest.mark.parametrize(
    ("method", "pooling", "flag", "low", "high"),
    [
        ("WILDCAT", "WildCatCLHead", "wc_alpha", 0.0, 0.9),
        ("WILDCAT", "WildCatCLHead", "wc_kmax", 0.1, 1.0),
        ("WILDCAT", "WildCatCLHead", "wc_kmin", 0.0, 0.9),
        ("LogSumExp", "LogSumExpPool", "lse_r", 0.1, 10.0),
    ],
)
def test_flags_of_the_heads_change_the_logits(
    method: str, pooling: str, flag: str, low: float, high: float
) -> None:
    def logits(value: float) -> torch.Tensor:
        torch.manual_seed(0)
        cfg = config(method=method, spatial_pooling=pooling, **{flag: value})
        features = torch.rand(1, 512, 4, 4, generator=torch.Generator().manual_seed(2)) * 5
        return build_classifier(cfg, 2, None).eval().logits_from_features(features)

    assert torch.equal(logits(low), logits(low))
    assert not torch.allclose(logits(low), logits(high), atol=1e-3)
