"""The base of all tasks: the model, its maps, what the optimizer trains, and one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.datasets.splits import Data
from dlib.datasets.video_dataset import RegionFinder, VideoDataset
from dlib.models import FINISH, CamClassifier, MapMaker, load_best_model, load_fitting_weights
from dlib.utils.logging import logger
from dlib.utils.signals import StopRequest
from dlib.utils.timing import StepClock


@dataclass
class StepResult:
    """The result of one training step: the loss to minimize, and what to log about it."""

    loss: Tensor  # scalar, differentiable
    terms: dict[str, Tensor] = field(default_factory=dict)  # weighted value of each term
    unweighted: dict[str, Tensor] = field(default_factory=dict)  # value of each term before its weight
    correct: Tensor | None = None  # how many samples were classified right
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """Work of a run besides training steps and evaluation; ``--dry_run`` measures its time.

    Attributes:
        title: its name in the line of the dry run; times of works with the same title are added.
        frames: how many frames it handles in the whole run.
        handle: does it for a batch.
        shared: whether the processes share the frames.
    """

    title: str
    frames: int
    handle: Callable[[Batch], Any]
    shared: bool = True


@dataclass(frozen=True)
class Examples:
    """Training frames with their pseudo-labels, for the report's pictures; ``batch`` is on the CPU."""

    batch: Batch
    cams: Tensor  # [B, H, W]
    seeds: Tensor  # [B, H, W]
    boxes: Tensor  # [B, 4] of the regions of interest


class Task(ABC):
    """One way to train and to localize. A new method is one subclass, named in TASKS of dlib/configure/constants.py.

    Attributes:
        trains_maps: whether training makes the maps themselves; classification then says nothing about them.
        advice: what to change if its maps become all foreground or all background.
        bfloat16: whether training steps on a CPU compute in bfloat16; None: not chosen yet, then they do not.
    """

    trains_maps: ClassVar[bool] = False
    advice: ClassVar[str] = "lower --opt__lr"

    def __init__(
        self, cfg: Config, classes: list[str], device: torch.device, initialize: bool = True
    ) -> None:
        """
        Args:
            cfg: the flags.
            classes: class names, in the order of the logits.
            device: where the model lives.
            initialize: start from pretrained weights as the flags say; False if other weights are loaded next.
        """
        self.cfg = cfg
        self.initialize = initialize
        self.classes = classes
        self.device = device
        self.bfloat16: bool | None = None
        self.model = self.build_model()
        if initialize and cfg.path_pre_trained is not None:
            self._start_from(Path(cfg.path_pre_trained))
        self.memory_format = torch.channels_last if self._wants_channels_last() else torch.contiguous_format
        self.model.to(device).to(memory_format=self.memory_format)
        # The module that training calls: the model itself, or its distributed or compiled wrapper.
        self.network: nn.Module = self.model

    @abstractmethod
    def build_model(self) -> CamClassifier:
        """The model with its initial weights, on the CPU."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimizer trains: dicts with ``params`` and a base ``lr``."""

    @abstractmethod
    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        """Losses of one minibatch; with ``diagnose`` also the numbers that need extra time."""

    @property
    def maps(self) -> MapMaker:
        """What makes the model's localization maps."""
        cfg = self.cfg
        return MapMaker(
            self.model,
            cfg.method,
            chunk_size=cfg.cam_chunk_size,
            amp_dtype=self.amp_dtype(cfg.amp_eval),
            memory_format=self.memory_format,
            **{field: getattr(cfg, flag) for flag, field in FINISH.items()},
        )

    def set_sampling(self, train: VideoDataset) -> None:
        """Called before the train loader is made; may change which frames of a shot a sample has."""

    def prepare(self, data: Data, stop: StopRequest) -> None:
        """Called once before training, in every process; may give the train split its CAMs."""

    def region_reader(self) -> RegionFinder | None:
        """What finds the regions of the train frames' CAMs where these are read; None: the task needs none."""
        return None

    def close(self) -> None:
        """Called at the end of a run, also of a failed one; releases what ``prepare`` has taken."""

    def references(self) -> dict[str, MapMaker]:
        """Other map makers, by name, that are measured on the test split for comparison."""
        return {}

    def diagnostics(self, epoch: int) -> dict[str, float | None]:
        """Numbers for the summary of a finished epoch, besides the means of its steps; None: not known."""
        return {}

    def examples(self, data: Data) -> Examples | None:
        """Frames of the first epoch with their pseudo-labels; None if the task has none."""
        return None

    def extra_work(self, data: Data) -> list[Work]:
        """Work of a run besides steps and evaluation."""
        return []

    def start_epoch(self, epoch: int) -> None:
        """Called before every training epoch, with the model in training mode."""

    def end_epoch(self) -> None:
        """Called after every training epoch."""

    def on_new_best(self) -> None:
        """Called when the model has become the best so far by localization."""

    def restore_best(self, weights: Path) -> None:
        """Called on resuming, with the file of the best weights so far by localization."""

    def loss_state(self) -> dict[str, Any]:
        """The state of the losses that changes during training."""
        return {}

    def load_loss_state(self, state: dict[str, Any]) -> None:
        """The counterpart of ``loss_state``."""

    def amp_dtype(self, wanted: bool) -> torch.dtype | None:
        """Number type of mixed precision in evaluation, if it is ``wanted`` and the device has it; None: float32.

        CPUs evaluate in float32: the numbers of a checkpoint then do not depend on what the processor has.
        """
        if not wanted or self.device.type != "cuda":
            return None
        return torch.bfloat16 if self.cfg.amp_dtype == "bfloat16" else torch.float16

    def training_dtype(self, wanted: bool) -> torch.dtype | None:
        """The same in training: on a CPU bfloat16, if the run has chosen it (``dlib/learning/precision.py``)."""
        if self.device.type == "cpu":
            return torch.bfloat16 if wanted and self.bfloat16 else None
        return self.amp_dtype(wanted)

    def autocast(self, wanted: bool) -> torch.autocast:
        """Mixed precision in training, as `training_dtype` says."""
        dtype = self.training_dtype(wanted)
        return torch.autocast(self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    @property
    def bfloat16_layout(self) -> torch.memory_format:
        """Memory layout of images for passes in bfloat16 on a CPU: channels_last unless ``--channels_last`` says no.

        The weights keep theirs, so that an evaluation of them gives the same bits.
        """
        return torch.contiguous_format if self.cfg.channels_last == "false" else torch.channels_last

    def images(self, batch: Batch) -> Tensor:
        """The network's input [B, 3, H, W] in training, normalized, in the memory layout that suits the network."""
        layout = self.bfloat16_layout if self.bfloat16 else self.memory_format
        return batch.images.contiguous(memory_format=layout)

    def _start_from(self, weights: Path) -> None:
        """Fill the model from a best model that the user names."""
        if self.cfg.strict:
            load_best_model(self.model, weights, promoted=Path(self.cfg.pretrained_root))
            return
        unfilled = load_fitting_weights(self.model, weights)
        if unfilled:
            logger.info(
                f"{weights} has no values for {len(unfilled)} weights of the network, such as {unfilled[0]}"
            )

    def _wants_channels_last(self) -> bool:
        """``--channels_last``; auto: on CUDA for every encoder, on a CPU for training in bfloat16 alone.

        cuDNN's tensor-core convolutions work on channels-last tensors, and reorder all others before and after. On a
        CPU oneDNN reorders to its own layouts in both cases, so that float32 gains little and the common order is
        kept.
        """
        if self.cfg.channels_last == "auto":
            return self.device.type == "cuda"
        return self.cfg.channels_last == "true"
