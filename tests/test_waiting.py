"""What waits never waits for ever: little shared memory, lost batches, stop signals while nothing comes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from dlib.cams.store import CamStore
from dlib.datasets import handover, workers
from dlib.datasets.batch import Batch
from dlib.datasets.handover import PackedBatch, fits_shared_memory
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.utils import distributed
from dlib.utils.errors import UserError
from dlib.utils.signals import Interrupted, StopRequest
from helpers.batches import loader_of, same
from helpers.paths import ROOT
from helpers.programs import environment, same_signals


class Slow(VideoDataset):
    """Asks the main process to stop, then takes a minute; workers read it under this name."""

    def load(self, requests: Sequence[FrameRequest]) -> Batch:
        main = multiprocessing.parent_process()
        assert main is not None
        assert main.pid is not None
        os.kill(main.pid, signal.SIGTERM)
        time.sleep(60)
        return super().load(requests)


class CannotBeSent(VideoDataset):
    """Its batches hold something that does not go through a pipe."""

    def load(self, requests: Sequence[FrameRequest]) -> Batch:
        batch = super().load(requests)
        batch.ids[0] = lambda: "an id"  # type: ignore[call-overload]
        return batch


def test_a_packed_batch_is_the_same() -> None:
    ones = torch.ones(2, dtype=torch.int64)
    raw, cams = torch.randint(0, 255, (2, 3, 4, 4), dtype=torch.uint8), torch.rand(2, 4, 4)
    for given in (cams, None):
        batch = Batch(raw, ones, ["a", "b"], ones, ones, ones, ones, given, ["c"])
        packed = PackedBatch(batch)
        assert not any(isinstance(v, torch.Tensor) for v in packed._arrays.values())
        found = packed.unpack()
        assert same(found, batch)
        assert found.bad_frames == ["c"]
        assert (found.cams is None) if given is None else torch.equal(found.cams, given)


@pytest.mark.parametrize(
    ("free", "fits"),
    [
        # 10 batches (2 for each of 4 workers, 2 in the main process) of 32 frames with CAMs, and as much for others:
        # 20 · 32 · (224² · 7 + 4096) = 227,409,920 bytes.
        (227_409_920, True),
        (227_409_919, False),
        (64 << 20, False),  # Docker's
        (None, False),  # there is none
    ],
)
def test_what_fits_is_counted(free: int | None, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "free_bytes", lambda _: free)
    monkeypatch.setattr(handover.sys, "platform", "linux")
    assert fits_shared_memory(32, 224, True, 4) is fits
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # a neighbour needs as much
    assert not fits_shared_memory(32, 224, True, 4) or free is None
    monkeypatch.setattr(handover.sys, "platform", "darwin")
    assert fits_shared_memory(32, 224, True, 4)


def test_batches_come_without_shared_memory(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = list(loader_of(tiny_data, workers=0).iterate(1))
    monkeypatch.setattr(workers, "fits_shared_memory", lambda *_: False)
    loader = loader_of(tiny_data)
    found = list(loader.iterate(1))
    assert not any(batch.frames.is_shared() for batch in found)
    assert len(found) == len(truth)
    assert all(map(same, found, truth))
    loader.close()


def test_a_batch_that_cannot_be_handed_over_is_one_line(
    tiny_data: Path,
) -> None:
    loader = loader_of(tiny_data, CannotBeSent)
    with pytest.raises(
        UserError, match=r"data loading process died .*/dev/shm full\? try fewer --num_workers"
    ):
        list(loader.iterate(1))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
        RuntimeError("received 0 items of ancdata"),
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nunable to allocate shared memory"),
        OSError(24, "Too many open files"),
        EOFError(),
        MemoryError(),
    ],
)
def test_whatever_ends_the_handover_is_one_line(
    tiny_data: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[Any]:
        raise error
        yield

    loader = loader_of(tiny_data)
    monkeypatch.setattr(loader, "_start", lambda _: broken())
    with pytest.raises(UserError, match=r"data loading process died .*try fewer --num_workers"):
        list(loader.iterate(1))


def test_a_fault_in_a_worker_keeps_its_traceback(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[Any]:
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nwrong shape")
        yield

    loader = loader_of(tiny_data)
    monkeypatch.setattr(loader, "_start", lambda _: broken())
    with pytest.raises(RuntimeError, match="wrong shape"):
        list(loader.iterate(1))


def test_workers_that_cannot_be_started_are_one_line(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_of(tiny_data)

    def start(_: Any) -> None:
        raise OSError(28, "No space left on device")  # no room for a semaphore

    monkeypatch.setattr(type(loader._loader), "__iter__", start)
    with pytest.raises(UserError, match=r"cannot be started .*No space left.*--num_workers"):
        list(loader.iterate(1))


def test_too_little_shared_memory_for_the_cards_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_meet", lambda *_: None)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1")
    nccl = "NCCL error: Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)"
    for said, text in (
        (nccl, "--shm-size=2g"),
        ("Connection closed by peer", "another process of the run ended"),
    ):
        with (
            pytest.raises(UserError, match=text),
            distributed.process_group("gloo", 1, "", torch.device("cpu")),
        ):
            raise torch.distributed.DistBackendError(said)


@pytest.fixture
def stop() -> Any:
    with same_signals():
        yield StopRequest(torch.device("cpu"))


def test_a_stop_signal_is_heard_while_waiting_for_a_batch(tiny_data: Path, stop: StopRequest) -> None:
    loader = loader_of(tiny_data, Slow)
    loader.while_waiting = stop.while_waiting
    began = time.monotonic()
    with pytest.raises(Interrupted, match="SIGTERM while waiting for data"):
        list(loader.iterate(1))
    loader.close()
    assert time.monotonic() - began < 45  # Slow takes 60; starting a worker takes most of this


def test_one_of_several_waits_a_little_longer(stop: StopRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    stop.while_waiting()  # nobody asked
    stop._receive(signal.SIGUSR1, None)
    monkeypatch.setattr("dlib.utils.signals.world_size", lambda: 2)
    stop.while_waiting()  # the batch may still come, and then all stop together
    monkeypatch.setattr("dlib.utils.signals.PATIENCE", 0.0)
    with pytest.raises(Interrupted, match="SIGUSR1"):
        stop.while_waiting()


def test_a_stop_signal_is_heard_while_waiting_for_the_cam_store(tmp_path: Path) -> None:
    alone, other = CamStore(tmp_path / "cams"), CamStore(tmp_path / "cams")
    assert alone.hold_alone()
    calls = iter(range(3))

    def waiting() -> None:
        if next(calls) == 2:
            raise Interrupted("SIGTERM")

    with pytest.raises(Interrupted):
        other.hold(waiting)
    alone.release()
    other.hold(waiting)
    other.release()


STUCK = """
import signal, sys
from datetime import timedelta
import torch
from torch.distributed import TCPStore
from dlib.utils import signals
signals.STUCK, signals.SAME = float(sys.argv[1]), 0.0
stop = signals.StopRequest(torch.device("cpu"))
store = TCPStore("localhost", 0, is_master=True)
print("waits", flush=True)
store.get("what another process never says")
"""


@pytest.mark.parametrize(("stuck", "kills"), [("600", 2), ("0.5", 1)])
def test_a_wait_outside_of_python_ends(stuck: str, kills: int) -> None:
    """A second signal ends it at once; a first one after a while."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, stuck],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        time.sleep(0.5)
        for _ in range(kills):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert error.splitlines()[-1].startswith("stopped by SIGTERM: ")


SMALL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from dlib.datasets import workers
from dlib.utils import distributed
from dlib.utils.errors import UserError
from helpers.batches import loader_of
if __name__ == "__main__":
    tiny = Path(sys.argv[1])
    print("batches", len(list(loader_of(tiny, crop=128).iterate(1))), flush=True)
    workers.fits_shared_memory = lambda *_: True  # as if another program had taken it since
    try:
        list(loader_of(tiny, crop=128).iterate(1))
    except UserError as error:
        print("error:", error)
"""


def test_a_container_with_little_shared_memory(tiny_data: Path, tmp_path: Path) -> None:
    """A real /dev/shm of 128 KiB, which semaphores need too; a batch of frames takes 192 KiB."""
    private = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=128k tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*private, "true"], capture_output=True).returncode != 0:
        pytest.skip("only root can mount a private /dev/shm")
    script = tmp_path / "small.py"
    script.write_text(SMALL)
    done = subprocess.run(
        [*private, sys.executable, str(script), str(tiny_data), str(ROOT / "tests")],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "batches 3", done.stderr
    assert "data loading process died" in lines[1]
    assert "/dev/shm full? try fewer --num_workers" in lines[1]
