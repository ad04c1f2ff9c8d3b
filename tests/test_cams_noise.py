"""The noise of CAM methods against SplitMix64 in whole numbers of Python, and its statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dlib.cams.noise import combine, content_keys, hash_normal, hash_uniform
from helpers.splitmix import MASK, PUBLISHED, SEED, output


def test_uniform_numbers_are_the_published_generators_in_the_middle_of_their_cells() -> None:
    assert [output(SEED, n) for n in range(1, 6)] == PUBLISHED
    found = hash_uniform(torch.tensor([SEED, -5]), 5)
    assert found[0].tolist() == [((value >> 12) + 0.5) / 2**52 for value in PUBLISHED]
    assert found[1].tolist() == [((output(-5, n) >> 12) + 0.5) / 2**52 for n in range(1, 6)]


def test_a_combined_key_is_the_numbers_output_after_the_keys_first_one() -> None:
    keys, numbers = [0, 7, -(2**63), 2**63 - 1], [0, 1, 35, -2]
    for number in numbers:
        expected = [output(output(key), number) for key in keys]
        assert [key & MASK for key in combine(torch.tensor(keys), number).tolist()] == expected
    pairs = combine(torch.tensor(keys).unsqueeze(1), torch.tensor(numbers))
    assert pairs[3, 2] == combine(torch.tensor(keys), 35)[3]


def test_the_key_of_a_picture_depends_on_its_values_alone() -> None:
    pictures = torch.tensor([[[1.5, -2.0]], [[-2.0, 1.5]]])
    bits = pictures.view(torch.int32).flatten(1).tolist()
    expected = [output(sum(output(b, n) for n, b in enumerate(row, start=1)), 0) for row in bits]
    assert [key & MASK for key in content_keys(pictures).tolist()] == expected
    assert expected[0] != expected[1]
    assert torch.equal(content_keys(pictures.double()), content_keys(pictures))


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_normal_numbers_are_box_muller_of_as_few_uniform_ones_as_it_needs(count: int) -> None:
    keys = torch.arange(5)
    first, second = np.split(hash_uniform(keys, 2 * math.ceil(count / 2)).numpy(), 2, axis=1)
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    np.testing.assert_allclose(hash_normal(keys, count).numpy(), both[:, :count], rtol=1e-6, atol=1e-7)


def test_noise_has_its_moments() -> None:
    u = hash_uniform(torch.arange(50), 2000).numpy()
    z = hash_normal(torch.arange(50), 2001).double().numpy()
    assert 0 < u.min() < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.005
    assert abs(u.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.02
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert z.shape == (50, 2001)
