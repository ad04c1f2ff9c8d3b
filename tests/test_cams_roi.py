"""Regions of interest against skimage, scipy and a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.filters import threshold_otsu

from dlib.cams import region_of_interest
from dlib.cams.morphology import cache_blocks, dilate, erode
from dlib.cams.roi import _histograms, _histograms_on_device, otsu_thresholds
from dlib.configure.literals import RoiMask, RoiMethod
from helpers.cam_maps import smooth_cams

_CROSS = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def _skimage_threshold(levels: np.ndarray) -> float:
    """Otsu's threshold of float32 levels; 0 where they are all the same."""
    return 0.0 if levels.min() == levels.max() else float(threshold_otsu(levels.astype(np.float32)))


def _map_of_kind(kind: str, rng: np.random.Generator) -> np.ndarray:
    size = (int(rng.integers(5, 40)), int(rng.integers(5, 40)))
    if kind == "smooth":
        return smooth_cams(1, 24, int(rng.integers(1 << 30)), int(rng.integers(3, 9)))[0].numpy()
    maps = {
        "noise": lambda: rng.random(size),
        "binary": lambda: rng.random(size) < rng.random(),
        "two levels": lambda: rng.choice(rng.random(2), size),
        "few levels": lambda: rng.choice(rng.random(4), size),
        "even levels": lambda: np.kron(rng.choice([0, 0.25, 0.5, 0.75, 1], (4, 4)), np.ones((6, 6))),
        "saturated": lambda: np.clip(rng.normal(0.5, 1, size), 0, 1),
        "nearly binary": lambda: 1 / (1 + np.exp(-40 * rng.normal(0, 1, size))),
        "peaked": lambda: rng.random(size) ** 9,
        "constant": lambda: np.full(size, rng.random()),
    }
    return maps[kind]().astype(np.float32)


_KINDS = (
    "smooth",
    "noise",
    "binary",
    "two levels",
    "few levels",
    "even levels",
    "saturated",
    "nearly binary",
    "peaked",
    "constant",
)


def _plain_region(cam: np.ndarray, method: str, min_size: float) -> np.ndarray:
    """The chosen component of one map, in the words of the definition."""
    t = _skimage_threshold(np.floor(np.float32(255) * cam))
    labels, count = ndimage.label(np.float32(255) * cam >= t, structure=_CROSS)
    areas = [(labels == i).sum() for i in range(1, count + 1)]
    densities = [cam[labels == i].astype(np.float64).mean() for i in range(1, count + 1)]
    best = int(np.argmax(areas))
    if method == "roi_high_density":
        dense = int(np.argmax(densities))
        if areas[dense] >= min_size * cam.size:
            best = dense
    return labels == best + 1


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, (3, 9, 8), elements=st.integers(0, 255)))
def test_otsu_equals_skimage_on_any_levels(levels: np.ndarray) -> None:
    ours = otsu_thresholds(torch.from_numpy(levels))
    assert ours.tolist() == [_skimage_threshold(image) for image in levels]


def test_levels_are_counted_on_a_device_as_on_the_cpu() -> None:
    """The operations of a card, here on the CPU."""
    levels = torch.randint(0, 256, (3, 5, 70), dtype=torch.uint8)
    levels[1] = 255
    levels[2, 0, 0] = 0
    expected = [np.bincount(image.ravel(), minlength=256) for image in levels.numpy()]
    assert (_histograms_on_device(levels).numpy() == expected).all()
    assert (_histograms(levels) == expected).all()


@pytest.mark.parametrize("kind", _KINDS)
def test_otsu_equals_skimage_on_a_hundred_maps_of_each_kind(kind: str) -> None:
    rng = np.random.default_rng(_KINDS.index(kind))
    for _ in range(100):
        cam = _map_of_kind(kind, rng)
        t = _skimage_threshold(np.floor(np.float32(255) * cam))
        region = region_of_interest(torch.from_numpy(cam)[None], mask="region")
        assert (region.masks[0].numpy() == (np.float32(255) * cam >= t)).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0, 1 / 255), (0.0, 0.37), (0.2, 0.9)])
def test_of_two_flat_levels_the_higher_one_is_the_region(low: float, high: float) -> None:
    cam = torch.full((1, 10, 10), low)
    cam[0, 2:5, 3:9] = high
    for method in ("roi_all", "largest", "roi_high_density"):
        region = region_of_interest(cam, method, mask="region")  # type: ignore[arg-type]
        assert torch.equal(region.masks, cam == high)


@pytest.mark.parametrize("method", ["largest", "roi_high_density"])
@pytest.mark.parametrize("grid", [4, 9, 20, 40])  # 40: noise, hundreds of components
def test_component_equals_plain_loop(method: str, grid: int) -> None:
    cams = smooth_cams(12, 40, grid, grid)
    regions = region_of_interest(cams, method, min_size=0.03, mask="region")
    boxes = region_of_interest(cams, method, min_size=0.03, mask="box")
    for b, cam in enumerate(cams.numpy()):
        expected = _plain_region(cam, method, 0.03)
        assert (regions.masks[b].numpy() == expected).all()
        ys, xs = np.nonzero(expected)
        box = [xs.min(), ys.min(), xs.max(), ys.max()]
        assert boxes.boxes[b].tolist() == box == regions.boxes[b].tolist()
        filled = np.zeros_like(expected)
        filled[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
        assert (boxes.masks[b].numpy() == filled).all()


@pytest.mark.parametrize(
    ("shape", "device", "steps"),
    [
        ((7, 512, 512), "cpu", 1),
        ((7, 256, 512), "cpu", 2),
        ((7, 256, 511), "cpu", 2),
        ((7, 1024, 1024), "cpu", 1),  # larger than the cache: one after the other
        ((7, 1024, 1024), "meta", 7),
        ((0, 4, 4), "cpu", 1),
    ],
)
def test_blocks_that_fit_into_the_cache(shape: tuple[int, int, int], device: str, steps: int) -> None:
    """2^18 pixels together on a CPU; on other devices the batch."""
    blocks = cache_blocks(torch.empty(shape, device=device))
    assert blocks == [slice(start, start + steps) for start in range(0, shape[0], steps)]


@pytest.mark.parametrize("method", ["roi_all", "largest", "roi_high_density"])
@pytest.mark.parametrize("mask", ["box", "region"])
def test_maps_of_other_shapes_and_types(method: RoiMethod, mask: RoiMask) -> None:
    cams = smooth_cams(4, 40, 5, 5)[:, :30].to(torch.bfloat16)
    found = region_of_interest(cams, method, mask=mask)
    expected = region_of_interest(cams.float(), method, mask=mask)
    assert found.masks.shape == (4, 30, 40)
    assert torch.equal(found.masks, expected.masks)
    assert torch.equal(found.boxes, expected.boxes)
    for b in range(4):
        x0, y0, x1, y1 = found.boxes[b].tolist()
        filled = torch.zeros(30, 40, dtype=torch.bool)
        filled[y0 : y1 + 1, x0 : x1 + 1] = True
        assert torch.equal(found.masks[b], filled) or mask == "region"


def test_density_yields_to_size_below_the_minimum() -> None:
    cam = torch.zeros(1, 20, 20)
    cam[0, 1:3, 1:3] = 1.0  # 4 pixels of 400: dense
    cam[0, 8:16, 8:18] = 0.8  # 80 pixels
    dense = region_of_interest(cam, "roi_high_density", min_size=0.01)
    large = region_of_interest(cam, "roi_high_density", min_size=0.011)
    assert dense.boxes.tolist() == [[1, 1, 2, 2]]
    assert large.boxes.tolist() == [[8, 8, 17, 15]]


def test_diagonal_neighbours_are_two_components_and_ties_take_the_first() -> None:
    cam = torch.zeros(1, 6, 6)
    cam[0, 0:2, 2:4] = 1.0
    cam[0, 2:4, 4:6] = 1.0
    assert region_of_interest(cam, "largest").boxes.tolist() == [[2, 0, 3, 1]]
    assert region_of_interest(cam, "roi_high_density").boxes.tolist() == [[2, 0, 3, 1]]


def test_components_do_not_reach_into_the_next_image() -> None:
    cams = torch.zeros(2, 5, 5)
    cams[0, 3:, :] = 1.0
    cams[1, :2, :] = 1.0
    assert region_of_interest(cams, "largest").boxes.tolist() == [[0, 3, 4, 4], [0, 0, 4, 1]]


def test_roi_all_is_the_whole_map_or_all_blobs() -> None:
    cams = smooth_cams(3, 24, 1)
    whole = region_of_interest(cams, "roi_all")
    assert bool(whole.masks.all())
    assert whole.boxes.tolist() == [[0, 0, 23, 23]] * 3
    blobs = region_of_interest(cams, "roi_all", mask="region")
    thresholds = otsu_thresholds((cams * 255).to(torch.uint8))
    assert torch.equal(blobs.masks, cams * 255 >= thresholds.view(-1, 1, 1))


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("method", ["roi_all", "largest", "roi_high_density"])
def test_constant_map_has_threshold_zero_and_the_whole_map(value: float, method: str) -> None:
    cams = torch.full((2, 8, 9), value)
    region = region_of_interest(cams, method)
    assert otsu_thresholds((cams * 255).to(torch.uint8)).tolist() == [0, 0]
    assert bool(region.masks.all())


def test_batch_equals_single_images() -> None:
    cams = smooth_cams(5, 32, 3)
    batch = region_of_interest(cams, "roi_high_density", erode_k=3, erode_iter=1)
    for b in range(5):
        single = region_of_interest(cams[b : b + 1], "roi_high_density", erode_k=3, erode_iter=1)
        assert torch.equal(batch.masks[b], single.masks[0])
        assert torch.equal(batch.boxes[b], single.boxes[0])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("times", [0, 1, 3])
def test_dilation_and_erosion_equal_scipy(size: int, times: int) -> None:
    masks = torch.rand(3, 17, 19, generator=torch.Generator().manual_seed(size)) > 0.9
    grown, kept = dilate(masks, size, times), erode(~masks, size, times)
    for mask, big, small in zip(masks.numpy(), grown.numpy(), kept.numpy(), strict=True):
        expected = mask
        for _ in range(times):
            reached = np.zeros_like(mask)
            for y, x in zip(*np.nonzero(expected), strict=True):
                top, left = max(0, y - (size - 1) // 2), max(0, x - (size - 1) // 2)
                reached[top : y + size // 2 + 1, left : x + size // 2 + 1] = True
            expected = reached
        assert (big == expected).all()
        assert (small == ~expected).all()
        if size % 2 and times:
            eroded = ndimage.binary_erosion(~mask, np.ones((size, size)), times, border_value=1)
            assert (small == eroded).all()


def test_erosion_shrinks_the_mask_but_not_the_box() -> None:
    cam = torch.zeros(1, 30, 30)
    cam[0, 5:20, 6:26] = 1.0
    region = region_of_interest(cam, "largest", erode_k=5, erode_iter=2)
    ys, xs = region.masks[0].nonzero(as_tuple=True)
    assert (int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())) == (10, 9, 21, 15)
    assert region.boxes.tolist() == [[6, 5, 25, 19]]


def test_errors_name_what_is_wrong() -> None:
    cam = torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match="roi_none"):
        region_of_interest(cam, "roi_none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="circle"):
        region_of_interest(cam, "largest", mask="circle")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[B, H, W\]"):
        region_of_interest(cam[0], "largest")
    with pytest.raises(ValueError, match="side"):
        dilate(cam > 0, 0)
    with pytest.raises(ValueError, match="-1 times"):
        dilate(cam > 0, 3, -1)
