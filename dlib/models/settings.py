"""A model as plain settings, and back: the content of ``config_model.yaml`` beside a best model.

The authors' program writes all its arguments there instead; those of the network are in their own mapping ``model``.
Of such a file only the values that describe the model are used; the others describe a machine and a run.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from dlib.models.classifier import CamClassifier, ModelSettings, STDClassifier
from dlib.models.readout import FINISH
from dlib.models.unet import UnetCoLoCAM, UnetFCAM, UnetTCAM
from dlib.models.weights import load_best_model
from dlib.poolings import HeadOptions
from dlib.utils.errors import UserError
from dlib.utils.files import write_text

CONFIG_MODEL = "config_model.yaml"
_ARCHITECTURES: dict[str, type[CamClassifier]] = {
    kind.__name__: kind for kind in (STDClassifier, UnetCoLoCAM, UnetTCAM, UnetFCAM)
}
_RUN_ARGUMENTS = ("model", "MYSEED")  # keys that only a file of all arguments has
_DESCRIBING = (
    *("arch", "task", "method", "dataset", "classes"),
    *("crop_size", "eval_size", "box_v2_metric", "box_frames"),
    *FINISH,
    *(field.name for kind in (ModelSettings, HeadOptions) for field in fields(kind) if field.name != "head"),
)


class _PlainLoader(yaml.SafeLoader):
    """Plain data, and two tags that authors' files hold: a Munch is read as a mapping, a tuple as a list."""

    yaml_constructors = {  # noqa: RUF012 - PyYAML's own attribute
        **yaml.SafeLoader.yaml_constructors,
        "!munch.Munch": yaml.SafeLoader.construct_yaml_map,
        "tag:yaml.org,2002:python/tuple": yaml.SafeLoader.construct_yaml_seq,
    }


def model_settings(model: CamClassifier) -> dict[str, Any]:
    """What defines ``model``, without its weights, as plain values; keys are the names of the flags."""
    return {"arch": type(model).__name__, **model.settings.to_dict()}


def build_model(
    arch: str, settings: ModelSettings, encoder_weights: str | None = None, weights_dir: Path | None = None
) -> STDClassifier | UnetCoLoCAM:
    """A network on the CPU.

    Args:
        arch: a name in the table above.
        encoder_weights, weights_dir: see ``CamClassifier``.
    Raises ValueError when ``arch`` or a setting is wrong, UserError for missing ImageNet weights.
    """
    if arch not in _ARCHITECTURES:
        raise ValueError(f"unknown arch {arch!r}: choose one of {', '.join(_ARCHITECTURES)}")
    model = _ARCHITECTURES[arch](
        settings.encoder_name,
        settings.num_classes,
        settings.head,
        encoder_weights=encoder_weights,
        in_channels=settings.in_channels,
        scale_in=settings.scale_in,
        weights_dir=weights_dir,
    )
    assert isinstance(model, STDClassifier | UnetCoLoCAM)
    return model


def write_model_settings(model: CamClassifier, folder: Path, **extra: Any) -> None:
    """Writes ``config_model.yaml`` into ``folder``, with other plain values if given."""
    text = yaml.safe_dump({**model_settings(model), **extra}, sort_keys=False)
    write_text(folder / CONFIG_MODEL, text)


def read_model_settings(folder: Path) -> dict[str, Any]:
    """What ``config_model.yaml`` in ``folder`` says about the model; executes nothing from it.

    From a file of all arguments, as the authors' program writes it: the values that describe the model, without nulls.
    Raises UserError if it is missing, damaged, not a mapping, or holds tags of other than plain data.
    """
    path = folder / CONFIG_MODEL
    try:
        settings = _read_plain(path)
    except OSError as error:
        raise UserError(f"{path} is missing; copy the whole folder of the best model") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: holds no settings; copy the folder of the best model again")
    if not any(key in settings for key in _RUN_ARGUMENTS):
        return settings
    of_network = settings.get("model")
    merged = {**settings, **(of_network if isinstance(of_network, dict) else {})}
    return {key: merged[key] for key in _DESCRIBING if merged.get(key) is not None}


def is_of_authors_program(path: Path) -> bool:
    """Whether a YAML file holds nested arguments as the authors' program writes them; False for any other file."""
    try:
        content = _read_plain(path)
    except (OSError, UserError):
        return False
    return isinstance(content, dict) and isinstance(content.get("model"), dict)


def _read_plain(path: Path) -> Any:
    """Plain data from a YAML file. OSError if it cannot be read, UserError if it is not such a file."""
    data = path.read_bytes()
    try:
        return yaml.load(data, Loader=_PlainLoader)
    except Exception as error:  # a damaged file can raise nearly anything
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())[:120]
        raise UserError(
            f"{path}{where}: not readable YAML of plain data ({reason}); copy the folder of the best model again, or "
            "delete what is not plain"
        ) from error


def load_saved_model(folder: Path) -> STDClassifier | UnetCoLoCAM:
    """The best model in ``folder``, on the CPU, in eval mode. UserError if anything is wrong with it."""
    settings = read_model_settings(folder)
    try:
        if "arch" not in settings:
            raise ValueError("model settings lack arch")
        model = build_model(settings["arch"], ModelSettings.from_dict(settings))
    except (ValueError, TypeError) as error:
        raise UserError(f"{folder / CONFIG_MODEL}: {error}") from error
    load_best_model(model, folder)
    model.eval()
    return model
