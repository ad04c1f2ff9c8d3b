"""What a task is made of: its model, its losses, one training step, and its CAMs for a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlib.cams import edge_maps
from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.models import CamClassifier, load_best_model, load_fitting_weights
from dlib.utils.logging import logger
from dlib.utils.timing import StepClock


@dataclass
class StepResult:
    """What one training step gives: the loss to minimize and what to log about it."""

    loss: Tensor  # scalar, differentiable
    terms: dict[str, Tensor] = field(default_factory=dict)  # weighted value of each term
    raw: dict[str, Tensor] = field(default_factory=dict)  # value of each term before its weight
    correct: Tensor | None = None  # how many samples were classified right
    diagnostics: dict[str, Tensor] = field(default_factory=dict)


class Task(ABC):
    """One way to train and to localize. A new method is one new subclass."""

    name: ClassVar[str]

    def __init__(
        self, cfg: Config, classes: list[str], device: torch.device, initialize: bool = True
    ) -> None:
        """
        Args:
            cfg: the flags.
            classes: class names, in the order of the logits.
            device: where the model lives.
            initialize: start from pretrained weights as the flags say; False where others are loaded next.
        """
        self.cfg = cfg
        self.initialize = initialize
        self.classes = classes
        self.device = device
        self.model = self.build_model()
        if initialize and cfg.path_pre_trained is not None:
            self._start_from(Path(cfg.path_pre_trained))
        self.memory_format = torch.channels_last if self._wants_channels_last() else torch.contiguous_format
        self.model.to(device).to(memory_format=self.memory_format)
        # What training calls: the model itself, or its distributed or compiled wrapper.
        self.network: nn.Module = self.model

    @abstractmethod
    def build_model(self) -> CamClassifier:
        """The model with its initial weights, on the CPU."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """What the optimizer trains: dicts with ``params`` and a base ``lr``."""

    @abstractmethod
    def training_step(self, batch: Batch, epoch: int, clock: StepClock, diagnose: bool) -> StepResult:
        """Losses of one minibatch; ``diagnose`` asks for the numbers that cost extra."""

    @abstractmethod
    def cams(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """CAMs [B, H, W] in 0..1 for the images' own labels, and class logits [B, classes]; no gradient."""

    def finish_maps(self, maps: Tensor, batch: Batch) -> Tensor:
        """Final maps [B, H, W] of ``batch`` with the edges of its frames, where the flags ask for it."""
        return edge_maps(maps, batch.raw, self.cfg.map_refine_sigma_rgb, self.cfg.map_refine_sigma_xy)

    def needs_cams(self) -> bool:
        """Whether training frames must come with the CAMs of a trained classifier."""
        return False

    def start_epoch(self, epoch: int) -> None:
        """Called before every training epoch, with the model in training mode."""

    def end_epoch(self) -> None:
        """Called after every training epoch."""

    def on_new_best(self) -> None:
        """Called when the model has become the best so far by localization."""

    def restore_best(self, weights: Path) -> None:
        """Called on resuming, with the file of the best weights so far by localization."""

    def loss_state(self) -> dict[str, Any]:
        """What the losses change during training."""
        return {}

    def load_loss_state(self, state: dict[str, Any]) -> None:
        """The counterpart of ``loss_state``."""

    def autocast(self, wanted: bool) -> AbstractContextManager[None]:
        """Mixed precision where the device computes it natively.

        CPUs stay in float32: bfloat16 is emulated on most of them, many times slower than float32.
        """
        dtype = torch.bfloat16 if self.cfg.amp_dtype == "bfloat16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype, enabled=wanted and self.device.type == "cuda")

    def images(self, batch: Batch) -> Tensor:
        """The network's input [B, 3, H, W], normalized, in the memory layout that the network likes."""
        return batch.images.contiguous(memory_format=self.memory_format)

    def _start_from(self, weights: Path) -> None:
        """Fill the model from a best model that the user names."""
        if self.cfg.strict:
            load_best_model(self.model, weights)
            return
        unfilled = load_fitting_weights(self.model, weights)
        if unfilled:
            logger.info(
                f"{weights} leaves {len(unfilled)} weights of the network as they were, such as {unfilled[0]}"
            )

    def _wants_channels_last(self) -> bool:
        """``--channels_last``; auto: on CUDA for every encoder, never on a CPU.

        cuDNN's tensor-core convolutions work on channels-last tensors and reorder all others before and after. On a
        CPU oneDNN reorders to layouts of its own either way, and the order that is common elsewhere stays.
        """
        if self.cfg.channels_last == "auto":
            return self.device.type == "cuda"
        return self.cfg.channels_last == "true"
