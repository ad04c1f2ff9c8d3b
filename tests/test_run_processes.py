"""Runs of several processes on one machine, with gloo on the CPU."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from dlib.utils import distributed
from dlib.utils.errors import UsageError
from helpers.gradients import gradients_by_task
from helpers.logs import events
from helpers.plain_processes import free_port, launch, variables
from helpers.programs import popen, same_signals, start, torchrun
from helpers.workplace import TASK_FLAGS, Workplace


def same(a: object, b: object, where: str = "") -> list[str]:
    """Paths at which two reports differ by more than float noise; curves, which jump, apart."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = (a.keys() | b.keys()) - {"curves"}
        return [f for key in keys for f in same(a.get(key), b.get(key), f"{where}/{key}")]
    if isinstance(a, float) and isinstance(b, float):
        return [] if a == pytest.approx(b, rel=1e-4, abs=1e-4) else [f"{where}: {a} {b}"]
    return [] if a == b else [f"{where}: {a} {b}"]


MAIN = "import sys; from main import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_two_processes_equal_one(workplace: Workplace) -> None:
    """The encoder's batch norm is frozen: the head then sees no batch statistics. 9 frames over 2 processes."""
    more = {"freeze_encoder": True, "max_epochs": 1, "num_val_sample_per_class": 3, "opt__lr": 0.01}
    more |= {"box_features": True, "box_frames": 2}  # pairs of frames must come to one process
    one = start(workplace.flags(**more, batch_size=4, exp_id="one"))
    assert one[0] == 0, one[2]
    flags = workplace.flags(**more, batch_size=2, exp_id="two", local_world_size=2)
    ended = launch(workplace.folder, MAIN, *flags)
    assert [end.code for end in ended] == [0, 0], ended
    assert [end.out.count("done in") for end in ended] == [1, 0]  # one process talks
    results = {}
    for name in ("one", "two"):
        folder = workplace.experiment(exp_id=name)
        results[name] = json.loads((folder / "results.json").read_text())
    for entry in results["two"]["epochs"]:
        assert entry["val"]["samples"] == 9
    val = [[entry["val"] for entry in results[name]["epochs"]] for name in ("one", "two")]
    assert not [found for a, b in zip(*val, strict=True) for found in same(a, b)]
    assert not same(results["one"]["test"], results["two"]["test"])
    newest = [
        torch.load(
            max((workplace.experiment(exp_id=name) / "checkpoints").glob("*_checkpoint.pth")),
            weights_only=True,
        )
        for name in ("one", "two")
    ]
    assert newest[0]["position"]["step"] == newest[1]["position"]["step"] == 3
    for key, value in newest[0]["model"].items():
        torch.testing.assert_close(newest[1]["model"][key], value, rtol=1e-4, atol=1e-6)
    loss = [event["loss"] for event in events(workplace.experiment(exp_id="one"), "step")]
    assert len(loss) == 3


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def test_a_process_that_dies_ends_the_others(workplace: Workplace) -> None:
    flags = workplace.flags(max_epochs=1000, local_world_size=2, checkpoint_save=100000)
    launcher = popen(flags, torchrun(2))
    try:
        log = workplace.experiment() / "log.jsonl"
        deadline = time.monotonic() + 400
        while not (log.exists() and '"event": "step"' in log.read_text()):
            assert launcher.poll() is None, launcher.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        workers = children(launcher.pid)
        victim = next(p for p in workers if b"LOCAL_RANK=1" in Path(f"/proc/{p}/environ").read_bytes())
        begin = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        _, error = launcher.communicate(timeout=120)
        assert time.monotonic() - begin < 30
    finally:
        launcher.kill()
        launcher.wait()
    assert launcher.returncode != 0
    assert "SIGKILL" in error or "another process of the run ended" in error
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def enter(backend: str, local_world_size: int) -> None:
    with distributed.process_group(backend, local_world_size, "", torch.device("cpu")):
        raise AssertionError("must not get here")


def test_counts_of_processes_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"--local_world_size 2 needs torchrun --nproc_per_node=2"):
        enter("gloo", 2)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(
        UsageError, match="torchrun started 2 processes on this node; give --local_world_size=2"
    ):
        enter("gloo", 1)
    with pytest.raises(UsageError, match="nccl needs CUDA cards; use --dist_backend gloo"):
        enter("nccl", 2)


@pytest.mark.parametrize(
    ("cards", "cudaid", "processes", "message"),
    [
        (0, "0", 1, "no CUDA card can be used here"),
        (1, "0", 2, "card 1 does not exist .this machine has 1.: start fewer processes"),
        (2, "0,1", 3, "--cudaid 0,1 names 2 cards, but this machine runs 3 processes"),
        (2, "5", 1, "card 5 does not exist"),
        (2, "x", 1, "expected card numbers"),
    ],
)
def test_cards_that_do_not_exist(
    monkeypatch: pytest.MonkeyPatch, cards: int, cudaid: str, processes: int, message: str
) -> None:
    """Every process says the same, so that none waits for one that has given up."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    for rank in range(processes):
        with pytest.raises(UsageError, match=message):
            distributed.pick_device("cuda", cudaid, rank, processes)


def test_each_process_takes_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert [distributed.pick_device("auto", "1", rank, 3).index for rank in range(3)] == [1, 2, 3]
    assert [distributed.pick_device("auto", "3,0", rank, 2).index for rank in range(2)] == [3, 0]
    assert distributed.pick_device("cpu", "9", 0, 1).type == "cpu"


def fail_inside(error: Exception) -> None:
    with distributed.process_group("gloo", 1, "", torch.device("cpu")):
        assert distributed.world_size() == 1
        assert distributed.gather_objects(3) == [3]
        raise error


def play(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int, port: int) -> None:
    """Make this process one of several."""
    for name, value in variables(rank, processes, port).items():
        monkeypatch.setenv(name, value)


def test_a_lost_peer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, 0, 1, free_port())
    for error, expected in (
        (torch.distributed.DistBackendError("x"), distributed.UserError),
        (RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer"), distributed.UserError),
        (RuntimeError("shapes do not fit"), RuntimeError),
    ):
        with pytest.raises(expected):
            fail_inside(error)
    assert not distributed.is_running()


def meet(init_method: str = "") -> str:
    """The one line with which a process that does not find the others ends."""
    with (
        pytest.raises(distributed.UserError) as found,
        distributed.process_group("gloo", 2, init_method, torch.device("cpu")),
    ):
        raise AssertionError("must not get here")
    assert "\n" not in str(found.value)
    assert not distributed.is_running()
    return str(found.value)


def test_a_busy_port_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        play(monkeypatch, 0, 2, port)
        message = meet()
    assert f"process 0 of 2 does not meet the others at localhost:{port}" in message
    assert "address already in use" in message.lower()
    assert "--master_port that no other run uses" in message


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("method", ["env", "tcp"])
def test_processes_that_do_not_meet_are_one_line(
    monkeypatch: pytest.MonkeyPatch, rank: int, method: str
) -> None:
    """The first waits for one that was never started; the second looks for a first that is not there."""
    monkeypatch.setattr(distributed, "MEETING_TIME", timedelta(seconds=0.5))
    port = free_port()
    play(monkeypatch, rank, 2, port)
    begin = time.monotonic()
    message = meet("" if method == "env" else f"tcp://localhost:{port}")
    assert f"process {rank} of 2 does not meet the others at" in message
    assert f"localhost:{port}" in message
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("missing", ["MASTER_ADDR", "MASTER_PORT"])
def test_a_launcher_that_does_not_say_where_to_meet(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    play(monkeypatch, 0, 2, 1)
    monkeypatch.delenv(missing)
    assert f"(no {missing})" in meet()


STEP_FAILS = """
import os, sys
from dlib.learning.trainer import Trainer
from dlib.utils.errors import UserError
from main import main

step, steps = Trainer._step, []

def fail(self, *arguments):
    steps.append(1)
    if os.environ["RANK"] == sys.argv[1] and len(steps) == 2:
        raise UserError("a frame of this process cannot be read")
    return step(self, *arguments)

Trainer._step = fail
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_ends_the_others(workplace: Workplace, failing: int) -> None:
    """Also without torchrun, which would end them."""
    flags = workplace.flags(max_epochs=1000, local_world_size=2)
    ended = launch(workplace.folder, STEP_FAILS, str(failing), *flags)
    assert [end.code for end in ended] == [1, 1], ended
    assert "a frame of this process cannot be read" in ended[failing].error
    assert "another process of the run ended" in ended[1 - failing].error
    assert "Traceback" not in ended[0].error + ended[1].error
    assert abs(ended[0].at - ended[1].at) < 30


GRADIENTS = """
import json, os, sys
import torch
from helpers.gradients import gradients_by_task

torch.save(gradients_by_task(json.loads(sys.argv[2]), 2), f"{sys.argv[1]}{os.environ['RANK']}.pt")
"""


@pytest.fixture(scope="module")
def gradients(
    trained: Workplace, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, list[dict[str, dict[str, Any]]]]:
    """By the number of processes, and by rank: each task's gradients of the same four frames (or shots)."""
    folder = tmp_path_factory.mktemp("gradients")
    (folder / "pretrained").symlink_to(trained.folder / "pretrained")
    place, lines = Workplace(folder, trained.datasets, trained.folds), {1: [], 2: []}
    for processes in lines:
        for task, flags_of in TASK_FLAGS.items():
            size = (
                12 if task == "TCAM" else 4
            ) // processes  # TCAM: up to three frames of each of four shots
            more = {"batch_size": size, "exp_id": f"of{processes}", "local_world_size": processes}
            if task == "TCAM":  # else frames are repeated, and other ones if there are two minibatches
                more["fill_small_tr_batch"] = False
            lines[processes].append(place.flags(task, **flags_of(), **more))
    with same_signals():
        one = gradients_by_task(lines[1], 1)
    ended = launch(folder, GRADIENTS, str(folder / "rank"), json.dumps(lines[2]))
    assert [end.code for end in ended] == [0, 0], ended
    return {1: [one], 2: [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASK_FLAGS)
def test_gradients_of_two_processes_equal_those_of_one(
    gradients: dict[int, list[dict[str, dict[str, Any]]]], task: str
) -> None:
    """The same four frames (or shots) as one minibatch, and as two; batch norm evaluates."""
    whole, *halves = (found[task] for found in (*gradients[1], *gradients[2]))
    assert sorted(halves[0]["ids"] + halves[1]["ids"]) == whole["ids"]
    assert whole["gradients"]
    largest = max(float(gradient.abs().max()) for gradient in whole["gradients"].values())
    assert largest > 0
    for half in halves:
        assert half["gradients"].keys() == whole["gradients"].keys()
        for name, gradient in whole["gradients"].items():
            torch.testing.assert_close(
                half["gradients"][name],
                gradient,
                rtol=1e-3,
                atol=1e-5 * largest,
                msg=lambda m, n=name: f"{n}: {m}",
            )
