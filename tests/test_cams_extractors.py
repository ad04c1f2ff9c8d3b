"""Extractors against torchcam, grad-cam and autograd through the whole network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam import GradCAM as OtherGradCAM
from pytorch_grad_cam import GradCAMPlusPlus, LayerCAM, ScoreCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional

from dlib.cams import CamExtractor, build_cam_extractor, normalize_cams
from dlib.cams.gradient import GradientCam
from dlib.cams.noise import combine, content_keys, hash_normal
from dlib.configure.constants import METHODS, WGAP
from dlib.models import STDClassifier, UnetCoLoCAM

CLASSES = 4
CLASS_IDX = torch.tensor([2, 0, 3])
BUILT_IN = [method for method in METHODS if METHODS[method].pooling != WGAP]


class _Net(nn.Module):
    """A small classifier; ``stride`` 1 or odd, so that resizing keeps the maps' extrema (see the ScoreCAM tests)."""

    def __init__(self, stride: int = 3, hidden: bool = False, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(stride)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.classification_head = nn.Module()
        self.classification_head.fc = nn.Linear(12, CLASSES)
        self.between = nn.Linear(12, 12) if hidden else None
        with torch.no_grad():
            self.classification_head.fc.weight *= scale
            self.body[3].bias[4] = -100.0  # a dead channel

    @property
    def cam_layer(self) -> nn.Module:
        return self.body[-1]

    def cam_features(self, images: Tensor) -> Tensor:
        return self.body(images)

    def logits_from_features(self, features: Tensor) -> Tensor:
        pooled = features.mean(dim=(2, 3))
        if self.between is not None:
            pooled = torch.tanh(self.between(pooled * 3))
        return self.classification_head.fc(pooled)

    def forward(self, images: Tensor) -> Tensor:
        return self.logits_from_features(self.cam_features(images))


def _images(count: int = 3, side: int = 15) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def _net(stride: int = 3, hidden: bool = False, scale: float = 1.0) -> _Net:
    return _Net(stride, hidden, scale).eval()


def _torchcam(
    net: nn.Module, name: str, images: Tensor, class_idx: Tensor = CLASS_IDX, **options: object
) -> Tensor:
    with getattr(torchcam, name)(net, net.cam_layer, **options) as extractor:
        return extractor(class_idx.tolist(), net(images))[0].detach()


def _grad_cam(net: nn.Module, method: Callable, images: Tensor, class_idx: Tensor = CLASS_IDX) -> Tensor:
    """The library's map at the CAM layer's resolution."""
    with method(model=net, target_layers=[net.cam_layer]) as extractor:
        extractor.get_target_width_height = lambda _: None
        targets = [ClassifierOutputTarget(c) for c in class_idx.tolist()]
        return torch.from_numpy(np.asarray(extractor(images, targets)))


def _assert_same(ours: Tensor, theirs: Tensor) -> None:
    # The libraries add an epsilon to the range; a second normalization takes it away.
    assert float((ours - normalize_cams(theirs)).abs().max()) < 1e-4
    assert float(ours.amax()) == 1.0


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("method", ["CAM", "GradCAM", "XGradCAM", "LayerCAM", "ScoreCAM", "ISCAM"])
def test_equal_to_torchcam(method: str, hidden: bool) -> None:
    net, images = _net(hidden=hidden), _images()
    if method == "CAM":
        theirs = _torchcam(net, "CAM", images, fc_layer=net.classification_head.fc)
    else:
        theirs = _torchcam(net, method, images)
    _assert_same(build_cam_extractor(net, method)(images, CLASS_IDX), theirs)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("GradCAM", OtherGradCAM),
        ("GradCAMpp", GradCAMPlusPlus),
        ("XGradCAM", XGradCAM),
        ("LayerCAM", LayerCAM),
        ("ScoreCAM", ScoreCAM),
    ],
)
def test_equal_to_grad_cam(method: str, theirs: Callable, hidden: bool) -> None:
    # Large weights: its epsilons (1e-6 beside g², 1e-7) must not matter. Stride 1: it resizes with aligned corners.
    net, images = _net(stride=1, hidden=hidden, scale=1.0 if method == "ScoreCAM" else 1e4), _images(side=9)
    _assert_same(build_cam_extractor(net, method)(images, CLASS_IDX), _grad_cam(net, theirs, images))


@pytest.mark.parametrize("method", ["CAM", "GradCAM", "GradCAMpp", "XGradCAM", "LayerCAM"])
def test_maps_before_normalization_are_the_formulas_in_float64(method: str) -> None:
    net, images = _net(hidden=True), _images()
    ours = build_cam_extractor(net, method)(images, CLASS_IDX, normalized=False)
    net = net.double()
    features = net.cam_features(images.double()).detach().requires_grad_()
    scores = net.logits_from_features(features)[torch.arange(3), CLASS_IDX]
    (dy,) = torch.autograd.grad(scores.exp().sum(), features)  # Y = exp(S)
    g = dy / scores.exp().view(-1, 1, 1, 1)
    total = features.sum(dim=(2, 3), keepdim=True)
    alpha = (g**2 / (2 * g**2 + g**3 * total)).nan_to_num()
    weights = {
        "CAM": net.classification_head.fc.weight[CLASS_IDX][..., None, None],
        "GradCAM": g.mean(dim=(2, 3), keepdim=True),
        "GradCAMpp": (alpha * g.relu()).sum(dim=(2, 3), keepdim=True),  # without the factor exp(S)
        "XGradCAM": ((g * features).sum(dim=(2, 3), keepdim=True) / total).nan_to_num(),
        "LayerCAM": g.relu(),
    }[method]
    expected = (weights * features).sum(dim=1).detach()
    expected = expected if method == "CAM" else expected.relu()
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_smooth_grad_cam_pp_without_noise_is_torchcams() -> None:
    net, images = _net(hidden=True, scale=1e4), _images()
    extractor = build_cam_extractor(net, "SmoothGradCAMpp")
    extractor._std = 1e-9
    theirs = _torchcam(net, "SmoothGradCAMpp", images, std=1e-9)
    _assert_same(extractor(images, CLASS_IDX), theirs)
    _assert_same(build_cam_extractor(net, "GradCAMpp")(images, CLASS_IDX), theirs)


def test_smooth_grad_cam_pp_averages_over_noisy_images() -> None:
    net, images = _net(hidden=True), _images()
    extractor = build_cam_extractor(net, "SmoothGradCAMpp")
    ours = extractor(images, CLASS_IDX)
    keys = combine(content_keys(images), 0)
    sums = [0.0, 0.0, 0.0]
    for i in range(4):
        noise = hash_normal(combine(keys, i), images[0].numel()).view(images.shape)
        features = net.cam_features(images + 0.3 * noise).detach().requires_grad_()
        score = net.logits_from_features(features)[torch.arange(3), CLASS_IDX].sum()
        (g,) = torch.autograd.grad(score, features)
        sums = [total + g.double() ** p / 4 for p, total in enumerate(sums, start=1)]
    clean = net.cam_features(images).detach().double()
    alpha = sums[1] / (2 * sums[1] + sums[2] * clean.sum(dim=(2, 3), keepdim=True))
    weights = (alpha.nan_to_num() * sums[0].relu()).sum(dim=(2, 3), keepdim=True)
    expected = (weights * clean).sum(dim=1).relu()
    _assert_same(ours, expected)
    raw = extractor(images, CLASS_IDX, normalized=False).double()
    torch.testing.assert_close(raw, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))
    plain = build_cam_extractor(net, "GradCAMpp")(images, CLASS_IDX)
    assert float((ours - plain).abs().max()) > 1e-3


def test_ss_cam_equals_torchcam_with_the_same_noise() -> None:
    net, images = _net(), _images()
    extractor = build_cam_extractor(net, "SSCAM")
    extractor._samples = 3
    keys = combine(content_keys(images), 0)  # [B]
    per_mask = combine(keys.unsqueeze(1), torch.arange(12))  # [B, K]
    draws = iter([2.0 * hash_normal(combine(per_mask, i), 225).view(3, 12, 15, 15) for i in range(3)])
    with torchcam.SSCAM(net, net.cam_layer, num_samples=3) as other:
        other._distrib.sample = lambda _: next(draws)
        net(images)
        theirs = other(CLASS_IDX.tolist())[0]
    _assert_same(extractor(images, CLASS_IDX), theirs)


def test_masks_have_the_shape_of_images_that_are_not_square() -> None:
    net = _net(stride=1)
    images = torch.randn(3, 3, 9, 15, generator=torch.Generator().manual_seed(5))
    _assert_same(build_cam_extractor(net, "ScoreCAM")(images, CLASS_IDX), _torchcam(net, "ScoreCAM", images))
    for method in ("SSCAM", "ISCAM"):
        assert build_cam_extractor(net, method)(images, CLASS_IDX).shape == (3, 9, 15)


def test_score_cam_is_algorithm_1_where_resizing_moves_the_extrema() -> None:
    net, images = _net(stride=2), _images(side=16)
    ours = build_cam_extractor(net, "ScoreCAM")(images, CLASS_IDX)
    features = net.cam_features(images).detach()
    masks = functional.interpolate(features, (16, 16), mode="bilinear", align_corners=False)
    low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
    masks = ((masks - low) / (high - low)).nan_to_num()
    expected = []
    for b, c in enumerate(CLASS_IDX):
        scores = torch.stack([net(images[b : b + 1] * m)[0, c] for m in masks[b]])
        expected.append((scores.softmax(0).view(-1, 1, 1) * features[b]).sum(0).relu())
    _assert_same(ours, torch.stack(expected).detach())
    # torchcam normalizes before it resizes: close, not equal.
    gap = float((ours - normalize_cams(_torchcam(net, "ScoreCAM", images))).abs().max())
    assert 1e-6 < gap < 0.02


@pytest.mark.parametrize("method", [m for m in METHODS if m not in BUILT_IN])
@pytest.mark.parametrize("hidden", [False, True])
def test_batch_equals_single_images_and_any_chunk(method: str, hidden: bool) -> None:
    net, images = _net(hidden=hidden), _images()
    batch = build_cam_extractor(net, method, chunk_size=7)
    together, logits = batch.cams_and_logits(images, CLASS_IDX)
    assert torch.allclose(logits, net(images).detach(), atol=1e-6)
    assert torch.equal(together, batch(images, CLASS_IDX))
    alone = build_cam_extractor(net, method, chunk_size=64)
    for b in (2, 0, 1):
        one = slice(b, b + 1)
        single, own = alone.cams_and_logits(images[one], CLASS_IDX[one])
        assert torch.allclose(single[0], together[b], atol=1e-5)
        assert torch.allclose(own[0], logits[b], atol=1e-6)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in BUILT_IN])
def test_known_features_give_the_same_without_another_pass(method: str) -> None:
    net, images = _net(), _images()
    expected = build_cam_extractor(net, method).cams_and_logits(images, CLASS_IDX)
    with torch.inference_mode():
        features = net.cam_features(images)
    encode, seen = net.cam_features, []
    net.cam_features = lambda given: seen.append(given) or encode(given)  # type: ignore[method-assign]
    found = build_cam_extractor(net, method).cams_and_logits(images, CLASS_IDX, features)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not any(torch.equal(given, images) for given in seen if given.shape == images.shape)


@pytest.mark.parametrize("method", ["CAM", "LayerCAM"])
def test_known_features_of_another_type_with_a_graph(method: str) -> None:
    net, images = _net(), _images()
    features = net.cam_features(images).bfloat16()
    assert features.requires_grad
    maps, logits = build_cam_extractor(net, method).cams_and_logits(images, CLASS_IDX, features)
    again, _ = build_cam_extractor(net, method).cams_and_logits(images, CLASS_IDX, features.detach().float())
    assert torch.equal(maps, again)
    assert not maps.requires_grad
    assert not logits.requires_grad


@pytest.mark.parametrize("method", [m for m in METHODS if m not in BUILT_IN])
def test_the_same_classifier_cut_at_its_layer(method: str) -> None:
    net, images = _net(hidden=method != "CAM"), _images()
    ours, theirs = build_cam_extractor(net, method), build_cam_extractor(net, method, layer=net.cam_layer)
    torch.testing.assert_close(theirs(images, CLASS_IDX), ours(images, CLASS_IDX), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["SmoothGradCAMpp", "SSCAM"])
def test_noise_repeats_and_follows_the_generator(method: str) -> None:
    net, images = _net(hidden=True), _images()

    def maps(seed: int) -> Tensor:
        return build_cam_extractor(net, method, torch.Generator().manual_seed(seed))(images, CLASS_IDX)

    assert torch.equal(maps(1), maps(1))
    assert not torch.equal(maps(1), maps(2))


class _MapNet(_Net):
    """The same with a head that makes class maps."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(12, CLASSES, 1)

    def class_maps(self, features: Tensor) -> Tensor:
        return self.maps(features)

    def logits_from_features(self, features: Tensor) -> Tensor:
        return self.maps(features).amax(dim=(2, 3))


def _net_for(method: str) -> _Net:
    return (_MapNet() if method in BUILT_IN else _Net(hidden=True)).eval()


@pytest.mark.parametrize("method", BUILT_IN)
def test_built_in_maps_are_the_heads(method: str) -> None:
    net, images = _net_for(method), _images()
    raw = build_cam_extractor(net, method)(images, CLASS_IDX, normalized=False)
    maps = net.class_maps(net.cam_features(images))
    for b, c in enumerate(CLASS_IDX):
        assert torch.allclose(raw[b], maps[b, c])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_models_and_grad_modes(method: str, mode: Callable) -> None:
    net, images = _net_for(method), _images()
    expected = build_cam_extractor(net, method)(images, CLASS_IDX)
    net.requires_grad_(False)
    with mode():
        assert torch.equal(build_cam_extractor(net, method)(images * 1, CLASS_IDX * 1), expected)
    assert not expected.requires_grad
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_the_encoder_gets_no_graph_and_modes_come_back(method: str) -> None:
    net, images = _net_for(method), _images()
    expected = build_cam_extractor(net, method)(images, CLASS_IDX)
    net.train()
    net.body[0].eval()
    statistics = net.body[1].running_mean.clone()
    seen = []
    handle = net.body[-1].register_forward_hook(lambda *call: seen.append(call[2].requires_grad))
    assert torch.allclose(build_cam_extractor(net, method)(images, CLASS_IDX), expected)
    handle.remove()
    assert seen
    assert not any(seen)
    assert torch.equal(net.body[1].running_mean, statistics)
    assert net.training
    assert net.body[1].training
    assert not net.body[0].training


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("hidden", "passes"), [(False, 1), (True, 1 + 4)])
def test_smooth_grad_cam_pp_spends_no_noisy_pass_on_a_linear_head(
    hidden: bool, passes: int, frozen: bool
) -> None:
    net, images = _net(hidden=hidden).requires_grad_(not frozen), _images()
    sizes: list[int] = []
    handle = net.body[0].register_forward_hook(lambda *call: sizes.append(len(call[2])))
    build_cam_extractor(net, "SmoothGradCAMpp")(images, CLASS_IDX)
    handle.remove()
    assert sizes == [3] * passes


def test_score_cam_spends_no_pass_on_constant_channels_and_keeps_the_chunk() -> None:
    net, images = _net(), _images()
    sizes: list[int] = []
    handle = net.body[0].register_forward_hook(lambda *call: sizes.append(len(call[2])))
    build_cam_extractor(net, "ScoreCAM", chunk_size=10)(images, CLASS_IDX)
    handle.remove()
    features = net.cam_features(images)
    living = int((features.amax((2, 3)) > features.amin((2, 3))).sum())
    assert living < 3 * 12
    assert sum(sizes) == 3 + 1 + living  # the batch, the black image, the masks
    assert max(sizes[1:]) == 10


def test_ss_cam_spends_no_pass_on_channels_that_are_zero() -> None:
    net, images = _net(), _images()
    sizes: list[int] = []
    handle = net.body[0].register_forward_hook(lambda *call: sizes.append(len(call[2])))
    extractor = build_cam_extractor(net, "SSCAM")
    extractor._samples = 1
    extractor(images, CLASS_IDX)
    handle.remove()
    living = int(net.cam_features(images).ne(0).any(dim=(2, 3)).sum())
    assert living < 3 * 12
    assert sum(sizes) == 3 + living


def test_zero_features_give_zero_maps() -> None:
    for method in METHODS:
        net = _net_for(method)
        net.body[3].weight.data.zero_()
        net.body[3].bias.data.fill_(-1.0)
        assert not build_cam_extractor(net, method)(_images(), CLASS_IDX).any(), method


def test_errors_name_what_is_wrong() -> None:
    net, images = _net(), _images()
    with pytest.raises(ValueError, match="EigenCAM"):
        build_cam_extractor(net, "EigenCAM")
    with pytest.raises(ValueError, match="class maps"):
        build_cam_extractor(net, "WILDCAT")
    with pytest.raises(ValueError, match="chunk_size"):
        build_cam_extractor(net, "ScoreCAM", chunk_size=0)
    assert build_cam_extractor(net, "ScoreCAM", chunk_size=1)(images, CLASS_IDX).any()
    with pytest.raises(ValueError, match="class 4"):
        build_cam_extractor(net, "LayerCAM")(images, torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match="class -1"):
        build_cam_extractor(net, "LayerCAM")(images, torch.tensor([0, -1, 3]))
    for base in (CamExtractor, GradientCam):
        with pytest.raises(TypeError, match=f"{base.__name__} is not a method by itself"):
            base(net)(images, CLASS_IDX)
    with pytest.raises(ValueError, match="class_idx"):
        build_cam_extractor(net, "LayerCAM")(images, torch.tensor([0, 1]))
    net.classification_head = nn.Identity()
    with pytest.raises(ValueError, match="linear layer"):
        build_cam_extractor(net, "CAM")


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "resnet50", "vgg16", "inceptionv3"])
def test_real_networks_equal_torchcam_and_grad_cam(encoder: str) -> None:
    torch.manual_seed(0)
    net, images = STDClassifier(encoder, CLASSES), _images(2, 32)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = (
                None  # one pass sets the statistics: activations of an untrained net are tiny without
            )
    with torch.no_grad():
        net.train()(images)
        net.eval()
        net.classification_head.fc.weight *= 1e4  # grad-cam's epsilons, as above
    classes = CLASS_IDX[:2]
    for method, theirs in (
        ("GradCAM", OtherGradCAM),
        ("GradCAMpp", GradCAMPlusPlus),
        ("XGradCAM", XGradCAM),
        ("LayerCAM", LayerCAM),
    ):
        ours = build_cam_extractor(net, method)(images, classes)
        _assert_same(ours, _grad_cam(net, theirs, images, classes))
        if method != "GradCAMpp":
            _assert_same(ours, _torchcam(net, method, images, classes))
    theirs_cam = _torchcam(net, "CAM", images, classes, fc_layer=net.classification_head.fc)
    _assert_same(build_cam_extractor(net, "CAM")(images, classes), theirs_cam)


def test_the_u_nets_classifier_gives_the_same_maps_without_its_decoder() -> None:
    torch.manual_seed(0)
    net = UnetCoLoCAM("resnet18", CLASSES).eval()
    single = STDClassifier("resnet18", CLASSES).eval()
    single.encoder.load_state_dict(net.encoder.state_dict())
    single.classification_head.load_state_dict(net.classification_head.state_dict())
    net.freeze_classifier()
    net.decoder.register_forward_hook(lambda *_: pytest.fail("the decoder ran"))
    images = _images(2, 32)
    for method in ("CAM", "LayerCAM", "GradCAM"):
        ours = build_cam_extractor(net, method)(images, CLASS_IDX[:2])
        assert torch.equal(ours, build_cam_extractor(single, method)(images, CLASS_IDX[:2]))
