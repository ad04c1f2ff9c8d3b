"""What every loss term gets and returns, and the weighted sum of the active terms.

Terms are means over samples, seed pixels or sequences of the *global* batch. Each process divides its own sum by the
mean count over the processes. So the mean of the gradients over processes is what a single process would get.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dlib.losses.elb import ELB
from dlib.utils.distributed import mean_over_processes
from dlib.utils.timing import StepClock

_HALF = (torch.float16, torch.bfloat16)


@dataclass
class LossInputs:
    """One training batch as the terms see it. Half-precision tensors become float32.

    Raises ValueError when shapes do not fit.
    """

    map_logits: Tensor  # [B, 2, H, W], 0 background, 1 foreground
    probabilities: Tensor  # [B, 2, H, W], softmax of map_logits over the maps
    images: Tensor  # [B, 3, H, W] float, 0..255, the network's crop before normalization
    sequence: Tensor  # [B] int64: frames of one video have the same number
    order: Tensor  # [B] int64: place of the frame in its video
    seeds: Tensor | None = None  # [B, H, W] int64: 1, 0 or the ignore index
    cams: Tensor | None = None  # [B, H, W] in 0..1, the CAMs that seeds are drawn from
    deep_features: Tensor | None = None  # [B, D, h, w] the decoder's last maps
    roi_boxes: Tensor | None = None  # [B, 4] x0, y0, x1, y1 inclusive, pixels
    fg_sizes: Tensor | None = None  # [B] share of the image that is foreground, 0..1
    class_logits: Tensor | None = None  # [B, C]
    labels: Tensor | None = None  # [B] int64
    _batch_mean: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        shape = self.map_logits.shape
        if len(shape) != 4 or shape[1] != 2 or self.probabilities.shape != shape:
            raise ValueError(
                f"map_logits and probabilities must both be [B, 2, H, W], got {list(shape)} and "
                f"{list(self.probabilities.shape)}"
            )
        for name, value in list(vars(self).items()):
            if value is None:
                continue
            if len(value) != shape[0]:
                raise ValueError(f"{name} has {len(value)} samples, map_logits {shape[0]}")
            if value.dtype in _HALF:
                setattr(self, name, value.float())

    @property
    def batch_mean(self) -> Tensor:
        """Mean batch size over the processes, float []; the first use is a collective call."""
        if self._batch_mean is None:
            self._batch_mean = mean_over_processes(self.map_logits.new_full((), float(len(self.map_logits))))
        return self._batch_mean

    def sample_mean(self, values: Tensor) -> Tensor:
        """Mean over the samples [B] of the global batch."""
        return values.sum() / self.batch_mean

    @property
    def zero(self) -> Tensor:
        """0 with a graph, so that ``backward`` works even if no term has a value."""
        return (self.map_logits * 0).sum()


class LossTerm(NamedTuple):
    """Result of a term."""

    value: Tensor  # [] weighted, differentiable
    unweighted: Tensor  # [] before weighting, detached


class Term(nn.Module, ABC):
    """A term of the total loss: ``weight`` times its objective, in float32 also under autocast.

    Args:
        name: its name in logs and in the total; None: the class's own ``name``.
        weight: λ.
        start_epoch, end_epoch: first and last epoch in which the term is on; −1: no end. The first
            epoch is 1.
        warmup_epochs: λ grows linearly over so many epochs from the start epoch on; 0: full λ from the start.
    Raises ValueError if end_epoch is before start_epoch.
    """

    name: str
    work: ClassVar[str] = "other"  # the kind of work for which its seconds are counted
    from_cams: tuple[str, ...] = ()  # the fields of LossInputs that it needs and that are made from CAMs

    def __init__(
        self,
        *,
        name: str | None = None,
        weight: float = 1.0,
        start_epoch: int = 0,
        end_epoch: int = -1,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.name = name or self.name
        if end_epoch < -1 or (end_epoch != -1 and end_epoch < start_epoch):
            raise ValueError(
                f"{self.name}: end_epoch must be -1 or >= start_epoch {start_epoch}, got {end_epoch}"
            )
        self.weight = float(weight)
        self.start_epoch = start_epoch
        self.end_epoch = end_epoch
        self.warmup_epochs = warmup_epochs

    def warmup(self, epoch: int) -> float:
        """Share of λ that is used in ``epoch``: 1/n, 2/n, … 1 over the n epochs of the warm-up."""
        done = epoch - max(self.start_epoch, 1) + 1
        return min(done / self.warmup_epochs, 1.0) if self.warmup_epochs else 1.0

    def active(self, epoch: int) -> bool:
        """Whether the term is on in ``epoch``."""
        return self.start_epoch <= epoch and (self.end_epoch == -1 or epoch <= self.end_epoch)

    @abstractmethod
    def compute(self, inputs: LossInputs) -> Tensor:
        """The term before weighting, a differentiable scalar."""

    def objective(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        """The value that λ multiplies (differentiable) and the unweighted term in the log, both scalars.

        They are the same value unless the term has another scale besides λ.
        """
        unweighted = self.compute(inputs)
        return unweighted, unweighted

    def forward(self, inputs: LossInputs) -> LossTerm:
        """Raises ValueError when ``inputs`` lacks what the term needs."""
        with torch.autocast(inputs.map_logits.device.type, enabled=False):
            objective, unweighted = self.objective(inputs)
            return LossTerm(self.weight * objective, unweighted.detach())

    def need(self, value: Tensor | None, what: str) -> Tensor:
        """``value``, or a ValueError that says which input of this term is missing."""
        if value is None:
            raise ValueError(f"{self.name} needs LossInputs.{what}")
        return value


class BarrierTerm(Term):
    """A term made of constraints f <= 0; terms that share one ``elb`` have the same t.

    Args:
        elb: the barrier; None: its own one.
    """

    def __init__(self, elb: ELB | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.elb = elb or ELB()


class TotalLoss(nn.Module):
    """Sum of the active terms. Raises ValueError for two terms of one name."""

    def __init__(self, terms: Iterable[Term]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        names = [term.name for term in self]
        if len(set(names)) != len(names):
            raise ValueError(f"terms must have different names, got {names}")

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)  # type: ignore[arg-type]

    def forward(
        self, inputs: LossInputs, epoch: int, clock: StepClock | None = None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Total, weighted terms by name (differentiable) and unweighted terms by name (detached) in ``epoch``.

        ``clock`` counts each term's seconds under the term's kind of work.
        """
        clock = clock or StepClock()
        values: dict[str, Tensor] = {}
        unweighted: dict[str, Tensor] = {}
        for term in self:
            if term.active(epoch):
                with clock.measure(term.work):
                    value, unweighted[term.name] = term(inputs)
                    values[term.name] = term.warmup(epoch) * value
        return sum(values.values(), start=inputs.zero), values, unweighted

    def update_t(self) -> None:
        """Call it after every epoch: updates t of all barriers; a barrier that several terms share only once."""
        for module in self.modules():  # gives a shared module once
            if isinstance(module, ELB):
                module.update_t()
