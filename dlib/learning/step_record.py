"""What is known of a training step, its way from the device to the log, and the epoch that it is summed up for."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlib.utils.logging import EventLog
from dlib.utils.timing import StepClock

# Kinds of numbers of a step by their key "kind/name": weighted and unweighted terms, and what shows a collapse.
TERMS, UNWEIGHTED, DIAGNOSTICS = "terms", "raw", "diagnostics"


@dataclass
class Position:
    """How far a run is; part of every checkpoint."""

    epoch: int = 0  # the current epoch, or the one just finished; 0 before training
    step_in_epoch: int = 0  # minibatches of that epoch that are done
    step: int = 0  # minibatches of the run that are done, over all epochs
    trained: bool = True  # that epoch's training is complete
    validated: bool = False  # and its validation too
    skipped_in_row: int = 0  # minibatches in a row that were skipped
    sums: dict[str, float] = field(default_factory=dict)  # this epoch's sums over minibatches
    counts: dict[str, float] = field(default_factory=dict)

    def add(self, key: str, value: float, count: float = 1.0) -> None:
        """Add a minibatch's number; one that is not finite is left out, and does not hide the whole epoch's mean."""
        if math.isfinite(value):
            self.sums[key] = self.sums.get(key, 0.0) + value
            self.counts[key] = self.counts.get(key, 0.0) + count

    def means(self) -> dict[str, Any]:
        """Means over the epoch's minibatches, grouped as ``log.jsonl`` has them."""
        grouped: dict[str, Any] = defaultdict(dict)
        for key, value in self.sums.items():
            kind, _, name = key.partition("/")
            mean = value / self.counts[key]
            if name:
                grouped[kind][name] = mean
            else:
                grouped[kind] = mean
        return dict(grouped)


class Readout:
    """Scalars of one training step: gathered in one tensor, copied to the host without a wait, read later.

    On CUDA the copy goes to page-locked memory while the host continues. The host waits only if it asks for the values
    before they are there; one step later they are.
    """

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        """``numbers``: tensors of one element; they are gathered where the first is. float32 is enough for a log."""
        self._names = list(numbers)
        device = next(iter(numbers.values())).device
        gathered = torch.stack(
            [
                value.detach().to(device, torch.float32, non_blocking=True).reshape(())
                for value in numbers.values()
            ]
        )
        self._host = gathered.to("cpu", non_blocking=True)
        self._copied: torch.cuda.Event | None = None
        if gathered.is_cuda:
            self._copied = torch.cuda.Event()
            self._copied.record(torch.cuda.current_stream(gathered.device))

    def values(self) -> dict[str, float]:
        """The numbers by name; waits until they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        return dict(zip(self._names, self._host.tolist(), strict=True))


@dataclass(frozen=True)
class StepRecord:
    """A step whose numbers may still be on the device."""

    number: int
    images: int
    rates: list[float]
    readout: Readout
    clock: StepClock
    elapsed: float  # seconds of the host

    def log(self, numbers: dict[str, float], position: Position, events: EventLog | None) -> str:
        """Add the numbers to the epoch's sums and, if there is a log, write them there; a text for the screen."""
        seconds = self.clock.take()
        seconds["other"] = max(self.elapsed - sum(seconds.values()), 0.0) + seconds.get("other", 0.0)
        kinds: dict[str, dict[str, float]] = {TERMS: {}, UNWEIGHTED: {}, DIAGNOSTICS: {}}
        for key, value in numbers.items():
            kind, _, name = key.partition("/")
            if kind in kinds:
                kinds[kind][name] = value
                position.add(key, value)
        position.add("loss", numbers["loss"])
        for name, value in seconds.items():
            position.add(f"seconds/{name}", value)
        position.add("images", float(self.images))
        position.add("elapsed", self.elapsed)
        if "correct" in numbers:
            position.add("accuracy", numbers["correct"], self.images)
        speed = self.images / self.elapsed
        if events is not None:
            events.write(
                "step",
                epoch=position.epoch,
                step=self.number,
                loss=numbers["loss"],
                terms=kinds[TERMS],
                raw=kinds[UNWEIGHTED],
                lr=self.rates,
                images_per_s=speed,
                seconds=seconds,
            )
        return f"loss {numbers['loss']:.4f}, {speed:.1f} images/s"


def fault_of(numbers: dict[str, float], scaled: bool) -> str:
    """Names what was not finite in a step, in any process; an empty text for a sound step.

    ``scaled``: a scaler is in use. One that still looks for its scale is no fault.
    """
    if numbers["finite/loss"] < 1:
        terms = [(key, value) for key, value in numbers.items() if key.startswith(f"{TERMS}/")]
        bad = [key.removeprefix(f"{TERMS}/") for key, value in terms if not math.isfinite(value)]
        return f"loss ({', '.join(bad) or 'sum'}) is"
    if numbers["finite/statistics"] < 1:
        return "batch norm statistics are"
    if numbers["finite/gradients"] < 1 and not (scaled and numbers["scale"] >= 1):
        return "gradients are"
    return ""
