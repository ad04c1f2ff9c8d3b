"""Pooling heads: formulas by hand in float64, and the maps that they make."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlib.models import STDClassifier, UnetCoLoCAM
from dlib.poolings import GAP, WGAP, HeadOptions, LogSumExpPool, MaxPool, WildCatCLHead
from dlib.poolings.heads import log_sum_exp_pool, wildcat_pool


@pytest.fixture
def features():
    return torch.randn(2, 6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def linear_maps(features, weight, bias):
    """Class maps of a 1×1 convolution, pixel by pixel."""
    maps = np.einsum("bkhw,ck->bchw", features.numpy(), weight.detach().numpy()[:, :, 0, 0])
    return maps + bias.detach().numpy()[None, :, None, None]


def test_wgap_is_the_mean_and_a_linear_layer(features):
    head = WGAP(6, 3).double()
    weight, bias = head.fc.weight.detach().numpy(), head.fc.bias.detach().numpy()
    expected = features.numpy().mean(axis=(2, 3)) @ weight.T + bias
    np.testing.assert_allclose(head(features).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("head_class", "pool"),
    [
        (GAP, lambda m: m.mean(axis=(2, 3))),
        (MaxPool, lambda m: m.max(axis=(2, 3))),
        (LogSumExpPool, lambda m: np.log(np.exp(10 * m).mean(axis=(2, 3))) / 10),
    ],
)
@pytest.mark.parametrize("background", [True, False])
def test_map_heads_pool_the_maps_of_the_classes(head_class, pool, background, features):
    head = head_class(6, 3, HeadOptions(support_background=background)).double()
    maps = linear_maps(features, head.conv.weight, head.conv.bias)[:, int(background) :]
    np.testing.assert_allclose(head.class_maps(features).detach().numpy(), maps, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(head(features).detach().numpy(), pool(maps), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("background", [True, False])
def test_wildcat_averages_modalities_then_pools_top_and_bottom(background, features):
    options = HeadOptions(
        support_background=background, wc_modalities=2, wc_kmax=0.5, wc_kmin=0.1, wc_alpha=0.6
    )
    head = WildCatCLHead(6, 3, options).double()
    all_maps = linear_maps(features, head.to_modalities.weight, head.to_modalities.bias)
    maps = np.stack(
        [(all_maps[:, 2 * c] + all_maps[:, 2 * c + 1]) / 2 for c in range(3 + background)], axis=1
    )
    maps = maps[:, int(background) :]
    np.testing.assert_allclose(head.class_maps(features).detach().numpy(), maps, rtol=1e-10, atol=1e-12)
    ordered = np.sort(maps.reshape(2, 3, 20), axis=2)
    expected = (ordered[:, :, 10:].mean(axis=2) + 0.6 * ordered[:, :, :2].mean(axis=2)) / 2
    np.testing.assert_allclose(head(features).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_wildcat_by_hand():
    maps = torch.tensor([[[[4.0, 1.0], [3.0, 2.0]]]], dtype=torch.float64)
    assert wildcat_pool(maps, 0.5, 0.25, 0.6).item() == pytest.approx((3.5 + 0.6 * 1.0) / 2)
    assert wildcat_pool(maps, 1.0, 1.0, 1.0).item() == pytest.approx(2.5)
    assert wildcat_pool(maps, 2, 3, 0.5).item() == pytest.approx((3.5 + 0.5 * 2.0) / 2)
    assert wildcat_pool(maps, 9, 0.0, 0.5).item() == pytest.approx(2.5 / 2)
    assert wildcat_pool(maps, 0.01, 0.01, 1.0).item() == pytest.approx((4.0 + 1.0) / 2)


def test_wildcat_drops_pixels_only_in_training(features):
    head = WildCatCLHead(6, 2, HeadOptions(wc_dropout=0.9)).double()
    head.eval()
    assert torch.equal(head(features), head(features))
    head.train()
    assert not torch.equal(head(features), head(features))


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12),
    r=st.floats(0.1, 50),
)
def test_log_sum_exp_lies_between_mean_and_maximum(values, r):
    maps = torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)
    pooled = log_sum_exp_pool(maps, r).item()
    slack = 1e-9 * (1 + max(abs(v) for v in values))
    assert np.mean(values) - slack <= pooled <= max(values) + slack
    assert pooled >= max(values) - math.log(len(values)) / r - slack


def test_log_sum_exp_never_overflows_and_has_a_gradient():
    maps = torch.full((1, 1, 2, 2), 1e4, requires_grad=True)
    pooled = log_sum_exp_pool(maps, 10.0)
    pooled.backward()
    assert pooled.item() == pytest.approx(1e4)
    assert torch.allclose(maps.grad, torch.full_like(maps, 0.25))


def test_half_precision_maps_are_pooled_in_float32():
    head = LogSumExpPool(2, 1, HeadOptions(support_background=False)).to(torch.bfloat16)
    assert head(torch.randn(1, 2, 3, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_wgap_has_no_class_maps():
    model = STDClassifier("resnet18", 2)
    with pytest.raises(TypeError, match="WGAP"):
        model.class_maps(torch.zeros(1, 512, 2, 2))


def test_background_map_changes_no_logit():
    model = STDClassifier("resnet18", 3, HeadOptions("GAP")).eval()
    features = torch.randn(1, 512, 2, 2)
    before = model.logits_from_features(features), model.class_maps(features)
    with torch.no_grad():
        model.classification_head.conv.weight[0] += 1  # the background is the first map
    assert torch.equal(model.logits_from_features(features), before[0])
    assert torch.equal(model.class_maps(features), before[1])
    assert before[1].shape == (1, 3, 2, 2)


def test_the_head_is_named_with_or_without_its_options() -> None:
    """The constructor's stable form, and all options in one object: the same network."""
    torch.manual_seed(0)
    plain = STDClassifier("resnet18", 3, "WildCatCLHead", None, False, wc_modalities=2, wc_kmax=0.3)
    torch.manual_seed(0)
    options = HeadOptions("WildCatCLHead", False, wc_modalities=2, wc_kmax=0.3)
    other = STDClassifier("resnet18", 3, options)
    assert plain.settings == other.settings
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(plain.eval()(images), other.eval()(images))
    named = UnetCoLoCAM(
        "resnet18", num_classes=3, pooling="GAP", encoder_weights=None, support_background=True
    )
    assert named.settings.head == HeadOptions("GAP", True)
    with pytest.raises(TypeError, match="wc_mode"):
        STDClassifier("resnet18", 3, wc_mode=2)
    with pytest.raises(ValueError, match="unknown pooling 'Mean'"):
        STDClassifier("resnet18", 3, pooling="Mean")
