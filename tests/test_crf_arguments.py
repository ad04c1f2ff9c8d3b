"""Wrong arguments of the extensions and of the torch functions: ValueError or TypeError, never a crash."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import bilateralfilter
import colorbilateralfilter
import numpy as np
import pytest
import torch

from dlib.crf import (
    ColorDenseCRFLoss,
    DenseCRFLoss,
    bilateral_filter,
    color_bilateral_filter,
    joint_color_crf,
)

N, K, H, W, P = 2, 3, 4, 5, 3
PIXELS = H * W


def arrays() -> dict[str, np.ndarray]:
    return {
        "images": np.full(N * P * PIXELS, 7, np.float32),
        "ins": np.ones(N * K * PIXELS, np.float32),
        "outs": np.zeros(N * K * PIXELS, np.float32),
    }


def call(module: str = "dense", **changes: Any) -> np.ndarray:
    """A good call of a batch function, but for the changes; returns outs."""
    a: dict[str, Any] = {**arrays(), "N": N, "K": K, "H": H, "W": W, "sigmargb": 15.0, "last": None} | changes
    rest = [a[key] for key in ("images", "ins", "outs", "N", "K", "H", "W", "sigmargb")]
    if module == "dense":
        bilateralfilter.bilateralfilter_batch(*rest, 100.0 if a["last"] is None else a["last"])
    else:
        colorbilateralfilter.colorbilateralfilter_batch(*rest, P if a["last"] is None else a["last"])
    return a["outs"]


def changed(name: str, index: int, value: float) -> np.ndarray:
    array = arrays()[name]
    array[index] = value
    return array


BAD_VALUES: list[dict[str, Any]] = [
    *(
        {name: changed(name, i, x)}
        for name in ("images", "ins")
        for i in (0, 17, 59)
        for x in (math.nan, -math.inf)
    ),
    *({name: np.zeros(size, np.float32)} for name in ("images", "ins", "outs") for size in (0, 1, 119, 121)),
    *({name: value} for name in ("N", "K", "H", "W") for value in (0, -1, 1000, 2**31, 2**31 - 1, 2**70)),
    *(
        {name: value}
        for name in ("sigmargb", "last")
        for value in (0.0, -1.0, math.nan, math.inf, 1e300, 1e-300)
    ),
    {"sigmargb": 1e-6},
    {"ins": np.full(N * K * PIXELS, 3e38, np.float32)},  # their sum is no float32
    # Finite at the vertex where the black pixel lies, but too large for the interpolation.
    {"ins": changed("ins", 0, 2.5e38), "images": np.zeros(N * P * PIXELS, np.float32)},
]
BAD_TYPES: list[dict[str, Any]] = [
    *({name: arrays()[name].astype(kind)} for name in ("images", "ins") for kind in ("c8", "U4", "O")),
    *({"outs": arrays()["outs"].astype(kind)} for kind in ("i4", "u1", "?", "c8", "O")),
    {"outs": arrays()["outs"].tolist()},
    *({name: value} for name in ("images", "ins", "outs") for value in (None, "x", 3)),
    *({name: [[1.0], [1.0, 2.0]]} for name in ("images", "ins")),
    *({name: value} for name in ("N", "K", "H", "W") for value in (2.0, None, "2", [2])),
    *({name: value} for name in ("sigmargb",) for value in ("15", None, [15])),
]


@pytest.mark.parametrize("module", ["dense", "colour"])
def test_good_calls_pass(module: str) -> None:
    assert np.isfinite(call(module)).all()
    assert np.isfinite(call(module, N=np.int64(N), sigmargb=15)).all()
    tensors = {name: torch.from_numpy(array) for name, array in arrays().items()}
    np.testing.assert_array_equal(call(module, **tensors).numpy(), call(module))


@pytest.mark.parametrize("module", ["dense", "colour"])
@pytest.mark.parametrize(
    "change", BAD_VALUES, ids=lambda c: f"{next(iter(c))}-{str(next(iter(c.values())))[:12]}"
)
def test_bad_values(module: str, change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        call(module, **change)


@pytest.mark.parametrize("module", ["dense", "colour"])
@pytest.mark.parametrize(
    "change", BAD_TYPES, ids=lambda c: f"{next(iter(c))}-{str(next(iter(c.values())))[:12]}"
)
def test_bad_types(module: str, change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        call(module, **change)


@pytest.mark.parametrize("module", ["dense", "colour"])
@pytest.mark.parametrize("level", [0.0, 7.0])
def test_a_sigma_that_is_too_small_is_named(module: str, level: float) -> None:
    images = np.full(N * P * PIXELS, level, np.float32)  # black gives 0 · ∞ in the features' scale
    with pytest.raises(ValueError, match="sigma is too small"):
        call(module, images=images, sigmargb=1e-44)


def test_a_group_of_many_large_frames() -> None:
    """More frames than runs of pixels that a group may have; every pixel has the same colour, so each sees all."""
    frames, side = 65, 90
    images, outs = np.zeros((frames, side, side), np.float32), np.zeros((frames, side, side), np.float32)
    colorbilateralfilter.colorbilateralfilter_groups(
        images, np.ones_like(outs), outs, frames, 1, side, side, 15.0, 1, [list(range(frames))]
    )
    alone = np.zeros(1, np.float32)
    colorbilateralfilter.colorbilateralfilter(images[:1, :1, :1], np.ones(1), alone, 1, 1, 15.0, 1)
    np.testing.assert_allclose(outs, frames * side**2 * alone[0], rtol=1e-6)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_read_only_outs_are_refused(kind: str) -> None:
    outs = arrays()["outs"].astype(kind)
    outs.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        call(outs=outs)


@pytest.mark.parametrize("module", ["dense", "colour"])
@pytest.mark.parametrize(
    "form",
    [
        lambda a: a.astype("f8"),
        lambda a: a.astype("u1"),
        lambda a: a.astype(">f4"),
        lambda a: a.astype("f2"),
        lambda a: a.repeat(2)[::2],
        lambda a: a.reshape(N, -1, H, W).astype("i8"),
        lambda a: a.tolist(),
        lambda a: tuple(a.reshape(N, -1).tolist()),
        lambda a: torch.from_numpy(a.astype("f8")),
    ],
    ids=["f8", "u1", "big-endian", "f2", "strided", "shaped i8", "list", "nested tuple", "tensor f8"],
)
def test_numbers_in_other_forms_are_converted(module: str, form: Callable[[np.ndarray], Any]) -> None:
    """As the published interface, made with SWIG's typemaps for NumPy, takes them."""
    rng = np.random.default_rng(0)
    given = {"images": rng.integers(0, 256, N * P * PIXELS), "ins": rng.integers(0, 2, N * K * PIXELS)}
    plain = {name: value.astype("f4") for name, value in given.items()}
    want = call(module, **plain)
    assert np.ptp(want) > 0
    found = call(module, **{name: form(value) for name, value in plain.items()})
    np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("module", ["dense", "colour"])
def test_results_are_written_back_into_arrays_of_other_floats(module: str) -> None:
    ins = np.random.default_rng(0).random(N * K * PIXELS, np.float32)
    want = call(module, ins=ins)
    for outs in (np.zeros(want.size), np.zeros(2 * want.size, "f4")[::2], np.zeros((N, K, H, W), ">f8")):
        assert call(module, ins=ins, outs=outs) is outs
        np.testing.assert_array_equal(outs.ravel().astype("f4"), want)
    tensor = torch.zeros(want.size, dtype=torch.float64)
    call(module, ins=ins, outs=tensor)
    np.testing.assert_array_equal(tensor.float().numpy(), want)
    untouched = np.full(want.size, 5.0)
    with pytest.raises(ValueError, match="NaN"):
        call(module, ins=changed("ins", 0, math.nan), outs=untouched)
    assert (untouched == 5).all()


def test_too_many_planes() -> None:
    with pytest.raises(ValueError, match="256"):
        call("colour", images=np.zeros(N * 257 * PIXELS, np.float32), last=257)


def test_single_image_forms_equal_the_batch_of_one() -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, P * PIXELS).astype(np.float32)
    values = rng.random(K * PIXELS, np.float32)
    one, many = np.zeros_like(values), np.zeros_like(values)
    bilateralfilter.bilateralfilter(image, values, one, H, W, 15.0, 100.0)
    bilateralfilter.bilateralfilter_batch(image, values, many, 1, K, H, W, 15.0, 100.0)
    np.testing.assert_array_equal(one, many)
    colorbilateralfilter.colorbilateralfilter(image, values, one, H, W, 15.0, P)
    colorbilateralfilter.colorbilateralfilter_batch(image, values, many, 1, K, H, W, 15.0, P)
    np.testing.assert_array_equal(one, many)
    with pytest.raises(ValueError, match="multiple"):
        bilateralfilter.bilateralfilter(image, values[:-1], one[:-1], H, W, 15.0, 100.0)


@pytest.mark.parametrize("groups", [[[]], [[0, 0]], [[0], [0]], [[2]], [[-1]], [[2**80]], 3, [3], [["a"]]])
def test_bad_groups(groups: Any) -> None:
    a = arrays()
    with pytest.raises((ValueError, TypeError)):
        colorbilateralfilter.colorbilateralfilter_groups(
            a["images"], a["ins"], a["outs"], N, K, H, W, 15.0, P, groups
        )


IMAGES, VALUES = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5)


@pytest.mark.parametrize("backend", ["cpp", "torch", "auto"])
@pytest.mark.parametrize(
    ("images", "values", "sigma"),
    [
        (IMAGES[0], VALUES, 15.0),
        (IMAGES, VALUES[:1], 15.0),
        (IMAGES, VALUES[..., :4], 15.0),
        (IMAGES[:, :0], VALUES, 15.0),
        (IMAGES, VALUES[:, :0], 15.0),
        (IMAGES[..., :0], VALUES[..., :0], 15.0),
        (IMAGES, VALUES, 0.0),
        (IMAGES, VALUES, math.nan),
        (IMAGES, VALUES, -math.inf),
        (IMAGES + 255, VALUES, 1e-6),
        (IMAGES + math.nan, VALUES, 15.0),
        (IMAGES.numpy(), VALUES, 15.0),
        (IMAGES, VALUES.to(torch.complex64), 15.0),
    ],
)
def test_bad_tensors(images: Any, values: Any, sigma: float, backend: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        color_bilateral_filter(images, values, sigma, backend=backend)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="backend"):
        color_bilateral_filter(IMAGES, VALUES, 15, backend="gpu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cpp"):
        color_bilateral_filter(IMAGES.to("meta"), VALUES.to("meta"), 15, backend="cpp")
    with pytest.raises(ValueError, match="3 planes"):
        bilateral_filter(IMAGES[:, :2], VALUES, 15, 100)
    with pytest.raises(ValueError, match="sigma_xy"):
        bilateral_filter(IMAGES, VALUES, 15, 0)
    with pytest.raises(ValueError, match="scale_factor"):
        DenseCRFLoss(1, 15, 100, 0)
    with pytest.raises(ValueError, match="weight_style"):
        ColorDenseCRFLoss(1, 15, 1, "sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no images"):
        joint_color_crf(IMAGES, VALUES, [torch.tensor([], dtype=torch.int64)], 15)
    for outside in (-1, 2):
        with pytest.raises(ValueError, match=r"groups must name images 0\.\.1, not"):
            joint_color_crf(IMAGES, VALUES, [torch.tensor([0, outside])], 15)
    with pytest.raises(ValueError, match="twice"):
        joint_color_crf(IMAGES, VALUES, [torch.tensor([0, 1]), torch.tensor([1])], 15)


def test_odd_memory_layouts_are_copied() -> None:
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(2, 3, 6, 5, generator=generator)
    values = torch.rand(2, 2, 6, 5, generator=generator)
    want = bilateral_filter(images, values, 15, 100)
    last = torch.channels_last
    got = bilateral_filter(
        images.contiguous(memory_format=last), values.contiguous(memory_format=last), 15, 100
    )
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    torch.testing.assert_close(
        bilateral_filter(images.double(), values.double(), 15, 100), want, rtol=0, atol=0
    )


def test_an_empty_batch_gives_an_empty_batch() -> None:
    assert bilateral_filter(IMAGES[:0], VALUES[:0], 15, 100).shape == (0, 2, 4, 5)
    assert color_bilateral_filter(IMAGES[:0], VALUES[:0], 15, backend="torch").shape == (0, 2, 4, 5)


LOOPING_DAEMON = """
import threading, time
import numpy as np
import {module} as extension

images, ins = np.random.rand(3 * 64 * 64).astype("f"), np.random.rand(2 * 64 * 64).astype("f")
outs = np.zeros_like(ins)

def loop():
    while True:
        extension.{module}_batch(images, ins, outs, 1, 2, 64, 64, 15.0, {last})

threading.Thread(target=loop, daemon=True).start()
time.sleep(0.2)
"""


@pytest.mark.parametrize(("module", "last"), [("bilateralfilter", 100.0), ("colorbilateralfilter", 3)])
def test_a_program_ends_while_a_daemon_thread_filters(module: str, last: float) -> None:
    script = LOOPING_DAEMON.format(module=module, last=last)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_more_channels_than_there_are_numbers_for_are_refused() -> None:
    a = np.zeros(65537, np.float32)
    image = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="K must be at most 65536"):
        bilateralfilter.bilateralfilter(image, a, a.copy(), 1, 1, 15.0, 100.0)
