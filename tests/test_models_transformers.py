"""The encoders vit_b_16 and swin_t against torchvision's networks: maps, keys, sizes, gradients, a run with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as tv
from torchvision.models.vision_transformer import interpolate_embeddings

from dlib import export
from dlib.cams import build_cam_extractor
from dlib.encoders import build_encoder, swin, vit
from dlib.models import STDClassifier, UnetCoLoCAM, learning_rate_groups, load_imagenet_weights
from dlib.utils.errors import UserError
from helpers.programs import start
from helpers.workplace import Workplace, colocam_flags

NAMES = ("vit_b_16", "swin_t")
FILES = {"vit_b_16": "vit_b_16-c867db91.pth", "swin_t": "swin_t-704ceda3.pth"}


def small_vit(side: int = 224, **options: Any) -> nn.Module:
    """As torchvision's ViT-B/16, with fewer and narrower layers."""
    net = tv.VisionTransformer(side, 16, 12, 2, 16, 24, **{"num_classes": 5} | options)
    nn.init.normal_(net.encoder.pos_embedding)  # torchvision's is too small to be seen
    nn.init.normal_(net.class_token)
    nn.init.normal_(net.heads.head.weight)
    return net


def small_swin(**options: Any) -> nn.Module:
    """As torchvision's Swin-T, with fewer and narrower layers."""
    net = tv.SwinTransformer([4, 4], 8, [1, 2, 1, 1], [1, 2, 2, 4], [7, 7], **{"num_classes": 5} | options)
    return net


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two encoders with small networks inside."""
    monkeypatch.setattr(vit, "vit_b_16", lambda weights: small_vit())
    monkeypatch.setattr(swin, "swin_t", lambda weights: small_swin())


def images(side: int, height: int | None = None) -> Tensor:
    return torch.randn(2, 3, height or side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 48, 224, 256])
def test_vit_has_torchvisions_tokens_and_logits(side: int, small: None) -> None:
    encoder, net = build_encoder("vit_b_16").eval(), small_vit(side).eval()
    state = {**net.state_dict(), **encoder.state_dict()}
    net.load_state_dict(interpolate_embeddings(side, 16, state) if side != 224 else state)
    seen = []
    net.encoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = net(images(side))
    x, maps = encoder(images(side))
    assert x.shape[1:] == (3, side, side)
    assert maps.shape == (2, 16, side // 16, side // 16)
    torch.testing.assert_close(maps.flatten(2).mT, seen[0][:, 1:])
    tokens = encoder.encoder.ln(encoder.encoder.layers(seen_input(encoder, images(side))))
    torch.testing.assert_close(net.heads(tokens[:, 0]), logits)


def seen_input(encoder: nn.Module, x: Tensor) -> Tensor:
    """The tokens that the first layer gets."""
    kept: list[Tensor] = []
    handle = encoder.encoder.layers.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    encoder(x)
    handle.remove()
    return kept[0]


@torch.no_grad()
def test_vit_of_frames_that_are_not_square(small: None) -> None:
    encoder = build_encoder("vit_b_16").eval()
    maps = encoder(images(48, 32))[1]
    assert maps.shape == (2, 16, 2, 3)
    # Without attention between patches every patch depends on itself and its place alone.
    grid = encoder._positions(2, 3)[:, 1:].mT.unflatten(2, (2, 3))
    known = encoder.encoder.pos_embedding[:, 1:].mT.unflatten(2, (14, 14))
    torch.testing.assert_close(grid[..., 0, 0], known[..., 0, 0])  # corners are aligned
    torch.testing.assert_close(grid[..., 1, 2], known[..., 13, 13])


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 64, 224])
def test_swin_has_torchvisions_stages_and_logits(side: int, small: None) -> None:
    encoder, net = build_encoder("swin_t").eval(), small_swin().eval()
    net.load_state_dict({**net.state_dict(), **encoder.state_dict()})
    stages: list[Tensor] = []
    for index in (1, 3, 5):
        net.features[index].register_forward_hook(lambda module, inputs, output: stages.append(output))
    net.permute.register_forward_hook(lambda module, inputs, output: stages.append(inputs[0]))
    logits = net(images(side))
    maps = encoder(images(side))
    assert [m.shape[2] for m in maps] == [side, side // 4, side // 8, side // 16, side // 32]
    for ours, theirs in zip(maps[1:], stages, strict=True):
        torch.testing.assert_close(ours, theirs.permute(0, 3, 1, 2))
    torch.testing.assert_close(net.head(maps[-1].mean((2, 3))), logits)


@pytest.mark.parametrize("name", NAMES)
def test_keys_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours = UnetCoLoCAM(name, 5).state_dict()
        theirs = getattr(tv, name)().state_dict()
    encoder = {k.removeprefix("encoder."): v.shape for k, v in ours.items() if k.startswith("encoder.")}
    assert encoder == {k: v.shape for k, v in theirs.items() if not k.startswith("head")}
    decoder = {k.split(".")[2]: None for k in ours if k.startswith("decoder.blocks")}
    assert len(decoder) == {"vit_b_16": 4, "swin_t": 5}[name]


@pytest.mark.parametrize("name", NAMES)
def test_decoder_reaches_the_size_of_the_frame(name: str) -> None:
    """ViT: four blocks without skips; Swin: three with skips, which are torchvision's stages, and two without."""
    with torch.device("meta"):
        model = UnetCoLoCAM(name, 5)
        output = model(torch.empty(2, 3, 224, 224))
    assert output.maps.shape == (2, 2, 224, 224)
    assert output.features.shape[2:] == (224, 224)
    inputs = [block.conv1[0].in_channels for block in model.decoder.blocks]
    skips = (0, 0, 0, 0) if name == "vit_b_16" else (384, 192, 96, 0, 0)
    assert inputs == [width + skip for width, skip in zip((768, 256, 128, 64, 32), skips, strict=False)]


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_imagenet_weights(name: str, earlier: bool, small: None, tmp_path: Path) -> None:
    """torchvision's file of ViT has the names that its MLP had before version 0.14."""
    net = small_vit() if name == "vit_b_16" else small_swin()
    state = net.state_dict()
    if earlier:
        state = {
            key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")
            if name == "vit_b_16"
            else key: value
            for key, value in state.items()
        }
    torch.save(state, tmp_path / FILES[name])
    encoder = build_encoder(name)
    load_imagenet_weights(encoder, name, tmp_path)
    loaded = encoder.state_dict()
    assert all(torch.equal(loaded[key], net.state_dict()[key]) for key in loaded)
    assert encoder.imagenet_url == f"https://download.pytorch.org/models/{FILES[name]}"
    del state["encoder.ln.bias" if name == "vit_b_16" else "norm.bias"]
    torch.save(state, tmp_path / FILES[name])
    with pytest.raises(UserError, match=f"not torchvision's weights of {name}"):
        load_imagenet_weights(encoder, name, tmp_path)


def test_a_newer_torchvision_reads_the_earlier_names_too() -> None:
    """So the earlier names are those of published files."""
    net = small_vit()
    state = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in net.state_dict().items()
    }
    small_vit().load_state_dict(state)


@pytest.mark.parametrize("network", [STDClassifier, UnetCoLoCAM])
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(name: str, network: Callable[..., nn.Module], small: None) -> None:
    model = network(name, 4).train()
    side = 64  # of a 2 × 2 map of Swin
    output = model(images(side))
    loss = (
        output.square().sum()
        if isinstance(output, Tensor)
        else sum(part.square().sum() for part in output[:2])
    )
    loss.backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_last_layers_learn_faster(name: str) -> None:
    with torch.device("meta"):
        model = STDClassifier(name, 4)
    names = {id(p): key for key, p in model.named_parameters()}
    base, fast = ([names[id(p)] for p in group] for group in learning_rate_groups(model))
    last = {
        "vit_b_16": (
            "encoder.encoder.layers.encoder_layer_11.",
            "encoder.encoder.ln.",
            "classification_head.",
        ),
        "swin_t": ("encoder.features.6.", "encoder.features.7.", "encoder.norm.", "classification_head."),
    }[name]
    assert all(key.startswith(last) for key in fast)
    assert not any(key.startswith(last) for key in base)
    assert {prefix for prefix in last if any(key.startswith(prefix) for key in fast)} == set(last)


@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_do_not_fit_are_named(name: str, small: None) -> None:
    multiple = {"vit_b_16": 16, "swin_t": 32}[name]
    with pytest.raises(ValueError, match=f"40×64 pixels: .*needs multiples of {multiple}"):
        build_encoder(name)(images(64, 40))


@pytest.mark.parametrize("method", ["CAM", "LayerCAM", "GradCAMpp"])
@pytest.mark.parametrize("name", NAMES)
def test_cams_are_those_of_the_linear_head(name: str, method: str, small: None) -> None:
    """The head is linear in A, so its weights alone give the maps."""
    torch.manual_seed(0)
    model = STDClassifier(name, 4).eval()
    nn.init.normal_(model.classification_head.fc.weight)
    x, classes = images(128), torch.tensor([3, 1])
    with torch.no_grad():
        maps = model.cam_features(x)
    w = model.classification_head.fc.weight.detach()[classes][:, :, None, None]  # [B, K, 1, 1]
    g = w / maps[0, 0].numel()
    if method == "CAM":
        expected = (w * maps).sum(1)
    elif method == "LayerCAM":
        expected = (g.relu() * maps).sum(1).relu()
    else:
        alpha = 1 / (2 + g * maps.sum((2, 3), keepdim=True))
        expected = (
            ((alpha * g.relu()).sum((2, 3), keepdim=True) * len(maps[0, 0].flatten()) * maps).sum(1).relu()
        )
    low, high = expected.amin((1, 2), True), expected.amax((1, 2), True)
    ours = build_cam_extractor(model, method)(x, classes)
    torch.testing.assert_close(ours, (expected - low) / (high - low), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_run_from_classifier_to_decoder(name: str, small: None, tmp_path: Path, tiny_data: Path) -> None:
    place = Workplace(tmp_path, tiny_data / "datasets", tiny_data / "folds")
    options: dict[str, Any] = {"encoder_name": name, "max_epochs": 1}
    options |= {"crop_size": 48 if name == "vit_b_16" else 64, "resize_size": 72}
    flags = partial(place.flags, **options)
    code, _, error = start(flags())
    assert code == 0, error
    (experiment,) = (tmp_path / "exps").rglob("results.json")
    (tmp_path / "pretrained").mkdir()
    for folder in experiment.parent.glob(f"tiny-{name}-*"):
        (tmp_path / "pretrained" / folder.name).symlink_to(folder)
    changes = colocam_flags(crf_clc=False, rgb_jcrf_clc=False)
    code, _, error = start(flags("CoLo-CAM", **changes))
    assert code == 0, error
    assert len(list((tmp_path / "data_cams").rglob("*.pt"))) == 48
    # The export compares the file's outputs, for another batch size than that of the trace, with the model's.
    format_ = "onnx" if name == "vit_b_16" else "torchscript"
    words = ["--fd_exp", str(experiment.parent), "--format", format_, "--out", str(tmp_path / format_)]
    assert export.main(words) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder_name": "vit_b_16", "crop_size": 40},
            "--crop_size 40: --encoder_name vit_b_16 needs a multiple of 16",
        ),
        (
            {"encoder_name": "swin_t", "crop_size": 32, "scale_in": 1.5},
            "--crop_size 32 × --scale_in 1.5 is 48: --encoder_name swin_t needs a multiple of 32",
        ),
    ],
)
def test_a_crop_that_does_not_fit_is_one_line(
    options: dict[str, Any], message: str, small: None, workplace: Workplace
) -> None:
    code, _, error = start(workplace.flags(**options))
    assert code == 2
    assert error.strip().splitlines()[-1] == f"error: {message}"
