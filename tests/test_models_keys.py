"""State-dict keys, shapes and parameter counts of every network, against the table of the authors' models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchvision.models import mobilenet_v2, resnet18

from dlib.models import STDClassifier, UnetCoLoCAM, UnetFCAM, UnetTCAM
from dlib.poolings import HeadOptions

TABLE = json.loads((Path(__file__).parent / "data" / "state_dict_keys.json").read_text())
ARCHS = {"STDClassifier": STDClassifier, "UnetCoLoCAM": UnetCoLoCAM}
COUNTS = {
    "STDClassifier resnet50 WGAP": 23_528_522,
    "STDClassifier vgg16 WGAP": 19_444_554,
    "STDClassifier inceptionv3 WGAP": 25_493_226,
    "UnetCoLoCAM resnet50 WGAP": 32_541_740,
    "UnetCoLoCAM vgg16 WGAP": 42_565_324,
    "UnetCoLoCAM inceptionv3 WGAP": 31_197_900,
}


def build(arch, *args, **options):
    with torch.device("meta"):
        return ARCHS[arch](*args, **options)


def shapes(module):
    return {key: list(tensor.shape) for key, tensor in module.state_dict().items()}


def test_table_is_the_whole_table():
    assert {name for name in TABLE if not name.startswith("classification_head")} == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_keys_shapes_and_number_of_parameters(name):
    arch, encoder, pooling = name.split()
    model = build(arch, encoder, 10, HeadOptions(pooling))
    assert shapes(model) == TABLE[name]
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


@pytest.mark.parametrize("pooling", ["GAP", "MaxPool", "LogSumExpPool", "WildCatCLHead"])
def test_keys_of_the_heads_that_make_maps(pooling):
    model = build("STDClassifier", "resnet50", 10, HeadOptions(pooling))
    head = {k: v for k, v in shapes(model).items() if k.startswith("classification_head.")}
    assert head == TABLE[f"classification_head {pooling} (resnet50)"]


@pytest.mark.parametrize("pooling", ["GAP", "WildCatCLHead"])
def test_background_map_only_on_demand(pooling):
    for background, maps in ((True, 4), (False, 3)):
        head = HeadOptions(pooling, support_background=background, wc_modalities=2)
        model = build("STDClassifier", "resnet18", 3, head)
        (weight, _) = model.classification_head.state_dict().values()
        assert weight.shape[0] == maps * (2 if pooling == "WildCatCLHead" else 1)


@pytest.mark.parametrize("kind", [UnetTCAM, UnetFCAM])
def test_the_networks_of_the_sister_methods_have_the_same_keys(kind):
    for name in COUNTS:
        arch, encoder, pooling = name.split()
        if arch == "UnetCoLoCAM":
            with torch.device("meta"):
                model = kind(encoder, 10, HeadOptions(pooling))
            assert shapes(model) == TABLE[name]


def test_small_encoders_keep_torchvisions_keys():
    expected = {f"encoder.{k}": v for k, v in shapes(mobilenet_v2()).items() if k.startswith("features.")}
    expected |= {"classification_head.fc.weight": [4, 1280], "classification_head.fc.bias": [4]}
    assert shapes(build("STDClassifier", "mobilenet_v2", 4)) == expected
    keys = {f"encoder.{k}" for k in resnet18().state_dict() if not k.startswith("fc.")}
    assert {k for k in shapes(build("UnetCoLoCAM", "resnet18", 4)) if k.startswith("encoder.")} == keys


@pytest.mark.parametrize("encoder", ["vgg16", "inceptionv3"])
def test_alias_keys_share_their_tensors(encoder):
    model = STDClassifier(encoder, 2)
    state = model.encoder.state_dict()
    own = {state[key].data_ptr() for key in model.encoder.own_keys()}
    aliases = set(state) - set(model.encoder.own_keys())
    assert aliases
    assert {state[key].data_ptr() for key in aliases} == own


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder_name": "resnet34"}, "resnet34"),
        ({"pooling": "Max"}, "Max"),
        ({"num_classes": 0}, "num_classes"),
        ({"in_channels": 1}, "in_channels"),
        ({"encoder_weights": "coco"}, "coco"),
        ({"pooling": "LogSumExpPool", "lse_r": 0.0}, "lse_r"),
        ({"pooling": HeadOptions("WildCatCLHead", wc_kmax=0.0)}, "wc_kmax"),
        ({"pooling": HeadOptions("WildCatCLHead"), "wc_modalities": 0}, "wc_modalities"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    arguments = {"encoder_name": "resnet18", "num_classes": 2} | options
    with pytest.raises(ValueError, match=message):
        build("STDClassifier", **arguments)
