"""Random arguments of the raw extensions and of the torch functions: finite results or one error, never a crash."""

from __future__ import annotations

import math
from typing import Any

import bilateralfilter
import colorbilateralfilter
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlib.crf import bilateral_filter, color_bilateral_filter

SIZES = st.integers(1, 9)
ODD_NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [
        0,
        -1,
        2**31,
        2**63 - 1,
        2**70,
        1.5,
        math.nan,
        math.inf,
        -math.inf,
        1e-30,
        1e30,
        None,
        "3",
        b"3",
        [3],
        True,
    ]
)
ODD_PIXELS = st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-40, -255.0, 0.0, 65504.0])
ODD_ARRAYS: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "image",
        [1.0, 2.0],
        np.array(3.0, np.float32),
        np.zeros(0, np.float32),
        np.zeros(5),
        np.zeros(6, np.float32)[::2],
        np.zeros((2, 3), np.float32),
        np.broadcast_to(np.float32(1), (60,)),
        np.zeros(8, ">f4"),
        np.zeros(4, np.complex64),
        np.zeros(3, object),
        memoryview(bytes(16)),
    ]
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[Any]]:
    """The extension's function and its arguments: right ones, up to two of which are damaged."""
    name = draw(st.sampled_from(["dense", "colour", "groups"]))
    n, k, height, width = (draw(SIZES) for _ in range(4))
    planes = 3 if name == "dense" else draw(SIZES)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = rng.uniform(0, 255, n * planes * height * width).astype(np.float32)
    ins = rng.uniform(0, 1, n * k * height * width).astype(np.float32)
    for array in (images, ins):
        if draw(st.integers(0, 9)) == 0:
            array[draw(st.integers(0, len(array) - 1))] = draw(ODD_PIXELS)
    sigma = st.floats(0.5, 100)
    last = draw(sigma) if name == "dense" else planes
    arguments: list[Any] = [images, ins, np.zeros_like(ins), n, k, height, width, draw(sigma), last]
    if name == "groups":
        index = st.integers(-1, n) if draw(st.booleans()) else st.integers(0, n - 1)
        arguments.append(draw(st.lists(st.lists(index, max_size=3), max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(arguments) - 1))
        if at < 3 and draw(st.booleans()):
            arguments[at] = arguments[draw(st.integers(0, 2))]  # the same memory twice
        else:
            arguments[at] = draw(ODD_ARRAYS if at < 3 or at == 9 else ODD_NUMBERS)
    return name, arguments


FUNCTIONS = {
    "dense": bilateralfilter.bilateralfilter_batch,
    "colour": colorbilateralfilter.colorbilateralfilter_batch,
    "groups": colorbilateralfilter.colorbilateralfilter_groups,
}


@given(calls())
def test_any_arguments_give_numbers_or_one_error(call: tuple[str, list[Any]]) -> None:
    name, arguments = call
    images, ins, outs = arguments[:3]
    read = [array for array in (images, ins) if isinstance(array, np.ndarray) and array is not outs]
    before = [array.copy() for array in read]
    outs_finite = isinstance(outs, np.ndarray) and outs.dtype != object and np.isfinite(outs).all()
    problem = ""
    try:
        FUNCTIONS[name](*arguments)
    except (ValueError, TypeError, OverflowError) as error:
        problem = str(error)
        assert len(problem.splitlines()) == 1, problem
    assert [array.tobytes() for array in read] == [array.tobytes() for array in before]
    # Images in no group keep what was in outs, NaN too.
    assert problem or np.isfinite(outs).all() or not outs_finite


EXTREME = st.sampled_from([0.0, 1.0, -1.0, 255.0, 1e30, -1e30, float("nan"), float("inf")])


@given(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)),
    EXTREME,
    EXTREME,
    st.sampled_from([1.0, 15.0, 0.0, -1.0, float("nan"), float("inf"), 1e-30]),
    st.sampled_from([torch.float32, torch.float64, torch.int64, torch.float16]),
)
def test_any_tensors_give_numbers_or_an_error(
    shape: tuple[int, int, int], pixel: float, value: float, sigma: float, dtype: torch.dtype
) -> None:
    n, h, w = shape
    images = torch.full((n, 3, h, w), pixel)
    values = torch.full((n, 2, h, w), value if dtype.is_floating_point else 1).to(dtype)
    for call in (
        lambda: bilateral_filter(images, values, sigma, 5.0, backend="cpp"),
        lambda: color_bilateral_filter(images, values.transpose(2, 3), sigma, backend="cpp"),
    ):
        try:
            out = call()
        except (ValueError, TypeError):
            continue
        assert out.isfinite().all() or not values.isfinite().all() or not images.isfinite().all()
