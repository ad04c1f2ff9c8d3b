"""Work that repeats with the same shapes, as CUDA graphs: one launch in the place of hundreds.

A training step of CoLo-CAM starts about two thousand kernels. An H100 finishes them faster than its host can start
them. What is the same in every step, and neither reads a value nor needs a gradient, is therefore recorded once and
replayed.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]
Replay = Callable[[Sequence[Tensor]], Outputs]
_WARM_UP = 2  # plain calls before recording: kernels are compiled and chosen in them
_MOST_GRAPHS = 4  # of one function; a graph holds the memory that its function needs
# A recording takes as long as tens of calls, so that arguments that change often are not recorded.
_CALLS_PER_RECORDING = 50

_active: ContextVar[bool] = ContextVar("replaying", default=False)


@contextmanager
def replaying(on: bool) -> Iterator[None]:
    """Inside the context, functions that are ``Graphed`` replay graphs on a card."""
    token = _active.set(on)
    try:
        yield
    finally:
        _active.reset(token)


@dataclass
class _Entry:
    calls: int = 0
    replay: Replay | None = None
    failed: bool = False


class Graphed:
    """A function of tensors without gradient, replayed as a graph where that is possible, else called.

    The function may use its tensors and its static arguments alone. It must not read a value of a tensor, and no shape
    may depend on values. The memory of weights that it reads must stay where it is.

    Args:
        function: (tensors, static arguments by name) -> tuple of tensors.
        copies: return copies of the outputs. Without, the outputs are overwritten by the next call.
    """

    def __init__(self, function: Callable[..., Outputs], *, copies: bool = True) -> None:
        self._function, self._copies = function, copies
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._calls = self._recordings = 0

    @torch.no_grad()
    def __call__(self, *tensors: Tensor, **static: Hashable) -> Outputs:
        if not (_active.get() and _on_card(tensors)):
            return self._function(*tensors, **static)
        entry = self._entry(tensors, static)
        entry.calls += 1
        self._calls += 1
        if entry.calls > _WARM_UP and entry.replay is None and not entry.failed and self._pays():
            self._recordings += 1
            try:
                entry.replay = _record(self._function, tensors, static)
            except RuntimeError as error:
                entry.failed = True
                reason = " ".join(str(error).split())[:200]
                warnings.warn(
                    f"a CUDA graph cannot be recorded; the work is done without it ({reason})", stacklevel=2
                )
        if entry.replay is None:
            return self._function(*tensors, **static)
        found = entry.replay(tensors)
        return tuple(tensor.clone() for tensor in found) if self._copies else found

    def _pays(self) -> bool:
        """Whether one more recording is worth its time, by the calls so far."""
        first_ones = self._recordings < _MOST_GRAPHS
        return first_ones or self._calls >= _CALLS_PER_RECORDING * self._recordings

    def _entry(self, tensors: Sequence[Tensor], static: dict[str, Hashable]) -> _Entry:
        """What is known of calls with such arguments; the entry that was not used for the longest time is dropped."""
        layouts = tuple((t.shape, t.stride(), t.dtype, t.device) for t in tensors)
        mixed = (torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
        key = (layouts, mixed, tuple(sorted(static.items())))
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        while len(self._entries) > _MOST_GRAPHS:
            self._entries.popitem(last=False)
        return entry


def _on_card(tensors: Sequence[Tensor]) -> bool:
    return all(tensor.is_cuda for tensor in tensors)


def _record(function: Callable[..., Outputs], tensors: Sequence[Tensor], static: dict[str, Any]) -> Replay:
    """Record the function as a CUDA graph on copies of the tensors."""
    inputs = [tensor.clone() for tensor in tensors]
    side = torch.cuda.Stream(inputs[0].device)
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function(*inputs, **static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as the one that fills page-locked memory, do not disturb the recording.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        outputs = function(*inputs, **static)

    def replay(given: Sequence[Tensor]) -> Outputs:
        for target, source in zip(inputs, given, strict=True):
            target.copy_(source)
        graph.replay()
        return outputs

    return replay
