"""The model of an experiment with all that prediction needs besides the weights."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from dlib.configure.constants import (
    BEST_LOCALIZATION,
    CLASSIFIER_FOLDER,
    MAX_BOX_FRAMES,
    YTOV1,
    YTOV2,
    method_name,
)
from dlib.datasets.batch import normalize
from dlib.datasets.metadata import CLASS_NAMES_YTO
from dlib.models import FINISH, MapMaker, Readout, load_saved_model, read_model_settings
from dlib.utils.errors import UserError
from dlib.utils.files import read_json

_NEEDED = ("classes", "crop_size", "method")
_DEFAULTS = {field.name: field.default for field in fields(MapMaker)}
_LIMITS = {
    "map_temperature": (0.01, float("inf")),
    "map_cam_share": (0, 1),
    "map_view_scale": (0.1, 1),
    "box_features": (0, 1),
}


@dataclass(frozen=True)
class SavedModel:
    """A trained model."""

    maps: MapMaker  # with the model in eval mode
    classes: list[str]  # in the order of the logits
    crop_size: int  # side of the square that the network sees in evaluation
    box_frames: int  # of a shot that the box rule describes together
    taus: dict[str, float]  # threshold of each class; empty if it is not known
    weights: Path  # folder that the weights come from

    def complete_taus(self) -> list[float]:
        """A threshold for every class: for one without its own the mean of the others; empty if none is known."""
        known = [self.taus[name] for name in self.classes if name in self.taus]
        return [self.taus.get(name, sum(known) / len(known)) for name in self.classes] if known else []

    def __call__(self, frames: Tensor, label: int | None = None) -> Readout:
        """What ``MapMaker.readout`` gives; ``label``: None, each image's predicted class.

        Args:
            frames: uint8 [B, 3, H, W], RGB, on the model's device.
        """
        labels = None if label is None else torch.full((len(frames),), label, device=frames.device)
        return self.maps.readout(normalize(frames), frames, labels)


def better_model(experiment: Path, criterion: str, choice: str) -> Path:
    """The folder whose model localizes: ``experiment``, or its classifier's in it.

    Args:
        choice: of ``MODELS``. "better": the classifier if the run found it better on validation and ``criterion`` is
            localization.
    Raises UserError for "classifier" where the folder has none.
    """
    kept = experiment / CLASSIFIER_FOLDER
    if choice == "classifier" and not kept.is_dir():
        raise UserError(
            f"--model classifier: {experiment} keeps no classifier, because its own maps are better on validation; "
            "give the classifier's experiment as --fd_exp"
        )
    wanted = choice == "classifier" or (choice == "better" and criterion == BEST_LOCALIZATION)
    return kept if wanted and kept.is_dir() else experiment


def find_weights(folder: Path, criterion: str) -> Path:
    """The folder of best weights inside an experiment, or ``folder`` itself when it holds weights.

    Raises UserError if there is no such folder, or two of them.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give an experiment's folder or one with weights")
    found = sorted(path for path in folder.glob(f"*-cp_{criterion}-boxv2_*") if path.is_dir())
    if len(found) > 1:
        raise UserError(f"{folder}: holds {len(found)} models by {criterion}; give one's folder")
    if found:
        return found[0]
    if any(any(folder.glob(name)) for name in ("config_model.yaml", "encoder.pt", "*_best_model.pth")):
        return folder
    raise UserError(f"{folder}: holds no best model by {criterion}; give an experiment that has trained")


def read_saved_model(
    folder: Path, criterion: str, device: torch.device, thresholds: bool = True, fast: bool = False
) -> SavedModel:
    """The best model by ``criterion`` of an experiment, or the one in a folder of weights.

    Args:
        thresholds: whether to read them; if False, the model's ``taus`` are empty.
        fast: each frame is seen once, at the size of the training crops, whatever the run's evaluation saw.
    Raises UserError for a missing or damaged file.
    """
    weights = find_weights(folder, criterion)
    path = weights / "config_model.yaml"
    settings = _with_known_classes(read_model_settings(weights))
    missing = [name for name in _NEEDED if name not in settings]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: add lines such as "
            "'classes: [cat, dog]', 'crop_size: 224', 'method: LayerCAM'"
        )
    sides = [settings["crop_size"], settings.get("eval_size") or settings["crop_size"]]
    if not isinstance(settings["classes"], list) or not all(isinstance(n, int) and n > 0 for n in sides):
        raise UserError(
            f"{path}: expected a list 'classes' and numbers of pixels, 'crop_size' and 'eval_size'"
        )
    model = load_saved_model(weights)
    classes = [str(name) for name in settings["classes"]]
    if len(classes) != settings["num_classes"]:
        raise UserError(f"{path}: num_classes does not fit the list of classes")
    taus = _thresholds(folder, criterion) if thresholds else {}
    finish = {flag: settings.get(flag, _DEFAULTS[field]) for flag, field in FINISH.items()}
    if not all(isinstance(value, (int, float)) and value >= 0 for value in finish.values()):
        raise UserError(f"{path}: {', '.join(FINISH)} must be numbers >= 0")
    for name, (low, high) in _LIMITS.items():
        if not low <= finish[name] <= high:
            raise UserError(f"{path}: {name} must be from {low} to {high}")
    box_frames = settings.get("box_frames", 1)
    if not isinstance(box_frames, int) or not 1 <= box_frames <= MAX_BOX_FRAMES:
        raise UserError(f"{path}: box_frames must be from 1 to {MAX_BOX_FRAMES}")
    by_field = {FINISH[flag]: value for flag, value in finish.items()}
    maps = MapMaker(model.to(device), method_name(str(settings["method"])), **by_field)
    crop, side = sides
    if fast:
        maps, side = maps.in_one_view(crop / side), crop
    return SavedModel(maps, classes, side, box_frames, taus, weights)


def _with_known_classes(settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the names of YouTube-Objects' classes, which the authors' program leaves out."""
    known = settings.get("dataset") in (YTOV1, YTOV2) and settings.get("num_classes") == len(CLASS_NAMES_YTO)
    return {"classes": list(CLASS_NAMES_YTO), **settings} if known else settings


def _thresholds(folder: Path, criterion: str) -> dict[str, float]:
    """τ per class at IoU 50, which validation chose: from a finished run, else from the validations so far."""
    path = folder / f"thresholds-{criterion}.yaml"
    values: Any = {}
    if path.exists():
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UserError(
                f"{path}: not readable YAML; run the experiment to its end again, or give --tau"
            ) from error
        if not isinstance(values, dict):
            raise UserError(f"{path}: expected lines 'class: threshold'; or give --tau")
    elif (folder / "results.json").exists():
        path = folder / "results.json"
        try:
            validation = (read_json(path).get("val") or {}).get(criterion) or {}
            per_class = validation.get("per_class", {})
            values = {name: numbers["best_tau"]["50"] for name, numbers in per_class.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not an experiment's results; give --tau") from error
    numbers = {str(name): tau for name, tau in values.items() if tau is not None}
    if not all(isinstance(tau, (int, float)) and 0 <= tau < 1 for tau in numbers.values()):
        raise UserError(f"{path}: thresholds must be numbers from 0 up to 1; or give --tau")
    return numbers
