"""F-CAM's region and seeds against OpenCV, scikit-image and cases worked by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from dlib.cams import strict_region, without_one_level
from dlib.configure.config import Config
from dlib.tasks.decoder.labels import PseudoLabels, SeedRecipe, StrictRegion, pseudo_labels
from dlib.tasks.fcam import Fcam

IGNORE = -255


def truth(cam: np.ndarray, k: int, times: int) -> np.ndarray:
    """One map at a time: threshold of both libraries, strict comparison, erosion that leaves something."""
    levels = np.floor(255 * cam).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    assert threshold == threshold_otsu(levels)
    region = (levels > min(max(threshold, 1), 254)).astype(np.uint8)
    for _ in range(times):
        smaller = cv2.erode(region, np.ones((k, k), np.uint8))
        if not smaller.any():
            break
        region = smaller
    return region.astype(bool)


def maps_of_levels(levels: list[list[list[int]]]) -> torch.Tensor:
    return (torch.tensor(levels, dtype=torch.float32) + 0.5) / 255.5


def test_a_hundred_random_maps() -> None:
    rng = np.random.default_rng(0)
    cams = [
        cv2.resize(rng.random((7, 7), dtype=np.float32) ** rng.uniform(0.3, 4), (24, 24)) for _ in range(100)
    ]
    cams = np.stack([(cam - cam.min()) / (cam.max() - cam.min()) for cam in cams])
    for k, times in ((11, 1), (3, 1), (3, 3), (5, 2), (1, 1), (11, 0)):
        found = strict_region(torch.from_numpy(cams), k, times)
        assert np.array_equal(found.masks.numpy(), [truth(cam, k, times) for cam in cams]), (k, times)
        assert np.array_equal(found.regions.numpy(), [truth(cam, 1, 0) for cam in cams])
    assert found.boxes.tolist() == [[0, 0, 23, 23]] * 100


def test_thresholds_at_the_ends() -> None:
    """0 counts as 1: of the levels 0, 1 nothing is above it, of 0, 9 the nines are. 254 stays 254."""
    levels = [[[0, 0, 1, 1]], [[0, 0, 9, 9]], [[254, 254, 255, 255]], [[0, 1, 2, 255]]]
    found = strict_region(maps_of_levels(levels), 1, 0)
    assert found.regions[:, 0].tolist() == [
        [False] * 4,
        [False, False, True, True],
        [False, False, True, True],
        [False, False, False, True],
    ]


def test_the_lowest_threshold_is_one() -> None:
    """Between the levels 0 and 2 the threshold is 1: level 2 is the region."""
    found = strict_region(maps_of_levels([[[0, 0, 2, 2]]]), 1, 0)
    assert found.regions[0, 0].tolist() == [False, False, True, True]


def test_maps_of_half_precision_have_the_levels_of_their_values() -> None:
    cams = torch.linspace(0, 1, 200).view(2, 10, 10).to(torch.bfloat16)
    assert torch.equal(strict_region(cams).masks, strict_region(cams.float()).masks)


def test_an_erosion_never_empties_a_region() -> None:
    cams = torch.zeros(3, 31, 31)
    cams[0, 4:9, 4:9] = 1.0  # 5 x 5: gone at once, so it stays
    cams[1, 4:17, 4:17] = 1.0  # 13 x 13: 3 x 3 is left, and stays in the second round
    cams[2, 2:30, 2:30] = 1.0  # 28 x 28: 18 x 18, then 8 x 8
    assert strict_region(cams, 11, 1).masks.sum(dim=(1, 2)).tolist() == [25, 9, 324]
    assert torch.equal(strict_region(cams).masks, strict_region(cams, 11, 1).masks)
    assert strict_region(cams, 11, 2).masks.sum(dim=(1, 2)).tolist() == [25, 9, 64]
    with pytest.raises(ValueError, match=r"\[B, H, W\]"):
        strict_region(cams[0])


def draw(cams: torch.Tensor, max_n: int = 5, min_n: int = 7, k: int = 1, times: int = 0) -> PseudoLabels:
    recipe = SeedRecipe(
        temperature=0.0,
        region=StrictRegion(k, times),
        use_roi=True,
        max_n=max_n,
        min_n=min_n,
        max_p=1.0,
        min_p=0.25,
        ksz=1,
        technique="seed_uniform",
        ignore_index=IGNORE,
    )
    return pseudo_labels(cams, torch.arange(len(cams)), recipe)


def test_a_map_of_one_level_gives_no_seeds() -> None:
    """Its values may differ, its levels do not."""
    slope = torch.linspace(0, 0.9 / 255, 64).view(1, 8, 8)
    levels = torch.cat((slope, slope + 100 / 255))
    assert bool((draw(levels).seeds == IGNORE).all())
    assert bool((without_one_level(levels) == 0).all())
    two = torch.cat((slope, slope * 3))
    assert torch.equal(without_one_level(two)[1], two[1])


def test_an_empty_region_still_gives_background() -> None:
    cam = torch.linspace(0, 1.9 / 255, 64).view(1, 8, 8)  # levels 0 and 1
    seeds = draw(cam).seeds[0].flatten()
    assert int((seeds == 1).sum()) == 0
    assert (seeds == 0).nonzero().flatten().tolist() == sorted((seeds[:16] == 0).nonzero().flatten().tolist())
    assert int((seeds == 0).sum()) == 7


def test_seeds_lie_in_the_eroded_region_and_in_the_lowest_pixels() -> None:
    torch.manual_seed(0)
    cams = torch.rand(1, 16, 16) * 0.2
    cams[0, 3:10, 3:10] += 0.7
    cams = cams.repeat(300, 1, 1)
    seeds = draw(cams, k=3, times=1).seeds
    counts = (seeds == 1).sum(dim=0)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:9, 4:9] = True
    assert bool((counts[~inside] == 0).all())
    assert bool(((seeds == 1).sum(dim=(1, 2)) == 5).all())
    # 300 x 5 draws over 25 pixels, each as likely: 60 on average, standard deviation 6.9 (high values count nothing).
    assert 30 < int(counts[inside].min()) <= int(counts[inside].max()) < 90
    lowest = cams[0].flatten().argsort()[:64]
    background = (seeds == 0).sum(dim=0).flatten()
    assert int(background.sum()) == int(background[lowest].sum()) == 300 * 7


def test_the_flags_make_the_recipe() -> None:
    cfg = Config.from_values(
        {"task": "F_CL", "sl_fc": True, "encoder_name": "resnet18", "sl_max": 1, "sl_min": 2, "sl_min_p": 0.3}
        | {"sl_ksz": 5, "sl_fg_erode_k": 7, "sl_fg_erode_iter": 2, "seg_ignore_idx": -9}
    )
    task = Fcam(cfg, ["a", "b"], torch.device("cpu"), initialize=False)
    expected = SeedRecipe(0.0, StrictRegion(7, 2), True, 1, 2, 1.0, 0.3, 5, "seed_uniform", -9)
    assert task.recipe(1) == task.recipe(50) == expected
    assert not task.makes_own_maps(50)
    assert type(task.model).__name__ == "UnetFCAM"
