"""The Triton kernels: in Triton's interpreter against C++, and compiled for cards that need not be there."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from dlib.crf import IMAGE_RANGE
from dlib.crf import lattice_table as table
from dlib.crf.filters import Kernel, filter_values
from dlib.crf.lattice_plan import plan_table
from helpers.crf_truth import batch

triton = pytest.importorskip("triton")
NAME = "dlib.crf.lattice_triton"


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The kernels' module as Triton's interpreter runs it, on CPU tensors, instead of plain PyTorch."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    spec = importlib.util.find_spec(NAME)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module._PIXELS, module._NUMBERS = 512, 2**16  # the interpreter's time goes with the number of programs
    monkeypatch.setattr(table, "_pass_of", lambda device: module.filter_pass)
    return module


def compare(
    images: Tensor, values: Tensor, sigmas: tuple[float, float | None], groups: list[list[int]] | None
) -> Tensor:
    want = filter_values(images, values, groups, Kernel(*sigmas, "cpp"))
    got = filter_values(images, values, groups, Kernel(*sigmas, "torch", IMAGE_RANGE))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6 * float(want.abs().amax()))
    return got


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("planes", "channels", "size", "sigmas"),
    [
        (3, 2, (19, 26), (30, 100)),
        (3, 1, (16, 32), (60, 20)),
        (3, 2, (1, 33), (60, 20)),
        (3, 2, (33, 1), (15, None)),
        (1, 21, (9, 17), (15, None)),
        (2, 3, (1, 1), (15, None)),
        (4, 2, (9, 17), (25, None)),
    ],
)
def test_equals_cpp(
    planes: int, channels: int, size: tuple[int, int], sigmas: tuple[float, float | None]
) -> None:
    compare(*batch(2, *size, channels, planes), sigmas, None)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("groups", [[[0, 1, 2, 3]], [[3, 1], [0]], [[2]]])
def test_groups(groups: list[list[int]]) -> None:
    images, values = batch(4, 12, 15)
    compare(images, values - 0.3, (15, None), groups)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("size", [1e-20, 1e30])
def test_values_of_any_size(size: float) -> None:
    images, values = batch(2, 12, 15)
    small = filter_values(images, values, None, Kernel(15, None, "torch", IMAGE_RANGE))
    got = filter_values(images, values * size, None, Kernel(15, None, "torch", IMAGE_RANGE))
    torch.testing.assert_close(got / size, small, rtol=1e-5, atol=0)


@pytest.mark.usefixtures("interpreted")
def test_black_white_and_flat_images() -> None:
    values = batch(3, 12, 15)[1]
    levels = torch.tensor([0.0, 255.0, 77.0])[:, None, None, None]
    for sigmas in ((50.0, 100.0), (15.0, None)):
        compare(levels.expand(3, 3, 12, 15), values, sigmas, None)


def test_small_values_are_not_lost_in_large_flat_regions(interpreted: ModuleType) -> None:
    """Float32 sums of equal values, one after the other, are off by 0.7 % at this size."""
    interpreted._PIXELS = 2**20
    compare(torch.full((1, 1, 700, 1000), 100.0), torch.full((1, 1, 700, 1000), 0.1), (15, None), None)


@pytest.mark.usefixtures("interpreted")
def test_the_bits_do_not_depend_on_the_order_of_pixels() -> None:
    images, values = batch(1, 30, 40)
    order = torch.randperm(30 * 40, generator=torch.Generator().manual_seed(0))
    kernel = Kernel(15, None, "torch", IMAGE_RANGE)
    want = filter_values(images, values, None, kernel).flatten(2)
    mixed = [x.flatten(2)[:, :, order].view_as(x) for x in (images, values)]
    assert torch.equal(filter_values(*mixed, None, kernel).flatten(2), want[:, :, order])


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["images", "values"])
def test_what_is_not_finite_makes_its_group_nan(where: str, value: float) -> None:
    images, values = batch(3, 12, 15)
    (images if where == "images" else values)[1, 1, 3, 4] = value
    got = filter_values(images, values, [[1, 0], [2]], Kernel(15, None, "torch", IMAGE_RANGE))
    assert got[:2].isnan().all()
    assert got[2].isfinite().all()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    sys.modules.pop(NAME, None)
    return importlib.import_module(NAME)


def test_compiles_for_a_card(compiled: ModuleType) -> None:
    """To machine code, by the assembler that comes with Triton; no fused operation, which could move border pixels."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    plan = plan_table(3, 224, 224, 15.0, None, IMAGE_RANGE, 2**20)
    assert plan is not None
    constants = {"K": 2, "D": plan.d, "SPATIAL": plan.spatial, "ORIGIN": plan.origin, "SCALES": plan.scales}
    constants |= {"STEPS": plan.steps, "BLOCK": compiled._PIXELS}
    types = {"sums": "*i64", "owner": "*i64", "touched": "*u8", "scale": "fp32"}
    types |= dict.fromkeys(("pixels", "width", "cells", "numbers", "shift"), "i32")
    for kernel in (compiled._splat, compiled._blur, compiled._slice):
        names = [name for name in kernel.arg_names if name in constants]
        signature = {
            name: "constexpr" if name in names else types.get(name, "*fp32") for name in kernel.arg_names
        }
        if kernel is compiled._blur:
            signature["source"] = "*i64"
        source = ASTSource(
            kernel, signature, constexprs={(kernel.arg_names.index(name),): constants[name] for name in names}
        )
        made = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=dict(compiled._OPTIONS))
        assert len(made.asm["cubin"]) > 1000
        assert "fma" not in made.asm["ptx"]


def test_without_triton_a_warning_and_plain_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    table.triton_works.cache_clear()
    monkeypatch.setitem(sys.modules, NAME, None)  # its import fails
    monkeypatch.delattr("dlib.crf.lattice_triton", raising=False)
    with pytest.warns(UserWarning, match="Triton does not work here"):
        assert table.triton_works(torch.device("cpu")) is False
    table.triton_works.cache_clear()
