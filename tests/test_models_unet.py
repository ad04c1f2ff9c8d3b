"""CoLo-CAM's U-Net: decoder against a plain one, sizes, freezing, initialization, export."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dlib.models import STDClassifier, UnetCoLoCAM
from dlib.models.unet import DecoderBlock
from dlib.poolings import HeadOptions

ENCODERS = ["resnet18", "resnet50", "mobilenet_v2", "vgg16", "inceptionv3"]


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def frozen_bits(model: UnetCoLoCAM) -> bytes:
    """Every bit of encoder and head."""
    parts = (model.encoder, model.classification_head)
    return b"".join(t.cpu().numpy().tobytes() for part in parts for t in part.state_dict().values())


def vary_batch_norms(model):
    """Batch norms far from the identity, so that their place and statistics matter."""
    generator = torch.Generator().manual_seed(2)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def conv_bn_relu(x, state, prefix):
    x = F.conv2d(x, state[f"{prefix}.0.weight"], padding=1)
    names = ("running_mean", "running_var", "weight", "bias")
    return F.relu(F.batch_norm(x, *(state[f"{prefix}.1.{name}"] for name in names)))


def plain_maps(model, images):
    """The decoder as the method says it, from the state dict alone and without short cuts."""
    state = model.state_dict()
    *skips, x = model.features(images)[1:]
    if "decoder.center.0.0.weight" in state:
        x = conv_bn_relu(conv_bn_relu(x, state, "decoder.center.0"), state, "decoder.center.1")
    for block, skip in enumerate([*reversed(skips), None]):
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        if skip is not None:
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=True)
            x = torch.cat([x, skip], dim=1)
        x = conv_bn_relu(x, state, f"decoder.blocks.{block}.conv1")
        x = conv_bn_relu(x, state, f"decoder.blocks.{block}.conv2")
    x = F.conv2d(x, state["segmentation_head.0.weight"], state["segmentation_head.0.bias"], padding=1)
    return F.interpolate(x, images.shape[-2:], mode="bilinear", align_corners=True)


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenet_v2", "vgg16", "inceptionv3"])
@pytest.mark.parametrize("size", [(64, 64), (50, 37)])
def test_decoder_equals_the_plain_one(encoder, size, images):
    model = vary_batch_norms(UnetCoLoCAM(encoder, 3)).eval()
    x = images[:1, :, : size[0], : size[1]]
    with torch.no_grad():
        output, expected = model(x), plain_maps(model, x)
    assert output.maps.shape == (1, 2, *size)
    assert torch.allclose(output.maps, expected, atol=1e-4 * expected.abs().max())
    assert output.maps.std() > 0


@pytest.mark.parametrize("side", [1, 2, 5, 28])
def test_no_upsampling_to_an_equal_side_is_exact(side):
    x = torch.randn(1, 3, side, side + 1, dtype=torch.float64)
    twice = F.interpolate(x, scale_factor=2, mode="nearest")
    back = F.interpolate(twice, x.shape[-2:], mode="bilinear", align_corners=True)
    assert torch.allclose(back, x, rtol=0, atol=1e-12)
    block = DecoderBlock(3, 2, 4).double().eval()
    skip = torch.randn(1, 2, side, side + 1, dtype=torch.float64)
    expected = block.conv2(block.conv1(torch.cat([back, skip], dim=1)))
    assert torch.allclose(block(x, skip), expected, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("size", [(64, 64), (33, 47)])
def test_output_has_the_size_of_any_input(encoder, size):
    with torch.device("meta"):
        output = UnetCoLoCAM(encoder, 7)(torch.empty(2, 3, *size))
    assert output.logits.shape == (2, 7)
    assert output.maps.shape == (2, 2, *size)


def test_a_batch_gives_what_single_images_give(images):
    # In float64, since convolutions of other batch sizes add up in another order.
    model = vary_batch_norms(UnetCoLoCAM("resnet18", 3)).eval().double()
    with torch.no_grad():
        together = model(images.double())
        alone = [model(image[None]) for image in images.double()]
    for index, single in enumerate(alone):
        assert torch.allclose(together.logits[index], single.logits[0], rtol=1e-9, atol=1e-12)
        assert torch.allclose(together.maps[index], single.maps[0], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(together.maps[0], together.maps[1], rtol=1e-4, atol=1e-5)


def test_classifier_part_equals_the_classifier(images):
    classifier, unet = (
        kind("resnet18", 3, HeadOptions("GAP")).eval() for kind in (STDClassifier, UnetCoLoCAM)
    )
    unet.load_state_dict(classifier.state_dict(), strict=False)
    with torch.no_grad():
        features = unet.cam_features(images)
        assert torch.equal(features, classifier.cam_features(images))
        assert torch.equal(unet(images).logits, classifier(images))
        assert torch.equal(unet.class_maps(features), classifier.class_maps(features))
    part = [*unet.encoder.parameters(), *unet.classification_head.parameters()]
    assert sum(p.numel() for p in part) == sum(p.numel() for p in classifier.parameters())


def test_deep_features_are_the_decoders_last_map(images):
    model = UnetCoLoCAM("resnet18", 3).eval()
    output = model(images)
    assert output.features.shape == (2, 16, 64, 64)
    assert not output.features.requires_grad
    with torch.no_grad():
        assert torch.equal(model.segmentation_head(output.features), output.maps)


def test_freezing_the_classifier(images):
    model = UnetCoLoCAM("resnet18", 3)
    model.freeze_classifier()
    model.train()
    model.check_frozen()
    assert not model.encoder.training
    assert not model.classification_head.training
    assert model.decoder.training
    checksum, statistics = frozen_bits(model), model.decoder.blocks[0].conv1[1].running_mean.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    output = model(images.requires_grad_())
    assert not output.logits.requires_grad
    output.maps.square().mean().backward()
    optimizer.step()
    model.check_frozen()
    assert images.grad is None  # nothing went back through the encoder
    assert frozen_bits(model) == checksum
    assert not torch.equal(model.decoder.blocks[0].conv1[1].running_mean, statistics)


def test_freezing_the_encoder_alone(images):
    model = STDClassifier("mobilenet_v2", 3)
    model.freeze_encoder()
    model.train()
    assert not model.encoder.training
    assert model.classification_head.training
    checksum = frozen_bits(model)
    model(images).logsumexp(1).sum().backward()
    model.check_frozen()
    assert model.classification_head.fc.weight.grad is not None
    assert frozen_bits(model) == checksum
    model.freeze_classifier()
    assert not any(p.requires_grad for p in model.parameters())


def test_check_frozen_sees_every_breach():
    model = UnetCoLoCAM("resnet18", 2)
    model.check_frozen()  # nothing is frozen
    model.freeze_classifier()
    checksum = frozen_bits(model)
    model.encoder.layer3.train()
    with pytest.raises(RuntimeError, match="layer3 is in training mode"):
        model.check_frozen()
    model.train()
    model.check_frozen()
    model.classification_head.fc.bias.requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"classification_head is frozen, but fc\.bias"):
        model.check_frozen()
    with torch.no_grad():
        model.encoder.bn1.running_var[0] += 1e-6
    assert frozen_bits(model) != checksum


def test_an_unfrozen_model_trains_everything(images):
    model = UnetCoLoCAM("resnet18", 3).train()
    output = model(images)
    (output.logits.square().mean() + output.maps.square().mean()).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16"])
def test_initialization(encoder):
    model = UnetCoLoCAM(encoder, 40)
    decoder_convs = [m for m in model.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert decoder_convs
    for conv in decoder_convs:
        bound = math.sqrt(6 / (conv.in_channels * 9))  # He-uniform, fan-in
        assert 0.95 * bound < conv.weight.abs().max() <= bound
        assert conv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        assert conv.bias is None
    (head,) = model.segmentation_head
    heads = ((head.weight, head.in_channels * 9, 2 * 9),)
    fc = model.classification_head.fc
    for weight, fan_in, fan_out in (*heads, (fc.weight, fc.in_features, 40)):
        bound = math.sqrt(6 / (fan_in + fan_out))  # Xavier-uniform
        assert 0.9 * bound < weight.abs().max() <= bound
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    assert head.bias.abs().max() == fc.bias.abs().max() == 0


def test_the_graph_can_be_exported(images):
    model = vary_batch_norms(UnetCoLoCAM("resnet18", 3)).eval()
    model.freeze_classifier()
    program = torch.export.export(model, (images,))
    with torch.no_grad():
        exported, expected = program.module()(images), model(images)
    assert torch.allclose(exported[0], expected.logits, atol=1e-5)
    assert torch.allclose(exported[1], expected.maps, atol=1e-5)


def test_channels_last_gives_the_same(images):
    model = vary_batch_norms(UnetCoLoCAM("resnet18", 3)).eval()
    with torch.no_grad():
        expected = model(images)
        model = model.to(memory_format=torch.channels_last)
        output = model(images.to(memory_format=torch.channels_last))
    assert torch.allclose(output.maps, expected.maps, rtol=1e-3, atol=1e-4)
    assert output.features.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_autocast_runs(images):
    model = UnetCoLoCAM("resnet18", 3, HeadOptions("LogSumExpPool")).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images)
    assert output.maps.isfinite().all()
    assert output.logits.dtype == torch.float32
