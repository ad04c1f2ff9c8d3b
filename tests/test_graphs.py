"""Functions that replay as CUDA graphs, played on the CPU; tests/test_cuda_training.py has real graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from dlib.utils import graphs
from dlib.utils.graphs import Graphed, Outputs, Replay, replaying


class Recorder:
    """Records as CUDA does: on its own inputs, with outputs that every replay overwrites."""

    def __init__(self) -> None:
        self.recordings = 0

    def __call__(
        self, function: Callable[..., Outputs], tensors: Sequence[Tensor], static: dict[str, Any]
    ) -> Replay:
        self.recordings += 1
        inputs = [tensor.clone() for tensor in tensors]
        outputs = function(*inputs, **static)

        def replay(given: Sequence[Tensor]) -> Outputs:
            for target, source in zip(inputs, given, strict=True):
                target.copy_(source)
            for output, value in zip(outputs, function(*inputs, **static), strict=True):
                output.copy_(value)
            return outputs

        return replay


@pytest.fixture(autouse=True)
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Records in the place of CUDA, as if the tensors were on a card."""
    made = Recorder()
    monkeypatch.setattr(graphs, "_on_card", lambda tensors: True)
    monkeypatch.setattr(graphs, "_record", made)
    return made


def times(x: Tensor, *, factor: int) -> tuple[Tensor]:
    return (x * factor,)


def test_calls_give_what_the_function_gives(recorder: Recorder) -> None:
    graphed = Graphed(times)
    with replaying(True):
        for call in range(6):
            x = torch.full((3,), float(call))
            assert graphed(x, factor=2)[0].tolist() == [2.0 * call] * 3
            assert graphed(x, factor=5)[0].tolist() == [5.0 * call] * 3
    assert recorder.recordings == 2  # one a static argument, after two plain calls


def test_outside_of_a_step_nothing_is_recorded(recorder: Recorder) -> None:
    graphed = Graphed(times)
    for _ in range(5):
        graphed(torch.ones(2), factor=3)
    with replaying(False):
        graphed(torch.ones(2), factor=3)
    assert recorder.recordings == 0


@pytest.mark.parametrize("copies", [True, False])
def test_outputs_are_copies_unless_they_may_be_overwritten(copies: bool) -> None:
    graphed = Graphed(times, copies=copies)
    with replaying(True):
        found = [graphed(torch.tensor([float(call)]), factor=1)[0] for call in range(5)]
    assert [float(value) for value in found] == ([0, 1, 2, 3, 4] if copies else [0, 1, 4, 4, 4])


def test_other_shapes_and_layouts_are_other_graphs_and_old_ones_are_dropped(recorder: Recorder) -> None:
    graphed = Graphed(times)
    with replaying(True):
        for _ in range(3):
            graphed(torch.ones(2, 3), factor=1)
            graphed(torch.ones(3, 2).t(), factor=1)
        assert recorder.recordings == 2
        for size in range(4, 8):
            graphed(torch.ones(size), factor=1)
        graphed(torch.ones(2, 3), factor=1)  # begins again with plain calls
    assert recorder.recordings == 2


def test_what_cannot_be_recorded_is_called_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "_record", fails)
    graphed = Graphed(times)
    with replaying(True), warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [float(graphed(torch.ones(1), factor=call)[0]) for call in (2, 2, 2, 2)]
    assert found == [2, 2, 2, 2]
    assert len(said) == 1
    assert "a CUDA graph cannot be recorded" in str(said[0].message)


def test_outputs_have_no_gradient() -> None:
    graphed = Graphed(times)
    with replaying(True):
        assert not graphed(torch.ones(1, requires_grad=True), factor=2)[0].requires_grad


def test_arguments_that_change_all_the_time_are_not_recorded_again_and_again(recorder: Recorder) -> None:
    """Six shapes in turns, three calls each: their graphs would be dropped before they are used."""
    graphed = Graphed(times)
    with replaying(True):
        for turn in range(10):
            for size in range(1, 7):
                for _ in range(3):
                    assert (
                        graphed(torch.full((size,), float(turn)), factor=2)[0].tolist() == [2.0 * turn] * size
                    )
    assert recorder.recordings <= 4 + 180 // 50
