"""Encoders: sizes of their maps, and activations against torchvision's own networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models as tv

from dlib.encoders import build_encoder
from dlib.models import STDClassifier, UnetCoLoCAM, load_imagenet_weights
from helpers.paths import ROOT

MAPS_AT_224 = {
    "resnet50": ["3@224", "64@112", "256@56", "512@28", "1024@28", "2048@28"],
    "resnet18": ["3@224", "64@112", "64@56", "128@28", "256@28", "512@28"],
    "vgg16": ["64@224", "128@112", "256@56", "1024@28"],
    "inceptionv3": ["3@224", "64@112", "80@57", "288@29", "768@29", "1024@29"],
    "mobilenet_v2": ["3@224", "16@112", "24@56", "32@28", "96@28", "1280@28"],
    "vit_b_16": ["3@224", "768@14"],
    "swin_t": ["3@224", "96@56", "192@28", "384@14", "768@7"],
}


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def real_weights():
    folder = ROOT.parent / "shared" / "weights"
    if not (folder / "mobilenet_v2-b0353104.pth").is_file():
        pytest.skip("the ImageNet weights of mobilenet_v2 are not beside the repository")
    return folder


@pytest.mark.parametrize("name", MAPS_AT_224)
def test_feature_maps_at_224(name):
    with torch.device("meta"):
        encoder = build_encoder(name)
        features = encoder(torch.empty(2, 3, 224, 224))
    assert [f"{f.shape[1]}@{f.shape[2]}" for f in features] == MAPS_AT_224[name]
    assert all(f.shape[2] == f.shape[3] for f in features)
    assert encoder.out_channels == tuple(f.shape[1] for f in features)


@pytest.mark.parametrize("name", MAPS_AT_224)
def test_cam_layer_gives_the_last_map(name, images):
    model = STDClassifier(name, 3).eval()
    seen = []
    handle = model.cam_layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        last = model.cam_features(images)
    handle.remove()
    assert len(seen) == 1
    assert torch.equal(seen[0], last)
    assert (last.min() >= 0) == (
        name not in ("vit_b_16", "swin_t")
    )  # theirs is a layer norm, else a ReLU or ReLU6
    assert last.max() > 0


@pytest.mark.parametrize(("name", "reference"), [("resnet18", tv.resnet18), ("resnet50", tv.resnet50)])
def test_resnet_equals_torchvision_up_to_layer2_and_with_stride_1_after(name, reference, images):
    encoder, net = build_encoder(name).eval(), reference().eval()
    net.load_state_dict(encoder.state_dict(), strict=False)
    with torch.no_grad():
        features = encoder(images)
        x = net.relu(net.bn1(net.conv1(images)))
        assert torch.equal(features[1], x)
        x = net.layer2(net.layer1(net.maxpool(x)))
        assert torch.equal(features[3], x)
        for layer in (net.layer3, net.layer4):  # torchvision's own block, told to keep its side
            conv = "conv2" if name == "resnet50" else "conv1"
            getattr(layer[0], conv).stride = layer[0].downsample[0].stride = (1, 1)
        assert torch.allclose(features[5], net.layer4(net.layer3(x)))


def test_vgg16_equals_torchvision_up_to_the_fourth_pool(images):
    encoder, net = build_encoder("vgg16").eval(), tv.vgg.make_layers(tv.vgg.cfgs["D"])
    moved = {24: 23, 26: 25, 28: 27}
    for index, layer in enumerate(net):
        if isinstance(layer, nn.Conv2d):
            layer.load_state_dict(encoder.features[moved.get(index, index)].state_dict())
    with torch.no_grad():
        features = encoder(images)
        assert torch.equal(features[0], net[:4](images))
        assert torch.equal(features[1], net[:9](images))
        assert torch.equal(features[2], net[:16](images))
        x = net[24:30](net[:23](images))  # without its 4th and 5th pool
        assert torch.allclose(features[3], F.relu(encoder.conv6(x)), atol=1e-6)


def test_inceptionv3_equals_torchvision_with_the_changed_paddings(images):
    encoder = build_encoder("inceptionv3").eval()
    net = tv.Inception3(aux_logits=False, init_weights=False).eval()
    net.load_state_dict(encoder.state_dict(), strict=False)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.padding = (1, 1)
    grid = net.Mixed_6a
    grid.branch3x3.conv.stride = grid.branch3x3dbl_3.conv.stride = (1, 1)

    def pool(x):
        return F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)

    with torch.no_grad():
        features = encoder(images)
        x = net.Conv2d_2b_3x3(net.Conv2d_2a_3x3(net.Conv2d_1a_3x3(images)))
        assert torch.equal(features[1], x)
        x = net.Conv2d_3b_1x1(pool(x))
        assert torch.equal(features[2], x)
        x = net.Mixed_5c(net.Mixed_5b(pool(net.Conv2d_4a_3x3(x))))
        assert torch.equal(features[3], x)
        x = net.Mixed_5d(x)
        double = grid.branch3x3dbl_3(grid.branch3x3dbl_2(grid.branch3x3dbl_1(x)))
        x = torch.cat([grid.branch3x3(x), double, F.max_pool2d(x, 3, stride=1, padding=1)], dim=1)
        x = net.Mixed_6e(net.Mixed_6d(net.Mixed_6c(net.Mixed_6b(x))))
        assert torch.allclose(features[4], x, atol=1e-6)
        x = F.relu(encoder.SPG_A3_2b[1](F.relu(encoder.SPG_A3_1b[1](x))))
        assert torch.allclose(features[5], x, atol=1e-6)


def test_inceptionv3_drops_half_before_its_last_two_layers_in_training():
    encoder = build_encoder("inceptionv3").train()
    for layer in (encoder.SPG_A3_1b, encoder.SPG_A3_2b):
        assert isinstance(layer[0], nn.Dropout)
        assert layer[0].p == 0.5


def test_mobilenet_with_real_weights_equals_torchvision_up_to_the_changed_stride(images, real_weights):
    encoder, net = build_encoder("mobilenet_v2").eval(), tv.mobilenet_v2().eval()
    load_imagenet_weights(encoder, "mobilenet_v2", real_weights)
    state = torch.load(real_weights / "mobilenet_v2-b0353104.pth", weights_only=True)
    net.load_state_dict(state)
    with torch.no_grad():
        features = encoder(images)
        for index, block in ((1, 1), (2, 3), (3, 6)):
            assert torch.equal(features[index], net.features[: block + 1](images))
        # With stride 1, every second pixel of block 7's depthwise convolution is torchvision's.
        x = features[3]
        wide, strided = encoder.features[7].conv[:2](x), net.features[7].conv[:2](x)
    assert torch.allclose(wide[:, :, ::2, ::2], strided, atol=1e-5)
    assert features[5].shape[2:] == (8, 8)


@pytest.mark.parametrize("name", MAPS_AT_224)
def test_a_batch_gives_what_single_images_give(name, images):
    model = STDClassifier(name, 5).eval()
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    assert together.shape == (2, 5)
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4 * together.abs().max())
    assert (together[0] - together[1]).abs().max() > 1e-3 * together.abs().max()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_channels_last_gives_the_same(name, images):
    model = STDClassifier(name, 2).eval()
    with torch.no_grad():
        expected = model(images)
        model = model.to(memory_format=torch.channels_last)
        features = model.cam_features(images.to(memory_format=torch.channels_last))
        assert features.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(model.logits_from_features(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.5])
def test_scale_in_resizes_the_images(images, scale):
    model = STDClassifier("resnet18", 2).eval()
    scaled = STDClassifier("resnet18", 2, scale_in=scale).eval()
    scaled.load_state_dict(model.state_dict())
    height, width = (int(side * scale) for side in images.shape[2:])
    # Corners aligned: output pixel i lies at i·(in − 1)/(out − 1).
    rows, columns = (torch.linspace(-1, 1, side).to(images) for side in (height, width))
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], dim=-1).expand(
        len(images), -1, -1, -1
    )
    resized = torch.nn.functional.grid_sample(images, grid, align_corners=True)
    with torch.no_grad():
        torch.testing.assert_close(scaled(images), model(resized), rtol=1e-3, atol=1e-4)
        assert scaled.cam_features(images).shape == model.cam_features(resized).shape


def test_a_unet_sees_images_as_they_are():
    with pytest.raises(ValueError, match="scale_in is"):
        UnetCoLoCAM("resnet18", 2, scale_in=0.5)
