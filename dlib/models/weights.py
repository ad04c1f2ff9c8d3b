"""Weights in and out: torchvision's ImageNet files, and best models in the format of the authors' program."""

from __future__ import annotations

import sys
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlib.encoders import Encoder
from dlib.utils.errors import UserError
from dlib.utils.tensors import load_tensors, not_finite

IMAGENET_DIR = Path("pretrained/imagenet")
PROMOTED_DIR = Path("pretrained")
PARTS = ("encoder", "classification_head", "decoder", "segmentation_head")
_HEAD = "classification_head"
WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every key


def load_imagenet_weights(encoder: Encoder, name: str, weights_dir: Path | None = None) -> None:
    """Fills ``encoder`` with torchvision's ImageNet weights; layers that no file has keep their values.

    Args:
        name: the encoder's, for messages.
        weights_dir: where the file is, or is downloaded to if missing; None: ``pretrained/imagenet``.
    Raises UserError if the file is missing and cannot be downloaded, is damaged, or belongs to another network.
    """
    path = _imagenet_file(encoder.imagenet_url, name, weights_dir or IMAGENET_DIR)
    source = unwrapped(read_weights(path))
    own = encoder.state_dict()
    state = {}
    for key, file_key in encoder.imagenet_keys().items():
        # A file that a newer torchvision has saved has the network's own names.
        tensor = source.get(file_key, source.get(key)) if isinstance(source, dict) else None
        if tensor is None and key.endswith("num_batches_tracked"):
            continue  # old files do not have this counter
        if not isinstance(tensor, Tensor) or tensor.shape != own[key].shape:
            raise UserError(
                f"{path}: not torchvision's weights of {name} (see {file_key}); download it again"
            )
        state[key] = tensor
    encoder.load_state_dict(state, strict=False)


def _imagenet_file(url: str, name: str, folder: Path) -> Path:
    path = folder / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest = path.stem.rsplit("-", 1)[1]  # torchvision's names end with the start of the SHA-256
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:
        raise UserError(
            f"ImageNet weights of {name}: {path} is missing and could not be downloaded ({error}); "
            f"get {url} and put it there, or pass --encoder_weights None"
        ) from error
    return path


def read_weights(path: Path) -> Any:
    """What ``torch.save`` wrote to ``path``, on the CPU; executes nothing from it.

    Raises UserError if the file is damaged, or holds values that are not finite.
    """
    try:
        weights = load_tensors(path, old_format=True)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a readable weights file ({error}); copy or download it again"
        ) from error
    bad = not_finite(weights)
    if bad:
        raise UserError(
            f"{path}: {bad} is not finite (NaN or infinity): that training diverged; give other weights"
        )
    return weights


def unwrapped(state: Any) -> Any:
    """``state`` without the prefixes of wrappers, in any order and number, that all its keys have.

    A value that is not a dict with text keys, or in which only some keys have a prefix, is returned unchanged.
    """
    while isinstance(state, dict) and state and all(isinstance(key, str) for key in state):
        prefix = next((w for w in WRAPPERS if all(key.startswith(w) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def best_model_state(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    """A copy on the CPU of all weights by part, as ``<step>_best_model.pth`` holds them.

    Alias keys are included, as in the authors' files; they share their tensors with the keys that they repeat.
    """
    copies: dict[int, Tensor] = {}
    state: dict[str, dict[str, Tensor]] = {}
    for part in _parts_of(model):
        state[part] = {}
        for key, tensor in model.get_submodule(part).state_dict().items():
            if tensor.data_ptr() not in copies:
                copies[tensor.data_ptr()] = tensor.detach().to("cpu", copy=True)
            state[part][key] = copies[tensor.data_ptr()]
    return state


def load_best_model(
    model: nn.Module,
    folder_or_file: Path,
    parts: tuple[str, ...] | None = None,
    promoted: Path = PROMOTED_DIR,
) -> None:
    """Fills ``model`` from a best model, its own or one of the authors' program.

    Args:
        folder_or_file: a folder with ``<step>_best_model.pth`` (the highest step is used) or the older
            ``encoder.pt``, ``classification_head.pt`` …; or one file of the first kind, or with the state dict of
            a full model. Prefixes of wrappers are removed if all keys of a state dict have them.
        parts: the parts to fill; None: all that the model has. Alias keys in the file are ignored.
        promoted: where the classifier's folder of the same name is. The authors' F-CAM program writes no
            ``classification_head.pt``; the head is then the one in that folder.
    Raises UserError, and leaves the model as it was, when a file is missing, damaged or does not fit.
    """
    sources = _part_states(Path(folder_or_file), parts or _parts_of(model), promoted)
    checked = {
        part: _matching_state(model.get_submodule(part), part, file, state)
        for part, (file, state) in sources.items()
    }
    for part, state in checked.items():
        model.get_submodule(part).load_state_dict(state, strict=False)


def load_fitting_weights(model: nn.Module, folder_or_file: Path) -> list[str]:
    """As ``load_best_model``, but loads only what fits and leaves the rest of ``model`` unchanged.

    Returns the keys of ``model`` that were not filled. Raises UserError when the file is missing or damaged, or when
    nothing in it fits.
    """
    unfilled, filled = [], 0
    for part in _parts_of(model):
        module = model.get_submodule(part)
        own = module.state_dict()
        try:
            _, state = _part_states(Path(folder_or_file), (part,))[part]
        except UserError:
            if not Path(folder_or_file).exists():
                raise
            state = {}
        fits = {k: t for k, t in dict(state).items() if k in own and own[k].shape == t.shape}
        module.load_state_dict(fits, strict=False)
        filled += len(fits)
        unfilled += [f"{part}.{key}" for key in _without_aliases(module, own) if key not in fits]
    if not filled:
        raise UserError(f"{folder_or_file}: nothing in it fits this network; give another --path_pre_trained")
    return unfilled


def _parts_of(model: nn.Module) -> tuple[str, ...]:
    return tuple(part for part in PARTS if hasattr(model, part))


def _part_states(
    path: Path, parts: tuple[str, ...], promoted: Path = PROMOTED_DIR
) -> dict[str, tuple[Path, Any]]:
    """The state dict of every part, with the file that it is in; ``promoted`` as in ``load_best_model``."""
    file = path if path.is_file() else _newest_best_model(path)
    if file is not None:
        content = _by_part(unwrapped(read_weights(file)))
        if not isinstance(content, dict):
            raise UserError(f"{file}: not a best model (a dict of {', '.join(parts)})")
        missing = [part for part in parts if part not in content]
        if missing:
            raise UserError(
                f"{file}: holds no {', '.join(missing)}, only {', '.join(map(str, content))[:120]}"
            )
        return {part: (file, unwrapped(content[part])) for part in parts}
    files = {part: path / f"{part}.pt" for part in parts}
    if not any(file.is_file() for file in files.values()):
        raise UserError(
            f"{path}: no best model there (<step>_best_model.pth, or encoder.pt and classification_head.pt)"
        )
    found = {}
    for part, file in files.items():
        if file.is_file():
            found[part] = (file, unwrapped(read_weights(file)))
        elif part == _HEAD and (path / "decoder.pt").is_file():
            found[part] = _head_of_classifier(file, promoted / path.name)
        else:
            raise UserError(f"{file} is missing; copy it from the folder that the other files come from")
    return found


def _head_of_classifier(missing: Path, folder: Path) -> tuple[Path, Any]:
    """The classification head in the classifier's ``folder``, with its file."""
    if folder.is_dir() and folder.resolve() != missing.parent.resolve():
        return _part_states(folder, (_HEAD,))[_HEAD]
    raise UserError(
        f"{missing} is missing: F-CAM's authors leave it with the classifier; copy that folder to {folder}, "
        "or its classification_head.pt here"
    )


def _by_part(content: Any) -> Any:
    """The state dict of a full model (``encoder.conv1.weight`` …) as one dict per part; anything else unchanged."""
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        return content
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in content.items():
        part, _, rest = str(key).partition(".")
        states.setdefault(part, {})[rest] = tensor
    return states if set(states) & set(PARTS) else content


def _newest_best_model(folder: Path) -> Path | None:
    found = {file.name.removesuffix("_best_model.pth"): file for file in folder.glob("*_best_model.pth")}
    steps = [step for step in found if step.isdecimal()]
    return found[max(steps, key=int)] if steps else None


def _without_aliases(module: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    aliases = module.alias_prefix if isinstance(module, Encoder) else ()
    return {key: tensor for key, tensor in state.items() if not key.startswith(aliases)}


def _matching_state(module: nn.Module, part: str, file: Path, state: Any) -> dict[str, Tensor]:
    """``state`` without aliases. Raises UserError if it does not fit ``module``."""
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise UserError(f"{file}: its {part} is not a dict of tensors")
    expected, given = (_without_aliases(module, found) for found in (module.state_dict(), state))
    for problem, keys in (
        ("lacks", [k for k in expected if k not in given]),
        ("has the unknown", [k for k in given if k not in expected]),
        (
            "has another shape for",
            [k for k in expected if k in given and expected[k].shape != given[k].shape],
        ),
    ):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise UserError(
                f"{file}: its {part} {problem} {', '.join(keys[:3])}{more}; it belongs to another model "
                "(encoder, pooling or number of classes)"
            )
    return given
