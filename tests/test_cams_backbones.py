"""ScoreCAM, SSCAM, ISCAM and SmoothGradCAMpp on the real encoders, against the papers' formulas and other libraries."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam import ScoreCAM as OtherScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from dlib.cams import build_cam_extractor, normalize_cams
from dlib.cams.noise import combine, content_keys, hash_normal
from dlib.models import STDClassifier
from dlib.poolings import HeadOptions

ENCODERS = ("resnet50", "vgg16", "inceptionv3")
CLASSES = 4
CLASS_IDX = torch.tensor([2, 0])
SIDE = 32
CHANNELS = 4
SAMPLES = 2


def images() -> Tensor:
    return torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@lru_cache(maxsize=1)
def network(encoder: str, pooling: str = "WGAP") -> STDClassifier:
    """Random weights; one pass sets the batch norms' statistics: activations of an untrained net are tiny without."""
    torch.manual_seed(0)
    net = STDClassifier(encoder, CLASSES, HeadOptions(pooling))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images())
    return net.eval()


class Sliced(nn.Module):
    """A classifier of which only some channels of the CAM layer are left, for the cost of a pass per channel."""

    def __init__(self, net: STDClassifier, channels: Tensor) -> None:
        super().__init__()
        self.net = net
        self.channels = channels
        self.cam_layer = nn.Identity()
        self.classification_head = nn.Module()
        self.classification_head.fc = nn.Linear(len(channels), CLASSES)
        self.classification_head.fc.weight.data = net.classification_head.fc.weight[:, channels].detach()

    def cam_features(self, x: Tensor) -> Tensor:
        return self.cam_layer(self.net.cam_features(x)[:, self.channels])

    def logits_from_features(self, features: Tensor) -> Tensor:
        return self.classification_head.fc(features.mean(dim=(2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits_from_features(self.cam_features(x))


def masks_of(features: Tensor) -> Tensor:
    """Algorithm 1 of Score-CAM: activations resized to the image, then normalized: [K, h, w] -> [K, H, W]."""
    masks = functional.interpolate(features[None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
    low, high = masks.amin((1, 2), keepdim=True), masks.amax((1, 2), keepdim=True)
    return (masks - low) / (high - low)


@lru_cache(maxsize=1)
@torch.no_grad()
def sliced(encoder: str) -> Sliced:
    """With the channels that vary most, and a head whose scores of masked images differ enough for the softmax."""
    net, x = network(encoder), images()
    features = net.cam_features(x)
    ranges = (features.amax((2, 3)) - features.amin((2, 3))).amin(0)
    model = Sliced(net, ranges.topk(CHANNELS).indices).eval()
    scores = model(x[:1] * masks_of(model.cam_features(x[:1])[0])[:, None])[:, CLASS_IDX[0]]
    model.classification_head.fc.weight *= 0.4 / scores.std()
    return model


@lru_cache(maxsize=1)
def exact(encoder: str) -> Sliced:
    return copy.deepcopy(sliced(encoder)).double()


@torch.no_grad()
def by_formula(encoder: str, method: str) -> Tensor:
    """Map [1, h, w] of the first image, channel by channel in float64."""
    x, class_idx = images()[:1], CLASS_IDX[0]
    keys = combine(content_keys(x), 0)
    model, x = exact(encoder), x.double()
    features = model.cam_features(x)[0]
    scores = []
    for k, mask in enumerate(masks_of(features)):
        if method == "ScoreCAM":  # algorithm 1
            inputs = [x * mask]
        elif method == "ISCAM":  # the running sum of the integration steps
            inputs = [sum(j / SAMPLES for j in range(1, i + 1)) * x * mask for i in range(1, SAMPLES + 1)]
        else:  # SSCAM, smoothing of the activation map
            noise = [hash_normal(combine(combine(keys, k), i), SIDE * SIDE) for i in range(SAMPLES)]
            inputs = [x * (mask + 2.0 * n.view(SIDE, SIDE)) for n in noise]
        scores.append(torch.stack([model(i)[0, class_idx] for i in inputs]).mean())
    weights = torch.stack(scores).softmax(0)
    assert weights.max() > 1.5 * weights.min()  # a test of equal weights would test nothing
    return (weights.view(-1, 1, 1) * features).sum(0, keepdim=True).relu()


def masks_as_algorithm_1(extractor: torchcam.ScoreCAM) -> None:
    """torchcam normalizes before it resizes; with this it resizes first, and the rest of it is compared."""
    normalize = extractor._normalize

    def change(cams: Tensor, spatial_dims: int | None = None) -> Tensor:
        return normalize(extractor._upsample(cams) if cams.ndim == 4 else cams, spatial_dims)

    extractor._normalize = change


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - normalize_cams(theirs.float())).abs().max()) < 1e-4
    assert (ours.amax((-2, -1)) == 1).all()


# The three methods reach an encoder in the same way, so two of them need only one encoder.
@pytest.mark.parametrize(
    ("encoder", "method"),
    [*((encoder, "ScoreCAM") for encoder in ENCODERS), ("vgg16", "ISCAM"), ("vgg16", "SSCAM")],
)
def test_perturbation_methods(encoder: str, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 2 if method == "ScoreCAM" else 1  # images; the others cost a pass more for every sample
    model, x, class_idx = sliced(encoder), images()[:count], CLASS_IDX[:count]
    extractor = build_cam_extractor(model, method)
    extractor._samples = SAMPLES
    ours = extractor(x, class_idx)
    assert_same(ours[:1], by_formula(encoder, method))

    options = {} if method == "ScoreCAM" else {"num_samples": SAMPLES}
    with getattr(torchcam, method)(model, model.cam_layer, **options) as other, torch.no_grad():
        masks_as_algorithm_1(other)
        if method == "SSCAM":
            other._distrib.sample = partial(next, same_noise(x))
        model(x)
        assert_same(ours, other(class_idx.tolist())[0])
    if method == "ScoreCAM":
        assert_same(ours, other_score_cam(model, x, monkeypatch))


def same_noise(x: Tensor) -> Iterator[Callable]:
    """What torchcam asks for, a sample at a time: [B, K, H, W]."""
    keys = combine(combine(content_keys(x), 0).unsqueeze(1), torch.arange(CHANNELS))  # [B, K]
    for i in range(SAMPLES):
        yield 2.0 * hash_normal(combine(keys, i), SIDE * SIDE).view(len(x), CHANNELS, SIDE, SIDE)


def other_score_cam(model: Sliced, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """grad-cam's map without its aligned corners, at the CAM layer's resolution."""
    resize = partial(nn.Upsample, mode="bilinear", align_corners=False)
    monkeypatch.setattr(torch.nn, "UpsamplingBilinear2d", resize)
    with OtherScoreCAM(model=model, target_layers=[model.cam_layer]) as other:
        other.get_target_width_height = lambda _: None
        return torch.from_numpy(np.asarray(other(x, [ClassifierOutputTarget(int(c)) for c in CLASS_IDX])))


def test_smooth_grad_cam_pp_of_a_linear_head() -> None:
    """All channels. torchcam's map is one of the last noisy image's activations: next to no noise for it."""
    net, x = copy.deepcopy(network("vgg16")), images()
    net.classification_head.fc.weight.data *= 1e4  # beside which its epsilon of 1e-8 does not matter
    ours = build_cam_extractor(net, "SmoothGradCAMpp")(x, CLASS_IDX)
    with torchcam.SmoothGradCAMpp(net, net.cam_layer, std=1e-9) as other:
        net(x)
        assert_same(ours, other(CLASS_IDX.tolist())[0].detach())
    # The noise averages gradients that do not depend on the image: with noise the formula gives the same.
    with torch.no_grad():
        features = net.cam_features(x).double()
    g = net.classification_head.fc.weight.detach().double()[CLASS_IDX] / features[0, 0].numel()
    alpha = 1 / (2 + g * features.sum((2, 3)))  # [B, K]
    assert_same(ours, torch.einsum("bk,bkhw->bhw", alpha * g.relu(), features).relu())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_smooth_grad_cam_pp_averages_over_noisy_images(encoder: str) -> None:
    """All channels, and a head whose gradient depends on the image."""
    net, x = network(encoder, "LogSumExpPool"), images()
    ours = build_cam_extractor(net, "SmoothGradCAMpp")(x, CLASS_IDX)
    keys = combine(content_keys(x), 0)
    double = copy.deepcopy(net).double()
    sums = [0.0, 0.0, 0.0]
    for i in range(4):
        noise = hash_normal(combine(keys, i), x[0].numel()).view(x.shape)
        with torch.no_grad():
            leaf = double.cam_features((x + 0.3 * noise).double())
        score = double.logits_from_features(leaf.requires_grad_())[torch.arange(2), CLASS_IDX].sum()
        (g,) = torch.autograd.grad(score, leaf)
        sums = [total + g**p / 4 for p, total in enumerate(sums, start=1)]
    with torch.no_grad():
        clean = double.cam_features(x.double())
    alpha = sums[1] / (2 * sums[1] + sums[2] * clean.sum((2, 3), keepdim=True))
    weights = (alpha.nan_to_num() * sums[0].relu()).sum((2, 3), keepdim=True)
    assert_same(ours, (weights * clean).sum(1).relu())
