"""bfloat16 on a CPU: when a run takes it, what a step in it computes, and that a resumed run keeps it."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.learning import precision
from dlib.learning.precision import choose_precision
from dlib.tasks.base import Task
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.std_cl import StdCl
from dlib.utils import bfloat16, distributed
from dlib.utils.timing import StepClock
from helpers.fake_training import trainer_of
from helpers.programs import start
from helpers.workplace import Workplace

SIDE = 32
CPU = torch.device("cpu")
LAST = torch.channels_last


def task_of(kind: type[Task] = StdCl, **flags: Any) -> Task:
    """A task with random weights, the same in every call; ``--amp True`` unless the flags say otherwise."""
    values = {"encoder_name": "resnet18", "encoder_weights": None, "crop_size": SIDE, "resize_size": SIDE}
    torch.manual_seed(0)
    return kind(Config.from_values({**values, "amp": True, **flags}), ["a", "b"], CPU, initialize=False)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    numbers = torch.arange(4)
    return Batch(raw, numbers % 2, list("abcd"), numbers, numbers, numbers, numbers)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[int, ...]]]:
    """Sets what the machine seems to have and to gain; the shapes of the timed images are noted."""

    def set_up(native: bool = True, gain: float = 2.0) -> list[tuple[int, ...]]:
        timed: list[tuple[int, ...]] = []
        monkeypatch.setattr(precision, "native_bfloat16", lambda: native)
        monkeypatch.setattr(
            precision, "training_gain", lambda _, images, layout: timed.append(tuple(images.shape)) or gain
        )
        return timed

    return set_up


def info_of(path: str) -> set[str]:
    """The instructions that Linux says the processor has."""
    lines = Path(path).read_text().splitlines()
    return set(next(line for line in lines if line.startswith("flags")).split(":")[1].split())


@pytest.mark.skipif(
    not Path("/proc/cpuinfo").exists() or "flags\t" not in Path("/proc/cpuinfo").read_text(),
    reason="needs Linux on x86",
)
def test_native_bfloat16_is_what_the_system_says() -> None:
    assert bfloat16.native_bfloat16() == bool(info_of("/proc/cpuinfo") & {"avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize(
    ("there", "native"),
    [
        ({}, False),
        ({"_is_avx512_bf16_supported": True}, True),
        ({"_is_amx_tile_supported": True}, True),
        ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, False),
    ],
)
def test_questions_that_pytorch_lacks_count_as_no(
    there: dict[str, bool], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
        if name in there:
            monkeypatch.setattr(torch.cpu, name, lambda name=name: there[name], raising=False)
    assert bfloat16.native_bfloat16() is native


class Watched(nn.Module):
    """Notes the formats of its convolution's results and the layouts of its images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
        self.seen: list[tuple[torch.dtype, bool]] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Watched:
        twin = Watched()
        twin.load_state_dict(self.state_dict())
        twin.seen = self.seen
        return twin

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self.layers[0](images)
        self.seen.append((found.dtype, images.is_contiguous(memory_format=LAST)))
        return self.layers[1:](found), found.detach()


def test_the_gain_is_the_ratio_of_the_shortest_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32, bfloat16, float32, …: noise makes times longer only, so that the shortest is nearest to the truth."""
    times: Iterator[float] = iter([9.0, 2.0, 4.0, 5.0, 7.0, 3.0])

    def timed(run: Callable[[], None]) -> float:
        run()
        return next(times)

    monkeypatch.setattr(bfloat16, "_processor_time", timed)
    network = Watched().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(2, 3, 8, 8)
    state = torch.get_rng_state()
    assert bfloat16.training_gain(network, images, LAST) == 4.0 / 2.0
    assert network.seen == [(torch.float32, False), (torch.bfloat16, True)] * 4  # the first two warm up
    # The network and the random numbers after it are as if nothing had been timed.
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not network.training
    assert torch.equal(torch.get_rng_state(), state)


def test_slow_networks_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(bfloat16.time, "perf_counter", lambda: float(next(clock)))
    network = Watched()
    bfloat16.training_gain(network, torch.randn(2, 3, 8, 8), torch.contiguous_format)
    assert len(network.seen) == 2 + 2


@pytest.mark.parametrize(
    ("flags", "native", "gain", "half", "timings", "said"),
    [
        ({}, True, 1.1, True, 1, "bfloat16, as bfloat16 is 1.10 times as fast"),
        ({}, True, 1.09, False, 1, "float32, as bfloat16 is 1.09 times as fast"),
        ({}, False, 9.0, False, 0, "float32, as this machine has no bfloat16 (CPU "),
        ({"amp_dtype": "bfloat16"}, True, 0.1, True, 0, "bfloat16, as --amp_dtype says"),
        ({"amp_dtype": "bfloat16"}, False, 9.0, False, 0, "float32, as this machine has no bfloat16"),
        ({"amp_dtype": "float16"}, True, 9.0, False, 0, "float32, as a CPU has no fast float16"),
        ({"deterministic": True}, True, 9.0, False, 0, "float32, as --deterministic True does not"),
        ({"deterministic": True, "amp_dtype": "bfloat16"}, True, 0.1, True, 0, "bfloat16, as --amp_dtype"),
    ],
)
def test_what_a_run_chooses(
    flags: dict[str, Any],
    native: bool,
    gain: float,
    half: bool,
    timings: int,
    said: str,
    machine: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    timed = machine(native, gain)
    task = task_of(**flags)
    with caplog.at_level(logging.INFO):
        choose_precision(task.cfg, task)
    assert task.bfloat16 is half
    assert timed == [(2, 3, SIDE, SIDE)] * timings
    assert f"--amp True: training in {said}" in caplog.text


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_without_amp_and_on_a_card_nothing_is_chosen(device: str, machine: Callable[..., Any]) -> None:
    timed = machine()
    task = task_of(amp=device == "cuda")
    task.device = torch.device(device)
    choose_precision(task.cfg, task)
    assert task.bfloat16 is None
    assert timed == []


def test_one_machine_without_bfloat16_decides_for_all(
    machine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = machine()
    monkeypatch.setattr(distributed, "gather_objects", lambda value: [value, False])
    task = task_of()
    choose_precision(task.cfg, task)
    assert task.bfloat16 is False
    assert timed == []


def test_the_main_process_times_and_decides(
    machine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = machine(gain=0.5)
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: 1.5)  # the main process's
    task = task_of()
    choose_precision(task.cfg, task)
    assert task.bfloat16 is True
    assert timed == []


def losses(task: Task) -> list[Tensor]:
    """The losses of three steps of gradient descent."""
    task.model.train()
    found = []
    for _ in range(3):
        loss = task.training_step(batch(), 1, StepClock(), diagnose=False).loss
        task.model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in task.model.parameters():
                if parameter.grad is not None:
                    parameter -= 1e-3 * parameter.grad
        found.append(loss.detach())
    return found


@pytest.mark.parametrize("kind", [StdCl, CoLoCam])
def test_steps_in_bfloat16_are_near_those_in_float32(kind: type[Task]) -> None:
    own: dict[str, Any] = {"crf_clc": True, "min_entropy_clc": True, "sl_clc": False}
    flags = {} if kind is StdCl else {**own, "task": "CoLo-CAM", "crf_clc_lambda": 1e-4, "freeze_cl": True}
    plain, half = task_of(kind, **flags), task_of(kind, **flags)
    half.bfloat16 = True
    formats: set[tuple[torch.dtype, bool]] = set()
    for module in half.model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, inputs, found: formats.add((found.dtype, found.is_contiguous(memory_format=LAST)))
            )
    expected, found = losses(plain), losses(half)
    assert formats == {(torch.bfloat16, True)}
    # bfloat16 has 8 bits; the later steps also differ by what the earlier ones have learned.
    torch.testing.assert_close(found[0], expected[0], rtol=0.02, atol=0.0)
    torch.testing.assert_close(found[1:], expected[1:], rtol=0.0, atol=0.05)
    assert found[0] != expected[0]
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in half.model.parameters())


def test_a_machine_without_bfloat16_computes_the_same_bits_as_without_amp(
    machine: Callable[..., Any],
) -> None:
    machine(native=False)
    plain, other = task_of(amp=False), task_of(amp=True)
    choose_precision(other.cfg, other)
    assert all(map(torch.equal, losses(plain), losses(other)))
    assert all(map(torch.equal, plain.model.parameters(), other.model.parameters()))


def test_evaluation_stays_in_float32(machine: Callable[..., Any]) -> None:
    """The number of a checkpoint depends on neither a timing nor the processor."""
    plain, half = task_of(amp=False), task_of(amp_eval=True, amp_dtype="bfloat16")
    machine()
    choose_precision(half.cfg, half)
    assert half.bfloat16 is True
    given = batch()
    for one, two in zip(
        *(t.maps(given.images, given.frames, given.labels) for t in (plain, half)), strict=True
    ):
        assert torch.equal(one, two)


@pytest.mark.parametrize(("flag", "last"), [("auto", True), ("true", True), ("false", False)])
def test_layout_of_images_in_bfloat16(flag: str, last: bool) -> None:
    task = task_of(channels_last=flag)
    task.bfloat16 = True
    assert task.images(batch()).is_contiguous(memory_format=LAST) == last
    task.bfloat16 = False
    assert task.images(batch()).is_contiguous(memory_format=LAST) == (flag == "true")


@pytest.mark.parametrize(
    ("before", "flags", "native", "half", "said"),
    [
        (True, {}, True, True, "training in bfloat16, as the run began"),
        (False, {}, True, False, "training in float32, as the run began"),
        (True, {"deterministic": True}, True, True, "training in bfloat16, as the run began"),
        (
            True,
            {},
            False,
            False,
            "training continues in float32 (was bfloat16), as this machine has no bfloat16",
        ),
        (
            False,
            {"amp_dtype": "bfloat16"},
            True,
            True,
            "continues in bfloat16 (was float32), as --amp_dtype says",
        ),
    ],
)
def test_a_checkpoint_says_what_its_run_chose(
    before: bool,
    flags: dict[str, Any],
    native: bool,
    half: bool,
    said: str,
    machine: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    timed = machine(native, gain=0.1 if before else 9.0)  # what a new timing would say is the opposite
    first, second = trainer_of(tmp_path, 2, set()), trainer_of(tmp_path, 2, set())
    first.task.bfloat16 = before
    second.load_state(first.state())
    task = task_of(**flags)
    task.bfloat16 = second.task.bfloat16
    with caplog.at_level(logging.INFO):
        choose_precision(task.cfg, task)
    assert task.bfloat16 is half
    assert timed == []
    assert said in caplog.text


def test_a_checkpoint_of_an_earlier_version_has_no_choice(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 2, set())
    state = trainer.state()
    del state["bfloat16"]
    trainer.task.bfloat16 = True
    trainer.load_state(state)
    assert trainer.task.bfloat16 is None


def test_a_resumed_run_keeps_its_format_and_gives_the_same_bits(
    workplace: Workplace, machine: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle of an epoch; the second start would choose otherwise by time."""
    step = torch.optim.SGD.step
    machine(gain=2.0)
    assert start(workplace.flags(amp=True, max_epochs=1, exp_id="whole"))[0] == 0

    def stopped(self: torch.optim.SGD, closure: None = None) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.SGD, "step", stopped)
        code, out, _ = start(workplace.flags(amp=True, max_epochs=1))
    assert code == 0
    assert "training in bfloat16, as bfloat16 is 2.00 times as fast" in out
    machine(gain=0.5)
    code, out, error = start(workplace.flags(amp=True, max_epochs=1))
    assert code == 0, error
    assert "training in bfloat16, as the run began" in out
    states = [
        torch.load(
            next((workplace.experiment(exp_id=name) / "checkpoints").glob("*3_checkpoint.pth")),
            weights_only=True,
        )
        for name in ("whole", "t")
    ]
    assert states[0]["bfloat16"] is states[1]["bfloat16"] is True
    assert all(map(torch.equal, *(state["model"].values() for state in states)))
    assert all(value.dtype != torch.bfloat16 for value in states[1]["model"].values())
