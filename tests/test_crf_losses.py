"""The CRF losses against the float64 lattice, finite differences and each other."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dlib.crf import (
    ColorDenseCRFLoss,
    DenseCRFLoss,
    bilateral_filter,
    color_bilateral_filter,
    joint_color_crf,
)
from dlib.crf.losses import scaled, warn_of_range
from helpers.crf_truth import batch, truth

Name = Literal["cpp", "torch"]
BACKENDS: tuple[Name, ...] = ("cpp", "torch")


def energy(images: Tensor, p: Tensor, sigma_xy: float | None) -> float:
    """-1/N sum p . F(p) in float64."""
    parts = [
        (i.double() * torch.from_numpy(truth(j.numpy(), i.numpy(), 15, sigma_xy))).sum()
        for j, i in zip(images, p, strict=True)
    ]
    return -float(sum(parts)) / len(images)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values(backend: Name) -> None:
    images, p = batch(3, 18, 22)
    dense, colour = energy(images, p, 100), energy(images, p, None)
    assert DenseCRFLoss(2e-9, 15, 100, 1, backend)(images, p).item() == pytest.approx(2e-9 * dense, rel=1e-5)
    assert ColorDenseCRFLoss(9, 15, 1, "constant", backend)(images, p).item() == pytest.approx(
        9 * colour, rel=1e-5
    )
    assert ColorDenseCRFLoss(9, 15, 1, "adaptive", backend)(images, p).item() == pytest.approx(-9, rel=1e-5)


def test_scale_factor_scales_image_map_and_sigma() -> None:
    images, p = batch(2, 24, 32)
    small = functional.interpolate(images, scale_factor=0.5, mode="nearest")
    small_p = functional.interpolate(p, scale_factor=0.5, mode="bilinear", align_corners=False)
    assert DenseCRFLoss(1, 15, 100, 0.5)(images, p).item() == pytest.approx(
        energy(small, small_p, 50), rel=1e-5
    )
    assert ColorDenseCRFLoss(1, 15, 0.5)(images, p).item() == pytest.approx(
        energy(small, small_p, None), rel=1e-5
    )


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_bytes_and_half_precision_are_scaled_in_float32(scale: float) -> None:
    images, p = batch(1, 12, 10)
    given, half = images.to(torch.uint8), p.bfloat16()
    for loss in (DenseCRFLoss(1, 15, 100, scale), ColorDenseCRFLoss(1, 15, scale)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert loss(given, half).item() == loss(given.float(), half.float()).item()
    size = (round(12 * scale), round(10 * scale))
    assert [x.shape[2:] for x in scaled(given, half, scale)] == [size, size]


@pytest.mark.parametrize("size", [1e-3, 1e3])
def test_adaptive_weight_divides_the_gradient_too(size: float) -> None:
    """One image; the loss is below and above 1."""
    images, p = batch(1, 12, 10)
    p = (p * size).requires_grad_()
    plain = ColorDenseCRFLoss(9, 15)(images, p)
    assert plain.item() == pytest.approx(9 * energy(images, p.detach(), None), rel=1e-4)
    (gradient,) = torch.autograd.grad(plain, p)
    (found,) = torch.autograd.grad(ColorDenseCRFLoss(9, 15, 1, "adaptive")(images, p), p)
    torch.testing.assert_close(found, gradient * 9 / plain.abs().detach(), rtol=1e-4, atol=0)
    assert found.any()


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    for make in (partial(DenseCRFLoss, 1, 15, 100), partial(ColorDenseCRFLoss, 1, 15)):
        with pytest.raises(ValueError, match="scale_factor must be finite and > 0"):
            make(scale)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["dense", "dense half", "colour", "joint"])
def test_gradient_by_finite_differences(kind: str, backend: Name) -> None:
    images, p = batch(3, 18, 22)

    def loss(q: Tensor) -> Tensor:
        if kind == "joint":
            groups = [torch.tensor([2, 0]), torch.tensor([1])]
            return joint_color_crf(images, q, groups, 15, backend) @ torch.tensor([1.0, -0.5])
        if kind == "colour":
            return ColorDenseCRFLoss(1, 15, 1, backend=backend)(images, q)
        return DenseCRFLoss(1, 15, 100, 0.5 if kind == "dense half" else 1, backend)(images, q)

    leaf = p.clone().requires_grad_()
    loss(leaf).backward()
    assert leaf.grad is not None
    generator = torch.Generator().manual_seed(3)
    for direction in (torch.rand(p.shape, generator=generator), p, p.flip(1)):
        # the loss is quadratic: the central difference is exact for any step
        slope = (loss(p + 0.5 * direction) - loss(p - 0.5 * direction)).item()
        assert (leaf.grad * direction).sum().item() == pytest.approx(slope, rel=5e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_joint_groups_are_wide_images(backend: Name) -> None:
    images, p = batch(5, 18, 22)
    groups = [torch.tensor([3, 1, 4]), torch.tensor([0])]  # frame 2 is in none
    leaf = p.clone().requires_grad_()
    losses = joint_color_crf(images, leaf, groups, 15, backend)
    for group, loss in zip(groups, losses, strict=True):
        wide, wide_p = (torch.cat(list(x[group]), dim=2)[None] for x in (images, p))
        filtered = color_bilateral_filter(wide, wide_p, 15)
        assert loss.item() == pytest.approx(-(wide_p * filtered).sum().item(), rel=1e-5)
    losses.sum().backward()
    assert leaf.grad is not None
    assert not leaf.grad[2].any()
    wide_grad = -2 * color_bilateral_filter(
        *(torch.cat(list(x[groups[0]]), dim=2)[None] for x in (images, p)), 15
    )
    torch.testing.assert_close(
        torch.cat(list(leaf.grad[groups[0]]), dim=2)[None], wide_grad, rtol=1e-4, atol=1e-5
    )


def test_no_groups_no_loss() -> None:
    images, p = batch(2, 18, 22)
    p.requires_grad_()
    losses = joint_color_crf(images, p, [], 15)
    assert losses.shape == (0,)
    losses.sum().backward()
    assert p.grad is not None
    assert not p.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_maps_give_zero_and_finite_gradients(backend: Name) -> None:
    images, p = batch(1, 18, 22)
    zero = torch.zeros_like(p).requires_grad_()
    loss = ColorDenseCRFLoss(9, 15, 1, "adaptive", backend)(images, zero)
    loss.backward()
    assert loss.item() == 0
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()


@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["maps", "images"])
def test_what_is_not_finite_gives_a_nan_and_no_error(where: str, value: float, backend: Name) -> None:
    images, p = batch(2, 18, 22)
    (p if where == "maps" else images)[1, 0, 3, 3] = value
    p.requires_grad_()
    for loss in (
        DenseCRFLoss(1, 15, 100, 1, backend)(images, p),
        ColorDenseCRFLoss(1, 15, 1, "adaptive", backend)(images, p),
        joint_color_crf(images, p, [torch.tensor([0, 1])], 15, backend).sum(),
    ):
        assert math.isnan(loss.item())
        loss.backward()
    if where == "images":
        with pytest.raises(ValueError, match=r"NaN|finite"):
            color_bilateral_filter(images, p, 15, backend=backend)
        with pytest.raises(ValueError, match=r"NaN|finite"):
            bilateral_filter(images, p, 15, 100, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_mistakes_are_errors_also_in_the_losses(backend: Name) -> None:
    images, p = batch(2, 18, 22)
    with pytest.raises(ValueError, match="sigma"):
        ColorDenseCRFLoss(1, 1e-6, backend=backend)(images, p)
    with pytest.raises(ValueError, match="differ"):
        ColorDenseCRFLoss(1, 15, backend=backend)(images, p[:1])


def test_half_precision_maps_are_filtered_in_float32() -> None:
    images, p = batch(1, 18, 22)
    half = p.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = DenseCRFLoss(1, 15, 100, 1)(images, half)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(energy(images, half.detach().float(), 100), rel=1e-5)
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_pixels_outside_of_the_rois_count_for_nothing() -> None:
    """Against the same loss of probabilities that are 0 there, value and gradient."""
    generator = torch.Generator().manual_seed(0)
    images = 255 * torch.rand(2, 3, 9, 8, generator=generator)
    p = torch.rand(2, 2, 9, 8, generator=generator).softmax(1)
    rois = (torch.rand(2, 9, 8, generator=generator) < 0.6).float()
    loss = DenseCRFLoss(0.7, 15, 100)
    with_rois, alone = p.clone().requires_grad_(), (p * rois[:, None]).requires_grad_()
    value = loss(images, with_rois, rois)
    assert value.item() == loss(images, alone).item() == loss(images, p, ROIs=rois[:, None]).item()
    assert value.item() != loss(images, p).item()
    value.backward()
    loss(images, alone).backward()
    torch.testing.assert_close(with_rois.grad, alone.grad * rois[:, None])


def test_repr_names_the_arguments() -> None:
    text = repr(DenseCRFLoss(2e-9, 15, 100, 0.5))
    assert text == "DenseCRFLoss(weight=2e-09, sigma_rgb=15, sigma_xy=100, scale_factor=0.5)"


@pytest.mark.parametrize(
    ("image_scale", "logits", "warning"),
    [
        (1.0, False, "images look like 0..1"),
        (255.0, True, "look like logits"),
        (255.0, False, None),
        (0.0, False, None),
    ],
)
def test_a_warning_once_where_the_range_looks_wrong(
    image_scale: float, logits: bool, warning: str | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = image_scale * torch.rand(1, 3, 6, 6, generator=generator)
    p = torch.randn(1, 2, 6, 6, generator=generator)
    loss = DenseCRFLoss(1, 15, 100)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(2):
            loss(images, p if logits else p.softmax(1))
    assert [warning in str(w.message) for w in said if warning] == [True] * (warning is not None)
    assert (not said) == (warning is None)


@pytest.mark.parametrize(
    ("image", "low", "high", "warning"),
    [
        (255.0, 0.0, 1.0, None),
        (255.0, -0.0005, 1.0005, None),  # rounding
        (255.0, -0.002, 1.0, "from -0.002 to 1 look like logits"),
        (255.0, 0.0, 1.002, "from 0 to 1 look like logits"),
        (1.5, 0.0, 1.0, None),
        (1.0, 0.0, 1.0, "images look like 0..1"),
    ],
)
def test_where_the_warnings_begin(image: float, low: float, high: float, warning: str | None) -> None:
    images, p = torch.tensor([0.0, image]).view(1, 1, 1, 2), torch.tensor([low, high]).view(1, 1, 1, 2)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_of_range(images.requires_grad_(), p.requires_grad_())
    assert len(said) == (warning is not None)
    assert warning is None or warning in str(said[0].message)


def test_an_empty_batch_costs_nothing_and_the_scale_is_one() -> None:
    dense, colour = DenseCRFLoss(1.0, 15.0, 100.0), ColorDenseCRFLoss(1.0, 15.0)
    for loss in (dense, colour):
        assert loss(torch.zeros(0, 3, 4, 5), torch.zeros(0, 2, 4, 5)).item() == 0
    images, p = batch(2, 12, 14)
    assert torch.equal(dense(images, p), DenseCRFLoss(1.0, 15.0, 100.0, 1.0)(images, p))
    assert torch.equal(colour(images, p), ColorDenseCRFLoss(1.0, 15.0, 1.0)(images, p))
