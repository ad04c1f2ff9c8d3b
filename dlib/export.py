"""Export a trained model for programs without this one.

    python -m dlib.export --fd_exp EXPERIMENT --format onnx --out model.onnx

Input ``images``: float32 [B, 3, H, W], RGB 0..255, of any batch size; H and W are the experiment's crop size.
Outputs: ``logits`` [B, classes] and ``maps``: of a decoder the CAM [B, H, W] in 0..1; for a classifier one map per
class [B, classes, h, w] before normalization. These are the head's own maps, or for WGAP the linear CAM of its weights
(with --method LayerCAM, of the positive weights only: LayerCAM's map of this head up to a factor). Of a model with
--box_features True there are ``features`` [B, K, h, w] too, for boxes without thresholds. The command checks the file
against the model before it ends. The file holds class names, thresholds, crop size and the rule of boxes:
doc/export.md lists them, and has a program that draws the boxes of --box_rule threshold.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, no_type_check

from dlib.commands import CommandParser, command, loading
from dlib.configure.constants import BEST_LOCALIZATION, CRITERIA, IMAGENET_MEAN, IMAGENET_STD
from dlib.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dlib.localizer import SavedModel

OUTPUTS = ("logits", "maps", "features")  # the last of models with --box_features True alone
FORMATS = {"onnx": ".onnx", "torchscript": ".pt"}
_TOLERANCE = 1e-3  # of the largest absolute output; other kernels add in another order


def portable(saved: SavedModel) -> nn.Module:
    """A module from images [B, 3, H, W] in 0..255 to the outputs that the text at the top of this file names."""
    import torch
    from torch import nn

    class Portable(nn.Module):
        mean: Tensor
        std: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.model = saved.maps.model
            self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
            self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return saved.maps.every_class((images - self.mean) / self.std)

    return Portable().eval()


def export(folder: Path, format_: str, out: Path | None, criterion: str = BEST_LOCALIZATION) -> Path:
    """Write the model of an experiment and compare its outputs; returns the file's path.

    Args:
        folder: an experiment, or a folder of its weights.
        format_: onnx or torchscript.
        out: file to write; None: ``model.onnx`` or ``model.pt`` beside the weights.
    Raises UserError when a package is missing, the file cannot be written, or its outputs differ.
    """
    with loading():
        import torch

        from dlib.localizer import read_saved_model

    if format_ == "onnx":
        for package in ("onnx", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"--format onnx needs the package {package}: pip install onnx onnxscript")
    saved = read_saved_model(folder, criterion, torch.device("cpu"), fast=True)  # one view, as a file has
    about = facts(saved)
    path = out or saved.weights / f"model{FORMATS[format_]}"
    network = portable(saved)
    generator = torch.Generator().manual_seed(0)
    # Two images: the exporter would take a batch of one for a fixed size.
    images = 255 * torch.rand(2, 3, saved.crop_size, saved.crop_size, generator=generator)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write = _write_onnx if format_ == "onnx" else _write_script
            write(network, images, path, about)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror})") from error
    _compare(network, torch.cat([images, images.flip(-1)[:1]]), path, format_)
    return path


def facts(saved: SavedModel) -> dict[str, Any]:
    """What the file says for a program that draws the boxes of ``--box_rule threshold``; doc/export.md describes it."""
    taus = saved.complete_taus()
    maps = saved.maps
    return {
        "class_names": saved.classes,
        "crop_size": saved.crop_size,
        "outputs": list(OUTPUTS if maps.box_features else OUTPUTS[:2]),
        "box_rule": {
            "name": "largest_contour",
            "thresholds": dict(zip(saved.classes, taus, strict=True)) if taus else None,
        },
        "maps": "one map in 0..1"
        if maps.model.decodes_maps
        else "one map per class, before min-max normalization",
        "refine": {"sigma_rgb": maps.refine_sigma_rgb, "sigma_xy": maps.refine_sigma_xy},
        "cam_share": maps.cam_share,
        "normalization": {
            "inside": True,
            "input": "RGB 0..255",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
    }


def _write_onnx(network: nn.Module, images: Tensor, path: Path, about: dict[str, Any]) -> None:
    import torch

    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        program = torch.onnx.export(
            network,
            (images,),
            input_names=["images"],
            output_names=about["outputs"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            dynamo=True,
            verbose=False,
        )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    program.model.metadata_props.update({name: json.dumps(value) for name, value in about.items()})
    program.save(path)


def _write_script(network: nn.Module, images: Tensor, path: Path, about: dict[str, Any]) -> None:
    import torch

    from dlib.encoders import Encoder

    # Exporting first makes all sizes except the batch's plain numbers, which some heads need.
    batch = {"images": {0: torch.export.Dim("batch", min=1)}}
    plain: nn.Module = network
    if not any(isinstance(part, Encoder) and part.attends for part in network.modules()):
        plain = torch.export.export(network, (images,), dynamic_shapes=batch).module()
    traced = torch.jit.trace(plain, images)

    class Described(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = traced
            self.class_names: list[str] = about["class_names"]
            self.crop_size: int = about["crop_size"]
            self.facts: str = json.dumps(about)

        @no_type_check  # there are two outputs, or three, and TorchScript must find out which
        def forward(self, images: torch.Tensor):
            return self.network(images)

    with path.open("wb") as file:
        torch.jit.save(torch.jit.script(Described()), file)


def _compare(network: nn.Module, images: Tensor, path: Path, format_: str) -> None:
    """UserError if the file's outputs for ``images`` are not the model's."""
    import torch

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = network(images)
        found = _outputs(images, path, format_)
    for name, ours, theirs in zip(OUTPUTS, expected, found, strict=False):
        worst = float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-6))
        if not worst <= _TOLERANCE:
            raise UserError(f"{path}: its {name} differ from the model's by {worst:.1e} of their range")


def _outputs(images: Tensor, path: Path, format_: str) -> list[Tensor]:
    """What the file computes from ``images``; nothing if no program can run it here."""
    import torch

    if format_ == "onnx":
        if importlib.util.find_spec("onnxruntime") is None:
            print("not compared with the model: onnxruntime is not installed")
            return []
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [torch.from_numpy(value) for value in session.run(None, {"images": images.numpy()})]
    with path.open("rb") as file:
        return list(torch.jit.load(file)(images))


def parser() -> CommandParser:
    p = CommandParser("export", __doc__)
    p.add_argument("--fd_exp", type=Path, required=True, help="experiment folder, or one of its weights")
    p.add_argument("--format", choices=tuple(FORMATS), default="onnx", help="file format (onnx)")
    p.add_argument("--out", type=Path, help="file to write (model.onnx or model.pt beside the weights)")
    p.add_argument("--criterion", choices=CRITERIA, default=BEST_LOCALIZATION, help="which best model")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    path = export(args.fd_exp, args.format, args.out, args.criterion)
    print(f"written to {path} ({path.stat().st_size / 2**20:.1f} MiB)")


if __name__ == "__main__":
    sys.exit(main())
