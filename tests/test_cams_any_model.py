"""CAMs of any classifier by the name of a layer, against torchcam and grad-cam on torchvision's networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
import torchcam.methods as torchcam
from pytorch_grad_cam import GradCAM as OtherGradCAM
from pytorch_grad_cam import GradCAMPlusPlus, LayerCAM, XGradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchvision import models as tv

from dlib.cams import build_cam_extractor, normalize_cams, swin_maps, vit_maps
from dlib.cams.layer import LayerModel
from dlib.configure.constants import METHODS, WGAP
from dlib.models import STDClassifier

CLASSES = 5
CLASS_IDX = torch.tensor([2, 0])
NETWORKS = {"resnet18": "layer4", "mobilenet_v3_small": "features", "shufflenet_v2_x0_5": "conv5"}
OTHERS = {
    "GradCam": OtherGradCAM,
    "GradCAMpp": GradCAMPlusPlus,
    "XGradCAM": XGradCAM,
    "LayerCAM": LayerCAM,
}


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def prepared(net: nn.Module) -> nn.Module:
    """One pass sets the batch norms' statistics: activations of an untrained net are tiny without."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(images())
    return net.eval()


@lru_cache(maxsize=4)
def network(name: str) -> nn.Module:
    """Random weights."""
    torch.manual_seed(0)
    net = getattr(tv, name)(num_classes=CLASSES)
    for module in net.modules():
        if isinstance(module, nn.Linear) and module.out_features == CLASSES:
            module.weight.data *= 1e4  # beside which grad-cam's epsilons do not matter
    return prepared(net)


def vit() -> nn.Module:
    torch.manual_seed(0)
    net = tv.VisionTransformer(64, 16, 3, 2, 24, 32, num_classes=CLASSES).eval()
    nn.init.normal_(net.heads.head.weight)
    return net


def swin() -> nn.Module:
    torch.manual_seed(0)
    return tv.SwinTransformer([4, 4], 16, [1, 2], [2, 4], [4, 4], num_classes=CLASSES).eval()


def of_torchcam(net: nn.Module, name: str, layer: str, x: Tensor, **options: Any) -> Tensor:
    with getattr(torchcam, name)(net, layer, **options) as extractor:
        return extractor(CLASS_IDX.tolist(), net(x))[0].detach()


def of_grad_cam(net: nn.Module, method: Callable, layer: nn.Module, x: Tensor, **options: Any) -> Tensor:
    with method(model=net, target_layers=[layer], **options) as extractor:
        extractor.get_target_width_height = lambda _: None
        targets = [ClassifierOutputTarget(c) for c in CLASS_IDX.tolist()]
        return torch.from_numpy(np.asarray(extractor(x, targets)))


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - normalize_cams(theirs)).abs().max()) < 1e-4
    assert (ours.amax((1, 2)) == 1).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_torchcam_and_grad_cam(name: str) -> None:
    net, x, layer = network(name), images(), NETWORKS[name]
    for method, theirs in OTHERS.items():
        ours = build_cam_extractor(net, method, layer=layer)(x, CLASS_IDX)
        assert_same(ours, of_grad_cam(net, theirs, net.get_submodule(layer), x))
        if method != "GradCAMpp":
            assert_same(ours, of_torchcam(net, {"GradCam": "GradCAM"}.get(method, method), layer, x))
    if name != "mobilenet_v3_small":  # it has two linear layers after the mean
        ours = build_cam_extractor(net, "CAM", layer=layer)(x, CLASS_IDX)
        assert_same(ours, of_torchcam(net, "CAM", layer, x, fc_layer="fc"))


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].pooling == WGAP])
def test_equal_to_our_own_classifier_cut_by_hand(method: str) -> None:
    torch.manual_seed(0)
    net = STDClassifier("mobilenet_v2", CLASSES).eval()
    net.encoder.features[18] = nn.Sequential(net.encoder.features[18], nn.Conv2d(1280, 6, 1), nn.ReLU())
    net.classification_head.fc = nn.Linear(6, CLASSES)
    prepared(net)
    x = images(1, 32)
    ours = build_cam_extractor(net, method)
    theirs = build_cam_extractor(net, method, layer="encoder.features.18")
    for extractor in (ours, theirs):
        if hasattr(extractor, "_samples"):
            extractor._samples = 2
    expected = ours(x, CLASS_IDX[:1])
    torch.testing.assert_close(theirs(x, CLASS_IDX[:1]), expected, rtol=1e-3, atol=1e-4)
    assert expected.amax() == 1
    net.freeze_encoder()  # which then runs without a graph
    torch.testing.assert_close(theirs(x, CLASS_IDX[:1]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("make", [vit, swin])
def test_transformers_equal_grad_cam(make: Callable[[], nn.Module]) -> None:
    net, x = make(), images()
    if make is vit:
        # Behind the first layer norm of the last block the tokens of the patches still reach the class token.
        layer, ours, theirs = (
            "encoder.layers.encoder_layer_2.ln_1",
            vit_maps,
            lambda t: t[:, 1:].mT.reshape(2, 24, 4, 4),
        )
    else:
        layer, ours, theirs = "features.3", swin_maps, lambda t: t.permute(0, 3, 1, 2)
    linear = net.heads.head if make is vit else net.head
    with torch.no_grad():
        linear.weight.normal_(0, 1e4, generator=torch.Generator().manual_seed(0))
    for method, other in OTHERS.items():
        if method == "GradCAMpp":  # its ε stands beside sums of gradients of both signs
            continue
        found = build_cam_extractor(net, method, layer=layer, reshape=ours)(x, CLASS_IDX)
        expected = of_grad_cam(net, other, net.get_submodule(layer), x, reshape_transform=theirs)
        assert_same(found, expected)


def test_score_cam_of_a_transformer_is_its_algorithm() -> None:
    net, x = vit(), images(1)
    layer = "encoder.layers.encoder_layer_2.ln_1"
    found = build_cam_extractor(net, "ScoreCAM", layer=layer, reshape=vit_maps, chunk_size=5)(
        x, CLASS_IDX[:1]
    )
    kept = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *seen: kept.append(seen[2]))
    with torch.no_grad():
        net(x)
        handle.remove()
        maps = kept[0][:, 1:].mT.reshape(24, 4, 4)
        masks = nn.functional.interpolate(maps[None], (64, 64), mode="bilinear")[0]
        masks = (masks - masks.amin((1, 2), True)) / (masks.amax((1, 2), True) - masks.amin((1, 2), True))
        weights = torch.cat([net(x * mask) for mask in masks])[:, CLASS_IDX[0]].softmax(0)
    assert_same(found, (weights[:, None, None] * maps).sum(0, keepdim=True).relu())


@pytest.mark.parametrize("method", ["LayerCAM", "GradCam"])
def test_work_in_place_behind_the_layer_changes_nothing(method: str) -> None:
    """densenet121 puts a ReLU in place on the output of ``features``."""
    net, x = network("densenet121"), images()
    found, logits = build_cam_extractor(net, method, layer="features").cams_and_logits(x, CLASS_IDX)
    maps = net.features(x).detach().requires_grad_()
    expected = net.classifier(maps.relu().mean((2, 3)))
    (g,) = torch.autograd.grad(expected.gather(1, CLASS_IDX[:, None]).sum(), maps)
    weights = g.relu() if method == "LayerCAM" else g.mean((2, 3), keepdim=True)
    assert_same(found, (weights * maps).sum(1).relu().detach())
    torch.testing.assert_close(logits, expected.detach())


@pytest.mark.parametrize("method", ["LayerCAM", "SmoothGradCAMpp", "ScoreCAM", "CAM"])
def test_a_batch_gives_what_single_images_give(method: str) -> None:
    net, x = network("shufflenet_v2_x0_5"), images(3, 32)
    classes = torch.tensor([2, 0, 4])
    options = {"layer": "stage4", "chunk_size": 64} if method != "CAM" else {"layer": net.conv5}
    extractor = build_cam_extractor(net, method, **options)
    alone = torch.cat([extractor(x[i : i + 1], classes[i : i + 1], normalized=False) for i in range(3)])
    together = extractor(x, classes, normalized=False)
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


class Noted(nn.Module):
    """Logits in an object, as in the transformers library."""

    def __init__(self, kind: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.body, self.head, self.kind = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES), kind

    def forward(self, x: Tensor) -> Any:
        return self.kind(self.head(self.body(x).mean((2, 3))))


def test_logits_in_an_object_or_a_dict() -> None:
    torch.manual_seed(0)
    x = images(2, 8)
    net = Noted(lambda logits: logits)
    expected = build_cam_extractor(net, "LayerCAM", layer="body")(x, CLASS_IDX)
    for kind in (partial(dict), type("Output", (), {})):

        def made(logits: Tensor, kind: Any = kind) -> Any:
            found = kind()
            found.__setitem__("logits", logits) if isinstance(found, dict) else setattr(
                found, "logits", logits
            )
            return found

        net.kind = made
        assert torch.equal(build_cam_extractor(net, "LayerCAM", layer="body")(x, CLASS_IDX), expected)


@pytest.mark.parametrize("half", ["module", "autocast"])
@pytest.mark.parametrize("method", ["CAM", "LayerCAM", "GradCAMpp", "SmoothGradCAMpp", "ScoreCAM"])
def test_maps_and_logits_are_float32_whatever_the_module_computes_in(method: str, half: str) -> None:
    torch.manual_seed(0)
    net, x = Noted(lambda logits: logits), images(2, 8)
    expected = build_cam_extractor(net, method, layer="body")(x, CLASS_IDX)
    if half == "module":
        net, x = net.bfloat16(), x.bfloat16()
    extractor = build_cam_extractor(net, method, layer="body")
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half == "autocast"):
        maps, logits = extractor.cams_and_logits(x, CLASS_IDX)
        raw = extractor(x, CLASS_IDX, normalized=False)
    assert maps.dtype == logits.dtype == raw.dtype == torch.float32
    torch.testing.assert_close(maps, expected, atol=0.2, rtol=0)


def test_layers_before_the_layer_have_no_graph_even_if_the_images_have_one() -> None:
    net, seen = nn.Sequential(nn.Identity(), Noted(lambda logits: logits)), []
    net[0].register_forward_hook(lambda module, given, output: seen.append(output.requires_grad))
    x = images(2, 8).requires_grad_()
    build_cam_extractor(net, "LayerCAM", layer="1.body")(x, CLASS_IDX)
    assert seen == [False]
    assert x.grad is None


def test_a_layer_that_gives_the_images_themselves_in_inference_mode() -> None:
    net = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(12, CLASSES))
    with torch.inference_mode():
        x = images(2, 2)
        maps, logits = build_cam_extractor(net, "GradCam", layer="0").cams_and_logits(x, CLASS_IDX)
        torch.testing.assert_close(logits, net(x))
    assert maps.shape == (2, 2, 2)


def test_features_of_a_pass_are_detached_and_can_be_differentiated_twice() -> None:
    model = LayerModel(Noted(lambda logits: logits), "body")
    features = model.cam_features(images(2, 8))
    assert not features.requires_grad
    features.requires_grad_()
    found = [torch.autograd.grad(model.logits_from_features(features).sum(), features)[0] for _ in range(2)]
    assert torch.equal(*found)
    assert found[0].any()


class Gated(Noted):
    """Has a linear layer before the last one; the logits are those of the last one plus ``shift``, the largest 100."""

    def __init__(self, shift: list[float]) -> None:
        super().__init__(lambda logits: logits + torch.tensor(shift))
        self.gate = nn.Linear(3, 4)
        self.head = self._modules.pop("head")
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[0] = 1.0
            self.head.bias.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0]))


@pytest.mark.parametrize(
    ("shift", "fits"), [(0.0, True), (0.5, True), (-0.5, True), (1.5, False), (-1.5, False)]
)
def test_cam_uses_the_last_linear_layer_if_the_logits_are_its(shift: float, fits: bool) -> None:
    """A hundredth of the largest logit is allowed for rounding."""
    torch.manual_seed(0)
    net, x = Gated([0.0, 0.0, 0.0, shift, 0.0]), images(2, 8)
    extractor = build_cam_extractor(net, "CAM", layer="body")
    if fits:
        raw = extractor(x, torch.tensor([0, 0]), normalized=False)
        torch.testing.assert_close(raw, net.body(x).sum(1).detach())
    else:
        with pytest.raises(ValueError, match="not a linear layer of the mean"):
            extractor(x, CLASS_IDX)


def state_of(net: nn.Module) -> list[Any]:
    return [
        [(m.training, dict(m._forward_hooks), dict(m._backward_hooks)) for m in net.modules()],
        [(p.requires_grad, p.grad) for p in net.parameters()],
        {name: value.clone() for name, value in net.state_dict().items()},
    ]


@pytest.mark.parametrize("method", ["LayerCAM", "ScoreCAM", "SmoothGradCAMpp"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(method: str, fails: bool) -> None:
    net = network("shufflenet_v2_x0_5").train()
    net.stage2.eval()
    net.conv1.requires_grad_(False)
    before = state_of(net)
    extractor = build_cam_extractor(net, method, layer="stage4", chunk_size=64)
    with torch.inference_mode(method == "ScoreCAM"):
        if fails:
            with pytest.raises(ValueError, match="class 9"):
                extractor(images(1), torch.tensor([9]))
        else:
            assert extractor(images(1), CLASS_IDX[:1]).amax() == 1
    after = state_of(net)
    assert before[:2] == after[:2]
    assert all(torch.equal(before[2][name], after[2][name]) for name in before[2])
    assert not extractor.model._taken
    assert extractor.model._logits is None
    net.conv1.requires_grad_(True)
    net.eval()


def test_no_gradient_reaches_the_layers_before_the_layer() -> None:
    net = network("resnet18")
    reached = []
    handles = [
        module.register_full_backward_hook(lambda module, *_: reached.append(module))
        for module in (net.conv1, net.layer1, net.layer3)
    ]
    build_cam_extractor(net, "LayerCAM", layer="layer4")(images(), CLASS_IDX)
    for handle in handles:
        handle.remove()
    assert reached == []


def test_maps_from_tokens() -> None:
    tokens = torch.arange(2 * 7 * 3).view(2, 7, 3)
    maps = vit_maps(tokens, size=(2, 3))
    assert maps.shape == (2, 3, 2, 3)
    assert torch.equal(maps[1, :, 1, 2], tokens[1, 6])
    assert torch.equal(vit_maps(tokens, prefix=3)[0, :, 0, 1], tokens[0, 4])
    assert torch.equal(vit_maps(tokens[:, :2]), tokens[:, 1, :, None, None])
    with pytest.raises(ValueError, match=r"tokens \[2, 1, 3\]"):
        vit_maps(tokens[:, :1])
    for options in ({}, {"size": (3, 3)}, {"prefix": 9}):
        with pytest.raises(ValueError, match=r"tokens \[2, 7, 3\]"):
            vit_maps(tokens, **options)


def build(model: nn.Module, method: str = "LayerCAM", **options: Any) -> Tensor:
    return build_cam_extractor(model, method, **options)(images(2, 32), CLASS_IDX)


class Twice(Noted):
    def forward(self, x: Tensor) -> Any:
        self.body(x)
        return super().forward(x)


class Apart(Noted):
    def forward(self, x: Tensor) -> Any:
        self.body(x)
        return self.head(x.mean((2, 3)).repeat(1, 2)[:, :4])


def test_wrong_uses_are_named() -> None:
    net = network("resnet18")
    plain = Noted(lambda logits: logits)
    for message, call in {
        "ResNet: give layer=": partial(build, net),
        "no layer 'layer5'; the most similar: layer": partial(build, net, layer="layer5"),
        "Linear is no part of ResNet": partial(build, net, layer=nn.Linear(1, 1)),
        r"'avgpool' gives \[2, 512\]|do not depend|\[B, K": partial(build, net, layer="fc"),
        "WILDCAT|class maps|GAP": partial(build, net, "WILDCAT", layer="layer4"),
        "runs 2 times": partial(build, Twice(lambda logits: logits), layer="body"),
        "do not depend on layer 'body'": partial(build, Apart(lambda logits: logits), layer="body"),
        "Noted gives .* instead of logits": partial(build, Noted(lambda y: y[:1]), layer="body"),
        "layer '0' gives a tuple instead of a tensor": partial(
            build, nn.Sequential(nn.MaxPool2d(2, return_indices=True)), layer="0"
        ),
        "no layer 'body'; the most similar: none": partial(build, nn.Identity(), layer="body"),
        "gives a list instead of logits": partial(build, Noted(lambda logits: [logits]), layer="body"),
        r"gives \[2, 5, 1\] instead of logits": partial(build, Noted(lambda y: y[..., None]), layer="body"),
        "not a linear layer of the mean of layer 'layer3'": partial(build, net, "CAM", layer="layer3"),
        "needs a linear layer": partial(build, nn.Sequential(plain.body, nn.Flatten()), "CAM", layer="0"),
        "not the features of the last pass": lambda: build_cam_extractor(
            net, "LayerCAM", layer="layer4"
        ).cams_and_logits(images(), CLASS_IDX, torch.ones(2, 512, 2, 2)),
        "runs 0 times": partial(build, nn.Sequential(plain, nn.Identity(), nn.Identity()), layer="0.kept"),
    }.items():
        if "runs 0" in message:
            plain.kept = nn.Identity()
        with pytest.raises(ValueError, match=message):
            call()
