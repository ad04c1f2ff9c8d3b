"""All commands by name. ``colocam --help`` and the shell completion are made from this list."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Command:
    """A command: ``module`` has its ``main(arguments) -> exit code``, ``summary`` is one line.

    ``script`` is how it starts without colocam, if not by its module.
    """

    module: str
    summary: str
    script: str = ""

    @property
    def without_colocam(self) -> str:
        """How the command is started as a file or module."""
        return self.script or f"python -m {self.module}"

    def load(self) -> ModuleType:
        """The module that has ``main`` (and ``parser``, for all commands except train)."""
        package = importlib.import_module(self.module)
        return importlib.import_module(f"{self.module}.__main__") if hasattr(package, "__path__") else package


COMMANDS = {
    "run": Command("dlib.pipeline", "from a folder of videos to videos with boxes, in one command"),
    "train": Command(
        "dlib.train", "train a classifier or CoLo-CAM, or measure a trained one", "[torchrun ...] main.py"
    ),
    "status": Command("dlib.status", "list experiments: progress, best CorLoc, time left"),
    "compare": Command("dlib.compare", "show experiments side by side"),
    "figure": Command("dlib.figure", "draw a figure for a paper: frames as rows, models as columns"),
    "score-maps": Command("dlib.score_maps", "measure maps that another program has made"),
    "localize": Command("dlib.localize", "find the objects in videos or pictures"),
    "export": Command("dlib.export", "write a trained model for other programs (ONNX, TorchScript)"),
    "measure": Command("dlib.localizer.measure", "measure what smoothing and tracks do to the boxes"),
    "promote": Command("dlib.promote", "copy a trained classifier to where CoLo-CAM looks for it"),
    "study": Command("dlib.study", "run all variants and seeds of a study file"),
    "gain": Command("dlib.study.gain", "say what CoLo-CAM adds to its classifier"),
    "selfcheck": Command(
        "dlib.selfcheck", "compare this machine's results with the CPU's, and measure its speed"
    ),
    "import": Command("dlib.datasets.import_videos", "make a dataset from your own videos"),
    "inspect": Command("dlib.datasets.inspect", "check a dataset before training"),
    "download": Command("dlib.datasets.download", "download YouTube-Objects and make its dataset"),
    "build-v1": Command("dlib.datasets._video_ds_ytov1_0", "make the dataset of YouTube-Objects v1.0"),
    "build-v2": Command("dlib.datasets._video_ds_ytov2_2", "make the dataset of YouTube-Objects v2.2"),
    "synthetic": Command("dlib.datasets.synthetic", "draw the synthetic videos"),
    "completion": Command("dlib.commands.completion", "print the completion for bash"),
}
# The generator belongs to the checkout, whose demo uses it; an installed program does not have it.
if not (Path(__file__).parents[1] / "datasets" / "synthetic").is_dir():
    del COMMANDS["synthetic"]
