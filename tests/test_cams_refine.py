"""CAMs with the frame's edges: against an independent lattice, exact averages, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dlib.cams import edge_maps, normalize_cams, refine_cams
from helpers.crf_truth import exact_filter, features_of, lattice_filter

SIDE = 20


@pytest.fixture
def frames() -> torch.Tensor:
    """Two frames: a bright disc on a dark slope, and noise around two colours."""
    generator = torch.Generator().manual_seed(3)
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    disc = ((x - 12) ** 2 + (y - 9) ** 2 < 30).float()
    first = 40 + 3 * x + 150 * disc
    second = 60 + 120 * (x > 9) + 8 * torch.randn(SIDE, SIDE, generator=generator)
    return torch.stack([first, second]).unsqueeze(1).repeat(1, 3, 1, 1).clamp(0, 255)


@pytest.fixture
def cams() -> torch.Tensor:
    return torch.rand(2, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


def average(filtered: np.ndarray) -> np.ndarray:
    """[H·W, 2] of filtered map and filtered ones -> min-max normalized average [H, W]."""
    mean = (filtered[:, 0] / filtered[:, 1]).reshape(SIDE, SIDE)
    return (mean - mean.min()) / (mean.max() - mean.min())


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_equals_the_average_on_an_independent_lattice(frames, cams, backend) -> None:
    found = refine_cams(cams, frames, 30.0, 4.0, backend=backend)
    for frame, cam, mine in zip(frames.numpy(), cams.numpy(), found.numpy(), strict=True):
        values = np.stack([cam.ravel(), np.ones(SIDE * SIDE)], axis=1).astype(np.float64)
        wanted = average(lattice_filter(features_of(frame, 30.0, 4.0), values))
        np.testing.assert_allclose(mine, wanted, atol=2e-3)
        exact = average(exact_filter(features_of(frame, 30.0, 4.0), values))
        assert np.corrcoef(mine.ravel(), exact.ravel())[0, 1] > 0.95


def test_a_map_spreads_over_its_colour_and_stops_at_the_edge(frames) -> None:
    cam = torch.zeros(1, SIDE, SIDE)
    cam[0, 7:11, 13:16] = 1.0  # a part of the disc
    found = refine_cams(cam, frames[:1], 20.0, 6.0)[0]
    assert found[9, 9] > 5 * found[9, 19]  # the disc's other side, 5 pixels from the part
    assert found[9, 19] < 0.05  # as far from the part, but beyond the edge


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_constant_map_stays_one(frames, value) -> None:
    found = refine_cams(torch.full((2, SIDE, SIDE), value), frames, 30.0, 5.0)
    # Nothing is left but rounding, which must not be blown up to a map.
    assert torch.equal(found, torch.zeros(2, SIDE, SIDE))


def test_a_batch_gives_what_single_frames_give_whatever_their_scale(frames, cams) -> None:
    together = refine_cams(cams, frames, 30.0, 5.0)
    assert torch.equal(together[1], refine_cams(cams[1:], frames[1:], 30.0, 5.0)[0])
    assert torch.allclose(together, refine_cams(0.2 + 0.5 * cams, frames, 30.0, 5.0), atol=1e-4)
    assert torch.equal(together.amax(dim=(1, 2)), torch.ones(2))
    assert torch.equal(together, normalize_cams(together))


def test_wrong_shapes_are_refused(frames, cams) -> None:
    with pytest.raises(ValueError, match="differ in number or size"):
        refine_cams(cams[:1], frames, 30.0, 5.0)
    with pytest.raises(ValueError, match="sigma_xy"):
        refine_cams(cams, frames, 30.0, 0.0)


def test_edges_for_flags(frames, cams) -> None:
    assert edge_maps(cams, frames, 30.0, 0) is cams
    clean, broken = cams.clone(), cams.clone()
    clean[0, 3, 4], broken[0, 3, 4] = 0, torch.nan
    for sigma_xy in (1.0, 4.0):
        got = edge_maps(broken, frames, 30.0, sigma_xy)
        torch.testing.assert_close(got, refine_cams(clean, frames, 30.0, sigma_xy))
        assert (got - cams).abs().max() > 0.1


def test_a_constant_map_beside_another_one(frames, cams) -> None:
    both = torch.stack([torch.full((SIDE, SIDE), 0.3), cams[1]])
    found = refine_cams(both, frames, 30.0, 4.0)
    assert not found[0].any()
    torch.testing.assert_close(found[1:], refine_cams(cams[1:], frames[1:], 30.0, 4.0))
