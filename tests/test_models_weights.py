"""ImageNet files, best models in and out, settings, learning-rate groups."""

from __future__ import annotations

import pickle
from urllib.error import URLError

import pytest
import torch
import yaml
from torchvision import models as tv

from dlib.encoders import build_encoder
from dlib.models import (
    ModelSettings,
    STDClassifier,
    UnetCoLoCAM,
    best_model_state,
    build_model,
    learning_rate_groups,
    load_best_model,
    load_fitting_weights,
    load_imagenet_weights,
    load_saved_model,
    model_settings,
    read_model_settings,
    write_model_settings,
)
from dlib.poolings import HeadOptions
from dlib.utils.errors import UserError

FILES = {
    "resnet50": (tv.resnet50, "resnet50-0676ba61.pth"),
    "resnet18": (tv.resnet18, "resnet18-f37072fd.pth"),
    "mobilenet_v2": (tv.mobilenet_v2, "mobilenet_v2-b0353104.pth"),
    "vgg16": (tv.vgg16, "vgg16-397923af.pth"),
    "inceptionv3": (lambda: tv.Inception3(init_weights=False), "inception_v3_google-0cc3c7bd.pth"),
}


@pytest.fixture
def offline(monkeypatch):
    """No network: every attempt is kept."""
    attempts = []

    def fail(url, *args, **options):
        attempts.append(url)
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    return attempts


def without_alias(model):
    state = model.encoder.state_dict()
    return {key: state[key] for key in model.encoder.own_keys()}


def same_weights(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def write_torchvision_file(name, folder):
    """torchvision's random weights under torchvision's file name."""
    make, file = FILES[name]
    state = make().state_dict()
    torch.save(state, folder / file)
    return state


@pytest.mark.parametrize("name", ["resnet50", "resnet18", "mobilenet_v2", "inceptionv3"])
def test_imagenet_weights_come_from_torchvisions_file(name, tmp_path, offline):
    source = write_torchvision_file(name, tmp_path)
    state = build_with_imagenet(name, tmp_path).encoder.state_dict()
    fresh = [key for key in state if key.startswith(("SPG", "features.15", "features.16"))]
    if name == "inceptionv3":
        state = {k: v for k, v in state.items() if k not in fresh and not k.startswith("features.")}
    assert all(torch.equal(state[key], source[key]) for key in state)
    assert len(state) > 100
    assert not offline


def build_with_imagenet(name, folder):
    return STDClassifier(name, 2, encoder_weights="imagenet", weights_dir=folder)


def test_imagenet_weights_of_vgg16_move_past_the_missing_pool(tmp_path, offline):
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in tv.vgg16().features.state_dict().items()}
    source = {f"features.{k}": torch.full(shape, float(k.split(".")[0])) for k, shape in shapes.items()}
    torch.save(source, tmp_path / FILES["vgg16"][1])
    encoder = build_with_imagenet("vgg16", tmp_path).encoder
    for own, theirs in {0: 0, 2: 2, 5: 5, 10: 10, 17: 17, 21: 21, 23: 24, 25: 26, 27: 28}.items():
        assert (encoder.features[own].weight == theirs).all()
        assert (encoder.full_features[own].bias == theirs).all()
    assert encoder.conv6.weight.std() > 0


def test_a_file_without_batch_counters_loads(tmp_path):
    state = {k: v for k, v in tv.resnet18().state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / FILES["resnet18"][1])
    encoder = build_encoder("resnet18")
    load_imagenet_weights(encoder, "resnet18", tmp_path)
    assert torch.equal(encoder.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])


@pytest.mark.parametrize("name", FILES)
def test_missing_imagenet_file_is_named_with_its_address(name, tmp_path, offline):
    file = FILES[name][1]
    with pytest.raises(UserError) as error:
        load_imagenet_weights(build_encoder(name), name, tmp_path / "new")
    message = str(error.value)
    assert str(tmp_path / "new" / file) in message
    assert f"https://download.pytorch.org/models/{file}" in message
    assert "\n" not in message
    assert offline == [f"https://download.pytorch.org/models/{file}"]


def test_missing_imagenet_file_is_downloaded_into_the_folder(tmp_path, monkeypatch):
    state = tv.resnet18().state_dict()
    calls = []

    def download(url, target, hash_prefix, progress):
        calls.append((url, hash_prefix))
        torch.save(state, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        load_imagenet_weights(build_encoder("resnet18"), "resnet18", tmp_path / "a" / "b")
    assert calls == [("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd")]
    assert (tmp_path / "a" / "b" / "resnet18-f37072fd.pth").is_file()


def test_default_folder_is_pretrained_imagenet(tmp_path, monkeypatch, offline):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"pretrained/imagenet/resnet18-f37072fd\.pth"):
        load_imagenet_weights(build_encoder("resnet18"), "resnet18")


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "other network", "list"])
def test_damaged_imagenet_file_is_refused(damage, tmp_path, offline):
    path = tmp_path / FILES["resnet18"][1]
    write_torchvision_file("resnet18", tmp_path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:100_000])
    elif damage in ("text", "empty"):
        path.write_text("<html>not here</html>" if damage == "text" else "")
    elif damage == "other network":
        torch.save(tv.mobilenet_v2().state_dict(), path)
    else:
        torch.save([torch.zeros(3)], path)
    with pytest.raises(UserError, match=r"resnet18-f37072fd\.pth: .*download it again"):
        load_imagenet_weights(build_encoder("resnet18"), "resnet18", tmp_path)


def test_a_flipped_bit_in_the_weights_is_refused(tmp_path):
    path = tmp_path / "1_best_model.pth"
    model = STDClassifier("resnet18", 2)
    torch.save(best_model_state(model), path)
    content = bytearray(path.read_bytes())
    content[content.find(model.classification_head.fc.weight.detach().numpy().tobytes()) + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"1_best_model\.pth: not a readable .*checksum.*copy or download it again"
    ):
        load_best_model(STDClassifier("resnet18", 2), path)


def test_files_of_older_versions_without_checksums_load(tmp_path):
    model, other = STDClassifier("resnet18", 2), STDClassifier("resnet18", 2)
    path = tmp_path / "1_best_model.pth"
    torch.save(best_model_state(model), path, _use_new_zipfile_serialization=False)
    load_best_model(other, path)
    assert same_weights(model, other)


class Harm:
    """Pickles to a call: what a hostile checkpoint does."""

    def __reduce__(self):
        return (print, ("executed",))


def test_a_file_that_would_execute_code_is_refused(tmp_path, capsys):
    path = tmp_path / "1_best_model.pth"
    torch.save({"encoder": Harm(), "classification_head": {}}, path)
    with pytest.raises(UserError, match="1_best_model"):
        load_best_model(STDClassifier("resnet18", 2), path)
    path.write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(UserError, match="1_best_model"):
        load_best_model(STDClassifier("resnet18", 2), path)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("encoder", "aliases"), [("resnet18", True), ("inceptionv3", True), ("inceptionv3", False)]
)
def test_best_model_goes_out_and_in(encoder, aliases, tmp_path):
    saved, other = STDClassifier(encoder, 2), STDClassifier(encoder, 2)
    state = best_model_state(saved)
    assert list(state) == ["encoder", "classification_head"]
    assert state["encoder"].keys() == saved.encoder.state_dict().keys()
    if not aliases:
        state["encoder"] = without_alias(saved)
    torch.save(state, tmp_path / "7_best_model.pth")
    assert not same_weights(saved, other)
    load_best_model(other, tmp_path)
    assert same_weights(saved, other)


def test_best_model_state_is_a_copy_with_shared_aliases(tmp_path):
    model = STDClassifier("vgg16", 2)
    state = best_model_state(model)
    before = state["encoder"]["conv6.bias"].clone()
    with torch.no_grad():
        model.encoder.conv6.bias += 1
    assert torch.equal(state["encoder"]["conv6.bias"], before)
    pointer = state["encoder"]["conv6.weight"].data_ptr()
    assert state["encoder"]["full_features.29.weight"].data_ptr() == pointer
    torch.save(state, tmp_path / "1_best_model.pth")
    parameters = sum(p.numel() for p in model.parameters())
    assert (tmp_path / "1_best_model.pth").stat().st_size < 4.1 * parameters


@pytest.mark.parametrize("aliases", [True, False])
def test_the_older_pair_of_files_loads(aliases, tmp_path):
    saved = STDClassifier("vgg16", 2)
    other = UnetCoLoCAM("vgg16", 2)
    torch.save(saved.encoder.state_dict() if aliases else without_alias(saved), tmp_path / "encoder.pt")
    torch.save(saved.classification_head.state_dict(), tmp_path / "classification_head.pt")
    load_best_model(other, tmp_path, parts=("encoder", "classification_head"))
    assert same_weights(saved.encoder, other.encoder)
    assert same_weights(saved.classification_head, other.classification_head)


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]


def wrapped(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_keys_of_wrapped_models_load(prefix, tmp_path):
    saved, other = UnetCoLoCAM("resnet18", 2), UnetCoLoCAM("resnet18", 2)
    state = {part: wrapped(tensors, prefix) for part, tensors in best_model_state(saved).items()}
    torch.save(state, tmp_path / "7_best_model.pth")
    load_best_model(other, tmp_path)
    assert same_weights(saved, other)

    for part in ("encoder", "classification_head"):
        torch.save(state[part], tmp_path / f"{part}.pt")
    (tmp_path / "7_best_model.pth").unlink()
    classifier = STDClassifier("resnet18", 2)
    load_best_model(classifier, tmp_path)
    assert same_weights(saved.encoder, classifier.encoder)
    assert same_weights(saved.classification_head, classifier.classification_head)

    whole = UnetCoLoCAM("resnet18", 2)
    torch.save(wrapped(saved.state_dict(), prefix), tmp_path / "whole.pt")
    load_best_model(whole, tmp_path / "whole.pt")
    assert same_weights(saved, whole)
    fitting = UnetCoLoCAM("resnet18", 2)
    assert load_fitting_weights(fitting, tmp_path / "whole.pt") == []
    assert same_weights(saved, fitting)


def test_real_wrappers_load(tmp_path):
    saved, other = STDClassifier("resnet18", 2), STDClassifier("resnet18", 2)
    parts = torch.nn.DataParallel(saved).state_dict()  # as DistributedDataParallel names them
    assert {key.split(".")[0] for key in parts} == {"module"}
    torch.save(parts, tmp_path / "a.pth")
    load_best_model(other, tmp_path / "a.pth")
    assert same_weights(saved, other)
    third = STDClassifier("resnet18", 2)
    compiled = {
        part: torch.compile(saved.get_submodule(part)).state_dict()
        for part in ("encoder", "classification_head")
    }
    assert all(key.startswith("_orig_mod.") for key in compiled["encoder"])
    torch.save(compiled, tmp_path / "b.pth")
    load_best_model(third, tmp_path / "b.pth")
    assert same_weights(saved, third)


def test_a_prefix_on_some_keys_is_none(tmp_path):
    model = STDClassifier("resnet18", 2)
    state = best_model_state(model)
    state["encoder"] = {("" if "bn1" in k else "module.") + k: t for k, t in state["encoder"].items()}
    torch.save(state, tmp_path / "7_best_model.pth")
    with pytest.raises(UserError, match=r"its encoder lacks conv1\.weight"):
        load_best_model(model, tmp_path)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrapped_imagenet_files_load(prefix, tmp_path):
    make, name = FILES["resnet18"]
    source = make()
    torch.save(wrapped(source.state_dict(), prefix), tmp_path / name)
    encoder = build_encoder("resnet18")
    load_imagenet_weights(encoder, "resnet18", tmp_path)
    assert torch.equal(encoder.state_dict()["conv1.weight"], source.conv1.weight)


def test_the_highest_step_is_taken_and_parts_are_chosen(tmp_path):
    models = {step: UnetCoLoCAM("resnet18", 2) for step in (9, 10)}
    for step, model in models.items():
        torch.save(best_model_state(model), tmp_path / f"{step}_best_model.pth")
    (tmp_path / "x_best_model.pth").write_text("not one of ours")
    whole, classifier = UnetCoLoCAM("resnet18", 2), STDClassifier("resnet18", 2)
    load_best_model(whole, tmp_path)
    assert same_weights(whole, models[10])
    load_best_model(classifier, tmp_path)
    assert same_weights(classifier.encoder, models[10].encoder)
    load_best_model(whole, tmp_path / "9_best_model.pth", parts=("decoder",))
    assert same_weights(whole.decoder, models[9].decoder)
    assert same_weights(whole.encoder, models[10].encoder)


def test_misfits_are_named_and_change_nothing(tmp_path):
    model = UnetCoLoCAM("resnet18", 2)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    path = tmp_path / "1_best_model.pth"

    def refused(content, message):
        torch.save(content, path)
        with pytest.raises(UserError, match=message):
            load_best_model(model, path)
        assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())

    good = best_model_state(UnetCoLoCAM("resnet18", 2))
    classifier = best_model_state(STDClassifier("resnet18", 3))
    refused(classifier, "holds no decoder, segmentation_head")
    refused({**good, **classifier}, r"classification_head has another shape for fc\.weight, fc\.bias")
    refused(
        {**good, "encoder": best_model_state(STDClassifier("mobilenet_v2", 2))["encoder"]}, r"lacks conv1"
    )
    refused({**good, "segmentation_head": {**good["segmentation_head"], "x": torch.zeros(1)}}, "unknown x")
    refused({**good, "decoder": [1, 2]}, "decoder is not a dict")
    refused([1, 2], "not a best model")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="1_best_model"):
        load_best_model(model, tmp_path)


def test_missing_best_models_are_named(tmp_path):
    model = STDClassifier("resnet18", 2)
    with pytest.raises(UserError, match="nowhere: no best model"):
        load_best_model(model, tmp_path / "nowhere")
    torch.save(model.encoder.state_dict(), tmp_path / "encoder.pt")
    with pytest.raises(UserError, match=r"classification_head\.pt is missing"):
        load_best_model(model, tmp_path)


def test_settings_make_the_same_model_again(tmp_path):
    head = HeadOptions("WildCatCLHead", support_background=False, wc_modalities=3, wc_alpha=0.2)
    model = STDClassifier("resnet18", 4, head, scale_in=2.0).eval()
    write_model_settings(model, tmp_path, classes=["a", "b"], best_epoch=3)
    torch.save(best_model_state(model), tmp_path / "5_best_model.pth")
    settings = read_model_settings(tmp_path)
    assert settings["classes"] == ["a", "b"]
    assert settings["wc_alpha"] == 0.2
    assert ModelSettings.from_dict(settings) == model.settings
    assert model_settings(build_model("STDClassifier", model.settings)) == model_settings(model)
    again = load_saved_model(tmp_path)
    assert isinstance(again, STDClassifier)
    assert not again.training
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "config_model.yaml is missing"),
        ("[1, 2]", "no settings"),
        ("a: [", "not readable YAML"),
        ("!!python/object/apply:print [executed]", "not readable YAML"),
        ("arch: STDClassifier", "lack encoder_name"),
        ("encoder_name: resnet18", "lack arch"),
    ],
)
def test_broken_settings_are_named(content, message, tmp_path):
    if content is not None:
        (tmp_path / "config_model.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_saved_model(tmp_path)


def test_wrong_settings_are_named(tmp_path):
    good = model_settings(STDClassifier("resnet18", 2))
    for key, value in {"arch": "DenseBoxNet", "encoder_name": "alexnet", "num_classes": "two"}.items():
        (tmp_path / "config_model.yaml").write_text(yaml.safe_dump({**good, key: value}))
        with pytest.raises(UserError, match="config_model"):
            load_saved_model(tmp_path)


SLOW = {  # the encoder's parameters at the base rate, by first component(s) of their names
    "resnet50": {"conv1", "bn1", "layer1", "layer2", "layer3"},
    "resnet18": {"conv1", "bn1", "layer1", "layer2", "layer3"},
    "vgg16": {"features"},
    "mobilenet_v2": {f"features.{i}" for i in range(14)},
}


@pytest.mark.parametrize("name", FILES)
def test_learning_rate_groups(name):
    with torch.device("meta"):
        model = STDClassifier(name, 2)
    base, fast = learning_rate_groups(model)
    names = {id(p): n.removeprefix("encoder.") for n, p in model.named_parameters()}
    slow = {names[id(p)] for p in base}
    if name == "inceptionv3":
        expected = {n for n in names.values() if not n.startswith(("SPG_", "classification_head"))}
    else:
        depth = 2 if name == "mobilenet_v2" else 1
        expected = {n for n in names.values() if ".".join(n.split(".")[:depth]) in SLOW[name]}
    assert slow == expected
    assert slow
    assert len({id(p) for p in [*base, *fast]}) == len(base) + len(fast) == len(list(model.parameters()))
    assert {id(p) for p in model.classification_head.parameters()} <= {id(p) for p in fast}
    assert len(fast) > 2  # some of the encoder too


def test_frozen_parameters_are_in_no_learning_rate_group():
    model = STDClassifier("resnet18", 2)
    model.freeze_encoder()
    base, fast = learning_rate_groups(model)
    assert base == []
    assert [p.shape for p in fast] == [(2, 512), (2,)]
