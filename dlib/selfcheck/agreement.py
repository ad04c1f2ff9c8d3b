"""Do the device and the CPU compute the same, and does a run repeat itself?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dlib.cams import region_of_interest, sample_seeds, upsample_cams
from dlib.configure.literals import Backend
from dlib.crf import IMAGE_RANGE, bilateral_filter, color_bilateral_filter
from dlib.models import MapMaker, STDClassifier
from dlib.selfcheck.setting import TASKS, Size, frames, trainer_for
from dlib.utils.tensors import load_tensors

METHODS = ("CAM", "GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM")
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Check:
    """One comparison: what it found and what is allowed. ``found`` None: it ended in an error, see ``note``."""

    name: str
    found: float | None
    allowed: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is within what is allowed."""
        return self.found is not None and self.found <= self.allowed

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def run_checks(device: torch.device) -> Iterator[Check]:
    """All checks, one after the other; an error in one is its note and does not end the others."""
    checks: list[tuple[str, float, Callable[[], float]]] = [
        ("dense filter, C++ on the CPU", 1e-4, partial(filters, device, 100.0)),
        ("colour filter, C++ on the CPU", 1e-4, partial(filters, device, None)),
        *((f"{method} of resnet18", 1e-3, partial(cams, device, method)) for method in METHODS),
        ("seeds (share of pixels that differ)", 1e-3, partial(seeds, device)),
        *((f"training step of {name}", 2e-3, partial(step, device, name)) for name in TASKS),
        *(
            (f"{name} resumed with --deterministic True, bit by bit", 0.0, partial(resumed, device, name))
            for name in TASKS
        ),
    ]
    if device.type == "cuda":
        checks.append(("one process on NCCL", 0.0, partial(nccl, device)))
    for name, allowed, compute in checks:
        try:
            with exact_arithmetic():
                yield Check(name, compute(), allowed)
        except Exception as error:  # whatever is wrong with a machine must reach the report
            yield Check(name, None, allowed, " ".join(f"{type(error).__name__} {error}".split())[:200])


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Full float32 on a card, whose matrix units otherwise round to 10 bits."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _difference(found: Tensor, wanted: Tensor) -> float:
    """Largest difference as a share of the largest value."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    return float((found - wanted).abs().amax() / wanted.abs().amax().clamp(min=1e-30))


def filters(device: torch.device, sigma_xy: float | None) -> float:
    """The device's filter against that of C++ on the CPU (PyTorch's if it is not built), for 1, 2 and 21 channels."""
    images = frames(3, 96).float()
    ways: list[tuple[torch.device, Backend]] = [(_CPU, "auto"), (device, "torch")]
    worst = 0.0
    for channels in (1, 2, 21):
        values = torch.rand(3, channels, 96, 96, generator=torch.Generator().manual_seed(channels))
        found = [_filtered(images.to(where), values.to(where), sigma_xy, backend) for where, backend in ways]
        worst = max(worst, _difference(found[1], found[0]))
    return worst


def _filtered(images: Tensor, values: Tensor, sigma_xy: float | None, backend: Backend) -> Tensor:
    if sigma_xy is None:
        return color_bilateral_filter(images, values, 15.0, backend=backend, value_range=IMAGE_RANGE)
    return bilateral_filter(images, values, 15.0, sigma_xy, backend=backend, value_range=IMAGE_RANGE)


def cams(device: torch.device, method: str) -> float:
    """Largest difference of maps, which lie in 0..1."""
    torch.manual_seed(0)
    model = STDClassifier("resnet18", 10).eval()
    pictures = frames(4, 96)
    images = pictures.float() / 127.5 - 1
    labels = torch.arange(4)
    maps = [
        MapMaker(model.to(where), method)(images.to(where), pictures.to(where), labels.to(where))[0].cpu()
        for where in (_CPU, device)
    ]
    return float((maps[0] - maps[1]).abs().amax())


def seeds(device: torch.device) -> float:
    """Share of pixels with another label: sums of weights are rounded in another order on a card."""
    maps = upsample_cams(torch.rand(8, 7, 7, generator=torch.Generator().manual_seed(3)), (96, 96))
    masks = region_of_interest(maps, "largest").masks
    drawn = [
        sample_seeds(
            maps.to(where), masks.to(where), max_n=200, min_n=200, max_p=0.7, min_p=0.1,
            technique="seed_weighted", keys=torch.arange(8, device=where), fixed_shapes=fixed,
        ).cpu()
        for where, fixed in ((_CPU, False), (device, True))
    ]  # fmt: skip
    return float((drawn[0] != drawn[1]).double().mean())


def step(device: torch.device, name: str) -> float:
    """The change that one step makes to the weights: the device's against the CPU's, by norm."""
    changes = []
    for where in (_CPU, device):
        trainer = trainer_for(name, where, Size("resnet18", 4, 96, steps=1))
        weights = [p for p in trainer.task.model.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in weights]
        list(trainer.train_epoch(1))
        parts = [(p.detach() - b).flatten() for p, b in zip(weights, before, strict=True)]
        changes.append(torch.cat(parts).cpu().double())
    return float((changes[0] - changes[1]).norm() / changes[0].norm())


def resumed(device: torch.device, name: str) -> float:
    """Weights after 4 steps against those of a run that is saved after 2 and continued by another trainer: the number
    of values that differ.
    """
    make = partial(trainer_for, name, device, Size("resnet18", 4, 96, steps=4))
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        whole, first, second = make(), make(), make()
        list(whole.train_epoch(1))
        steps = first.train_epoch(1)
        for _ in range(2):
            next(steps)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(first.state(), Path(folder) / "state")
            second.load_state(load_tensors(Path(folder) / "state"))
        list(second.train_epoch(1))
        pairs = zip(
            whole.task.model.state_dict().values(), second.task.model.state_dict().values(), strict=True
        )
        return float(sum(int((a != b).sum()) for a, b in pairs))
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def nccl(device: torch.device) -> float:
    """0 if a sum over one process of NCCL gives the value."""
    with tempfile.TemporaryDirectory() as folder:
        store = dist.FileStore(str(Path(folder) / "store"), 1)
        dist.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=device)
        try:
            value = torch.arange(3.0, device=device)
            dist.all_reduce(value)
            return float((value.cpu() - torch.arange(3.0)).abs().amax())
        finally:
            dist.destroy_process_group()
