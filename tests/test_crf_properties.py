"""Properties of the filters: symmetry, linearity, batches, threads, instruction sets, processes."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlib.crf import bilateral_filter, color_bilateral_filter
from dlib.crf.filters import Kernel, filter_values
from helpers.crf_truth import batch, probabilities, textured

Kind = Literal["dense", "colour"]
KINDS: tuple[Kind, ...] = ("dense", "colour")


def apply(kind: Kind, images: Tensor, values: Tensor, backend: Literal["cpp", "torch"] = "cpp") -> Tensor:
    if kind == "dense":
        return bilateral_filter(images, values, 15, 100, backend=backend)
    return color_bilateral_filter(images, values, 15, backend=backend)


@pytest.fixture
def threads() -> object:
    """Restores torch's number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric(kind: Kind) -> None:
    images, u = batch(1, 160, 160, 2)
    v = torch.from_numpy(probabilities(2, 160, 160, seed=9))[None]
    left, right = (u * apply(kind, images, v)).sum(), (apply(kind, images, u) * v).sum()
    assert abs(left / right - 1) < 5e-3


@settings(max_examples=15, deadline=None)
@given(a=st.floats(-3, 3), b=st.floats(-3, 3), seed=st.integers(0, 99), kind=st.sampled_from(KINDS))
def test_linear(a: float, b: float, seed: int, kind: Kind) -> None:
    images = torch.from_numpy(textured(3, 20, 24, seed))[None]
    u, v = torch.randn(2, 1, 2, 20, 24, generator=torch.Generator().manual_seed(seed)).unbind(0)
    want = a * apply(kind, images, u) + b * apply(kind, images, v)
    torch.testing.assert_close(apply(kind, images, a * u + b * v), want, rtol=1e-3, atol=1e-3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), planes=st.sampled_from([1, 3, 6]))
def test_colour_filter_does_not_depend_on_places(seed: int, planes: int) -> None:
    image, values = (
        torch.from_numpy(textured(planes, 16, 18, seed)),
        torch.from_numpy(probabilities(2, 16, 18)),
    )
    order = torch.randperm(16 * 18, generator=torch.Generator().manual_seed(seed))
    out = color_bilateral_filter(image[None], values[None], 15)[0].flatten(1)
    mixed = color_bilateral_filter(
        image.flatten(1)[:, order].reshape(1, planes, 18, 16),
        values.flatten(1)[:, order].reshape(1, 2, 18, 16),
        15,
    )
    torch.testing.assert_close(mixed[0].flatten(1), out[:, order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_a_batch_gives_what_single_images_give(kind: Kind, backend: Literal["cpp", "torch"]) -> None:
    images, values = batch(5, 30, 21, 3)
    single = torch.cat([apply(kind, i[None], v[None], backend) for i, v in zip(images, values, strict=True)])
    torch.testing.assert_close(apply(kind, images, values, backend), single, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_bit_equal_for_any_number_of_threads(kind: Kind, n: int, threads: object) -> None:
    images, values = batch(n, 150, 170)  # more than one run of pixels per image
    results = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        results.append(apply(kind, images, values))
        assert torch.get_num_threads() == count
    assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("kind", KINDS)
def test_the_backends_agree(kind: Kind) -> None:
    images, values = batch(2, 131, 139)  # two runs of pixels per image, one of them longer
    cpp, plain = apply(kind, images, values), apply(kind, images, values, "torch")
    assert ((cpp - plain).abs() / cpp.abs()).max() < 1e-4


@pytest.mark.parametrize("groups", [[[3, 1], [0]], [[0, 1, 2, 3]], [[2]], []])
def test_the_backends_agree_on_groups(groups: list[list[int]]) -> None:
    images, values = batch(4, 12, 15)
    cpp, plain = (filter_values(images, values, groups, Kernel(15, None, name)) for name in ("cpp", "torch"))
    torch.testing.assert_close(plain, cpp, rtol=1e-4, atol=1e-6)
    alone = sorted({0, 1, 2, 3} - {image for group in groups for image in group})
    assert not cpp[alone].any()
    assert not plain[alone].any()


def test_calls_from_several_python_threads(threads: object) -> None:
    torch.set_num_threads(2)
    images, values = batch(4, 100, 130)
    want = apply("dense", images, values)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: apply("dense", images, values), range(8)))
    assert all(torch.equal(result, want) for result in results)


SCRIPT = """
import sys, numpy as np, bilateralfilter, colorbilateralfilter
image = np.fromfile(sys.argv[1], np.float32)
values = np.linspace(0, 1, 2 * 150 * 120, dtype=np.float32)
out = np.zeros_like(values)
bilateralfilter.bilateralfilter_batch(image, values, out, 1, 2, 150, 120, 15, 100)
print(out.tobytes().hex()[:40], hash(out.tobytes()))
colorbilateralfilter.colorbilateralfilter_batch(image, values, out, 1, 2, 150, 120, 15, 3)
print(hash(out.tobytes()))
"""


def _filter_in_a_process(image: Path, **environment: str) -> str:
    env = {**os.environ, "PYTHONHASHSEED": "0", **environment}
    command = [sys.executable, "-c", SCRIPT, str(image)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout


def test_bit_equal_for_any_instruction_set_and_omp_num_threads(tmp_path: Path) -> None:
    image = tmp_path / "image"
    textured(3, 150, 120).tofile(image)
    want = _filter_in_a_process(image)
    assert _filter_in_a_process(image, CRF_ISA="baseline", OMP_NUM_THREADS="3") == want
    assert _filter_in_a_process(image, CRF_ISA="avx2", OMP_NUM_THREADS="1") == want


FORK = """
import os, numpy as np, colorbilateralfilter
image = (np.arange(3 * 200 * 200) % 251).astype(np.float32)
values = np.ones(200 * 200, np.float32)
want, again = np.zeros_like(values), np.zeros_like(values)
colorbilateralfilter.colorbilateralfilter(image, values, want, 200, 200, 15, 3)
child = os.fork()
if child == 0:
    colorbilateralfilter.colorbilateralfilter(image, values, again, 200, 200, 15, 3)
    os._exit(0 if np.array_equal(want, again) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_works_in_a_forked_child() -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "3"}
    result = subprocess.run([sys.executable, "-c", FORK], env=env, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_gradient_is_the_filter_of_the_gradient() -> None:
    images, values = batch(1, 20, 20)
    values.requires_grad_()
    weight = torch.rand(values.shape, generator=torch.Generator().manual_seed(1))
    (bilateral_filter(images, values, 15, 100) * weight).sum().backward()
    torch.testing.assert_close(values.grad, bilateral_filter(images, weight, 15, 100))
