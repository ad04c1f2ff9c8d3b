"""The lattice in a table: its places, its numbers, and that the host never waits for the device."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dlib.crf import (
    IMAGE_RANGE,
    ColorDenseCRFLoss,
    DenseCRFLoss,
    bilateral_filter,
    color_bilateral_filter,
    joint_color_crf,
)
from dlib.crf import lattice_table as table
from dlib.crf.filters import Kernel, filter_values
from dlib.crf.lattice_plan import Plan, _strides, plan_table
from helpers.crf_truth import batch, enclosing_simplex, truth


@pytest.fixture
def no_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sorted lattice is out of order: what passes went through the table."""

    def refuse(*_: Any) -> Tensor:
        raise AssertionError("the sorted lattice was called")

    monkeypatch.setattr("dlib.crf.filters.filter_groups", refuse)
    monkeypatch.setattr(table, "_MOST_ON_CPU", table._MOST_NUMBERS)


# Places


def corners(plan: Plan, size: tuple[int, int]) -> Iterator[tuple[int, ...]]:
    """Vertices that pixels within the plan's range touch, by the float64 lattice: extreme and random pixels."""
    height, width = size
    low, high = [0.0] * 2 if plan.spatial else [], [width - 1.0, height - 1.0] if plan.spatial else []
    planes = plan.d - len(low)
    low, high = low + [plan.low] * planes, high + [plan.high] * planes
    points = [np.array(point) for point in itertools.product(*zip(low, high, strict=True))]
    points += list(np.random.default_rng(0).uniform(low, high, (1500, plan.d)))
    for point in points:
        scaled = point * plan.scales
        elevated = np.zeros(plan.d + 1)
        for i, value in enumerate(scaled):
            elevated[: i + 1] += value
            elevated[i + 1] -= (i + 1) * value
        yield from enclosing_simplex(elevated)[0]


@pytest.mark.parametrize(
    ("planes", "sigma_rgb", "sigma_xy", "value_range"),
    [
        (1, 15, None, (0, 255)),
        (2, 15, None, (-3, 255)),
        (3, 40, None, (0, 255)),
        (4, 80, None, (100, 300)),
        (3, 90, 20, (0, 255)),
        (6, 300, None, (0, 255)),
        (3, 15, 20, (7, 7)),
        (1, 300, 0.2, (0, 255)),
    ],
)
def test_no_two_vertices_share_a_cell(
    planes: int, sigma_rgb: float, sigma_xy: float | None, value_range: tuple[float, float]
) -> None:
    plan = plan_table(planes, 23, 31, sigma_rgb, sigma_xy, value_range, 2**22)
    assert plan is not None
    d = plan.d

    def place(vertex: tuple[int, ...]) -> int:
        total = sum(step * c for step, c in zip(plan.steps, vertex, strict=True))
        assert total % (d + 1) == 0
        return plan.origin + total // (d + 1)

    touched = set(corners(plan, (23, 31)))
    owner = {place(vertex): vertex for vertex in touched}
    assert len(owner) == len(touched)
    assert 0 <= min(owner) <= max(owner) < plan.cells
    for vertex, axis, sign in itertools.product(touched, range(d + 1), (-1, 1)):
        near = tuple(c + sign * (d if i == axis else -1) for i, c in enumerate(vertex))
        there = place(vertex) + sign * plan.steps[axis]
        assert there == place(near)
        # An untouched neighbour has a cell of its own or none.
        assert owner.get(there, near) == near


def test_strides_by_hand() -> None:
    """Three features whose g differ by 99, 10 and 4.2 at most. A step along an axis adds at most 1 to the third,
    which then needs a stride of 4.2 + 1 + 2/3 and more, so 6, and w_1 = 6 - 2/3. It adds at most w_1 + 1/3 to the last
    two: 10 w_1 + 4.2 + w_1 + 1/3 + 6/2 = 66.2.
    """
    strides, weights = _strides([99.0, 10.0, 4.2])
    assert strides == [67, 6, 1]
    assert weights == pytest.approx([64.0, 16 / 3, 1.0])


def test_a_table_by_hand() -> None:
    """One plane of 0..255 whose elevated unit is a tenth of a level: g is -1.01… to 26.51…"""
    plan = plan_table(1, 9, 9, 10 * math.sqrt(4 / 3), None, (0.0, 255.0), 30)
    assert plan is not None
    assert plan.scales == pytest.approx((0.1,))
    assert (plan.origin, plan.cells, plan.steps) == (2, 30, (1, -1))
    assert plan_table(1, 9, 9, 10 * math.sqrt(4 / 3), None, (0.0, 255.0), 29) is None
    down = plan_table(1, 9, 9, 10 * math.sqrt(4 / 3), None, (-255.0, 0.0), 30)
    assert down is not None
    assert (down.origin, down.cells) == (27, 30)


@pytest.mark.parametrize(("device", "most"), [("cpu", 1_048_576), ("meta", 16_777_216)])
def test_the_largest_table_is_smaller_on_a_cpu(
    device: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(table, "plan_table", lambda *given: asked.append(given))
    images, values = (torch.empty(2, n, 5, 7, device=device) for n in (3, 4))
    assert table.plan_filter(images, values, 15.0, None, IMAGE_RANGE) is None
    assert asked == [(3, 5, 7, 15.0, None, IMAGE_RANGE, most // 4)]


def test_groups_that_make_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_NUMBERS_AT_ONCE", 30)
    monkeypatch.setattr(table, "_PIXELS_AT_ONCE", 12)
    members = [[0], [1], [2], [3, 4], [5], [6, 7, 8, 9]]
    tables = [[[0], [1], [2]], [[3, 4], [5], [6, 7, 8, 9]]]  # three tables of 10 numbers
    assert list(table._parts(members, 10, 1)) == tables
    frames = [
        [[0], [1], [2]],
        [[3, 4], [5]],
        [[6, 7, 8, 9]],
    ]  # three images of 4 pixels; four are a group alone
    assert list(table._parts(members, 1, 4)) == frames
    assert list(table._parts(members, 31, 13)) == [[group] for group in members]
    assert list(table._parts([], 1, 1)) == []


def test_triton_works_if_one_pixel_can_be_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    asked = []

    def run(images: Tensor, values: Tensor, owner: Tensor, count: int, plan: Plan) -> None:
        asked.append((images.tolist(), values.tolist(), owner.tolist(), count, plan.d))

    monkeypatch.setattr("dlib.crf.lattice_triton.filter_pass", run)
    table.triton_works.cache_clear()
    assert table.triton_works(torch.device("cpu")) is True
    assert asked == [([[[[1.0]]]], [[[[1.0]]]], [0], 1, 1)]
    table.triton_works.cache_clear()


def test_the_table_of_the_published_setting_is_small() -> None:
    dense = plan_table(3, 224, 224, 15.0, 100.0, IMAGE_RANGE, 2**22)
    colour = plan_table(3, 224, 224, 15.0, None, IMAGE_RANGE, 2**22)
    assert dense is not None
    assert colour is not None
    assert dense.cells < 260_000
    assert colour.cells < 10_000


@pytest.mark.parametrize(("sigma", "most"), [(15.0, 100_000), (1e-6, 2**62)])
def test_what_does_not_fit_has_no_table(sigma: float, most: int) -> None:
    assert plan_table(3, 224, 224, sigma, 100.0, IMAGE_RANGE, most) is None


# Numbers


def compare(images: Tensor, values: Tensor, sigma_rgb: float, sigma_xy: float | None) -> Tensor:
    """The filter by the table, after comparing it with C++."""
    if sigma_xy is None:
        want = color_bilateral_filter(images, values, sigma_rgb, backend="cpp")
        got = color_bilateral_filter(images, values, sigma_rgb, backend="torch", value_range=IMAGE_RANGE)
    else:
        want = bilateral_filter(images, values, sigma_rgb, sigma_xy, backend="cpp")
        got = bilateral_filter(images, values, sigma_rgb, sigma_xy, backend="torch", value_range=IMAGE_RANGE)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6 * float(want.abs().amax()))
    return got


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize("sigma_xy", [100.0, 5.0, None])
@pytest.mark.parametrize("sigma_rgb", [15.0, 30.0, 80.0])
def test_equals_cpp_and_the_float64_lattice(sigma_rgb: float, sigma_xy: float | None) -> None:
    images, values = batch(2, 19, 26)
    got = compare(images, values, sigma_rgb, sigma_xy)
    for image, value, result in zip(images, values, got, strict=True):
        want = truth(image.numpy(), value.numpy(), sigma_rgb, sigma_xy)
        np.testing.assert_allclose(result.numpy(), want, rtol=5e-4, atol=1e-30)


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize(("planes", "sigma"), [(1, 15), (2, 15), (4, 15), (5, 25), (7, 120), (8, 300)])
def test_any_number_of_planes(planes: int, sigma: float) -> None:
    compare(*batch(2, 9, 17, planes=planes), sigma, None)


@pytest.mark.parametrize(("planes", "channels"), [(6, 2), (16, 2), (5, 21)])
def test_what_has_no_table_is_sorted(planes: int, channels: int) -> None:
    images, values = batch(2, 9, 17, channels, planes)
    assert table.plan_filter(images, values, 15.0, None, IMAGE_RANGE) is None
    compare(images, values, 15, None)


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 21])
@pytest.mark.parametrize("sigma_xy", [30.0, None])
def test_any_number_of_channels_and_values_below_zero(channels: int, sigma_xy: float | None) -> None:
    images, values = batch(2, 11, 14, channels)
    compare(images, values - 0.2, 15, sigma_xy)


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2), (3, 5), (7, 16), (33, 5)])
def test_odd_sizes(shape: tuple[int, int]) -> None:
    for sigma_xy in (10.0, None):
        compare(*batch(2, *shape), 15, sigma_xy)


@pytest.mark.usefixtures("no_other_way")
@given(
    st.lists(st.sampled_from([0.0, 255.0, 1.0, 15.0, 127.5, 254.99]), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([15.0, 30.0, 51.0]),
    st.integers(0, 99),
)
def test_pixels_on_borders_of_simplices(levels: list[float], grey: bool, sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.choice(levels, (1, 1 if grey else 3, 6, 7)).astype(np.float32))
    values = torch.from_numpy(rng.random((1, 2, 6, 7), np.float32))
    for sigma_xy in (3.0, 100.0, None):
        compare(images.expand(1, 3, 6, 7), values, sigma, sigma_xy)


@pytest.mark.usefixtures("no_other_way")
def test_flat_regions_do_not_add_up_rounding() -> None:
    image, values = torch.full((1, 3, 500, 500), 100.0), torch.full((1, 1, 500, 500), 0.1)
    compare(image, values, 15, None)


GROUPS: list[list[list[int]]] = [[[0, 1, 2, 3, 4]], [[3, 1], [0], [4, 2]], [[4], [0, 2]], [[1]], []]


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("at_once", [1, 10**9])
def test_groups_of_any_length(groups: list[list[int]], at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PIXELS_AT_ONCE", "_PIXELS_OF_A_PIECE", "_NUMBERS_AT_ONCE"):
        monkeypatch.setattr(table, name, at_once)
    images, values = batch(5, 12, 15)
    got = filter_values(images, values, groups, Kernel(15, None, "torch", IMAGE_RANGE))
    want = filter_values(images, values, groups, Kernel(15, None, "cpp"))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=0)
    without = sorted(set(range(5)) - {i for group in groups for i in group})
    assert not got[without].any()


@pytest.mark.usefixtures("no_other_way")
@pytest.mark.parametrize("pixel", [-1.0, 255.5, 1e30, math.nan, math.inf])
def test_an_image_outside_the_range_becomes_nan_with_its_group_alone(pixel: float) -> None:
    images, values = batch(4, 12, 15)
    want = compare(images, values, 15, None)
    images[1, 2, 3, 4] = pixel
    got = color_bilateral_filter(images, values, 15, backend="torch", value_range=IMAGE_RANGE)
    assert got[1].isnan().all()
    torch.testing.assert_close(got[[0, 2, 3]], want[[0, 2, 3]])
    got = filter_values(images, values, [[1, 0], [2]], Kernel(15, None, "torch", IMAGE_RANGE))
    assert got[:2].isnan().all()
    assert got[2:].isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_losses_of_what_is_not_finite_are_nan(value: float) -> None:
    for where in ("images", "values"):
        images, values = batch(2, 12, 15)
        (images if where == "images" else values)[1, 0, 3, 4] = value
        values.requires_grad_()
        for loss in (
            DenseCRFLoss(1, 15, 100, 1, "torch", IMAGE_RANGE)(images, values),
            ColorDenseCRFLoss(1, 15, 1, "adaptive", "torch", IMAGE_RANGE)(images, values),
            joint_color_crf(images, values, [torch.tensor([0, 1])], 15, "torch", IMAGE_RANGE).sum(),
        ):
            assert math.isnan(loss.item())
            loss.backward()


@pytest.mark.parametrize("value_range", [(1, 0), (0, math.inf), (math.nan, 1)])
def test_ranges_that_are_none(value_range: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="value_range"):
        color_bilateral_filter(*batch(1, 4, 4), 15, value_range=value_range)


@pytest.mark.usefixtures("no_other_way")
def test_autocast_leaves_the_filter_in_float32() -> None:
    images, p = batch(2, 12, 15)
    want = DenseCRFLoss(1, 30, 100, 1, "cpp")(images, p)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DenseCRFLoss(1, 30, 100, 1, "torch", IMAGE_RANGE)(images, p)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(want.item(), rel=1e-5)


# Waits, devices and memory

WAITS = (
    "_local_scalar_dense",
    "item",
    "nonzero",
    "unique",
    "_unique2",
    "is_nonzero",
    "equal",
    "masked_select",
)


class Operations(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    def waits(self) -> int:
        return sum(self.count[name] for name in self.count if name in WAITS or "unique" in name)


Range = tuple[float, float] | None
PAIR_AND_ONE, EIGHTS = [torch.tensor([2, 0]), torch.tensor([1])], list(torch.arange(32).split(8))
LOSSES: dict[str, Callable[[Tensor, Tensor, Range], Tensor]] = {
    "dense": lambda i, p, r: DenseCRFLoss(1, 15, 100, 1, "torch", r)(i, p),
    "dense, half size": lambda i, p, r: DenseCRFLoss(1, 15, 100, 0.5, "torch", r)(i, p),
    "colour": lambda i, p, r: ColorDenseCRFLoss(1, 15, 1, "adaptive", "torch", r)(i, p),
    "joint": lambda i, p, r: joint_color_crf(i, p, PAIR_AND_ONE, 15, "torch", r).sum(),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_never_wait(name: str) -> None:
    images, p = batch(3, 18, 22)
    p.requires_grad_()
    with Operations() as seen:
        LOSSES[name](images, p, IMAGE_RANGE).backward()
    assert seen.waits() == 0, seen.count
    assert seen.count["scatter_add_"] > 0
    with Operations() as seen:
        LOSSES[name](images, p, None)
    assert seen.waits() > 0  # the sorted lattice waits


@contextmanager
def fake_card(monkeypatch: pytest.MonkeyPatch, triton: bool) -> Iterator[list[str]]:
    """Tensors without data on a card that need not be there: mixed devices and shapes by data are errors.

    Yields the devices of the tensors that Triton's kernels were given; the kernels themselves do nothing.
    """
    seen: list[str] = []

    class Kernel:
        def __getitem__(self, grid: Any) -> Callable[..., None]:
            return lambda *args, **_: seen.extend(x.device.type for x in args if isinstance(x, Tensor))

    if triton:
        pytest.importorskip("triton")
        for name in ("_splat", "_blur", "_slice"):
            monkeypatch.setattr(f"dlib.crf.lattice_triton.{name}", Kernel())
    monkeypatch.setattr(table, "triton_works", lambda device: triton)
    monkeypatch.setattr(torch.cuda, "device_of", lambda tensor: nullcontext())
    with FakeTensorMode():
        yield seen


@pytest.mark.parametrize("triton", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_runs_on_a_card_without_its_data(name: str, triton: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_card(monkeypatch, triton) as given:
        images, p = torch.empty(3, 3, 18, 22, device="cuda"), torch.empty(3, 2, 18, 22, device="cuda")
        loss = LOSSES[name](images, p, IMAGE_RANGE)
        assert (loss.device.type, loss.shape) == ("cuda", ())
        axes = 6 if "dense" in name else 4
        assert given == ["cuda"] * ((6 + 4 * axes + 4) if triton else 0)
        with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
            LOSSES[name](images, p, None)


class BlockingCopies(TorchDispatchMode):
    """Names of operations that bring a tensor of the CPU to the card and wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        devices = {x.device.type for x in tree_leaves((args, kwargs, found)) if isinstance(x, Tensor)}
        name = func.overloadpacket.__name__
        # where copies a number on the CPU; other operations hand it to their kernel.
        if devices == {"cpu", "cuda"} and (
            name == "where" or ("copy" in name and not (kwargs or {}).get("non_blocking"))
        ):
            self.names.append(name)
        return found


@pytest.mark.parametrize("triton", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_no_copy_to_the_card_is_waited_for(name: str, triton: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_card(monkeypatch, triton):
        images, p = torch.empty(3, 3, 18, 22, device="cuda"), torch.empty(3, 2, 18, 22, device="cuda")
        with BlockingCopies() as seen:
            LOSSES[name](images, p, IMAGE_RANGE)
        assert seen.names == []
        with BlockingCopies() as seen:
            torch.where(images > 0, images, torch.ones(()))
            torch.ones(3).to(images.device)
        assert seen.names == ["where", "_to_copy"]


class Peak(TorchDispatchMode):
    """Most bytes of the storages that operations made and that live at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(found):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                storage = x.untyped_storage()
                self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.live = {key: pair for key, pair in self.live.items() if not pair[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.live.values()))
        return found


def test_peak_counts_what_lives_at_once() -> None:
    with Peak() as peak:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b.view(10, 100) * 2
        del b, c
        torch.zeros(100)
    assert peak.most == 8000


@pytest.mark.parametrize(
    ("name", "triton", "most"), [("dense", False, 500), ("dense", True, 350), ("joint", False, 200)]
)
def test_memory_of_a_batch(name: str, triton: bool, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """MiB beside the images and maps of 32 frames of 224²."""
    with fake_card(monkeypatch, triton):
        images, p = torch.empty(32, 3, 224, 224, device="cuda"), torch.empty(32, 2, 224, 224, device="cuda")
        with Peak() as peak:
            if name == "dense":
                LOSSES[name](images, p, IMAGE_RANGE)
            else:
                joint_color_crf(images, p, EIGHTS, 15, "auto", IMAGE_RANGE)
    assert 50 < peak.most / 2**20 < most
