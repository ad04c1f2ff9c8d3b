"""Reading planned minibatches, in this process or in worker processes."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Any
from weakref import WeakSet

import torch
import torch.multiprocessing as mp
from torch.utils.data import DataLoader, _utils

from dlib.datasets.batch import Batch
from dlib.datasets.handover import READ_AHEAD, SHARED_MEMORY, PackedBatch, fits_shared_memory
from dlib.datasets.layout import Plan
from dlib.datasets.video_dataset import FrameRequest, VideoDataset
from dlib.utils.errors import UserError
from dlib.utils.signals import STOP_SIGNALS

log = logging.getLogger(__name__)

POLL = 1.0  # seconds between two checks for a batch
ANSWER = 0.5  # seconds that a worker has to end; a frame needs a few milliseconds


class _Reader:
    """The dataset as workers use it: from a list of requests to a batch, or to the text of a UserError."""

    def __init__(self, dataset: VideoDataset) -> None:
        self.dataset = dataset
        self.packs = False  # whether batches go through a pipe

    def __getitem__(self, requests: Sequence[FrameRequest]) -> Batch | PackedBatch | str:
        try:
            batch = self.dataset.load(requests)
        except UserError as error:  # as text: an exception would come back with a long traceback
            return str(error)
        return PackedBatch(batch) if self.packs else batch


class _PlanSampler:
    """Gives the rest of the current plan to a ``DataLoader``."""

    def __init__(self) -> None:
        self.plan: Plan = []

    def __iter__(self) -> Iterator[list[FrameRequest]]:
        return iter(self.plan)


def _init_worker(_: int) -> None:
    torch.set_num_threads(1)
    # Stop signals reach all processes of the group; the main process decides when its workers end.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Without this, a batch that cannot be sent is lost silently, and the main process waits for it for ever.
    Queue._on_queue_feeder_error = staticmethod(_end_without_handover)  # type: ignore[attr-defined]
    # torch itself watches the parent process, which is the fork server: that lives as long as its workers.
    threading.Thread(target=_end_with_main, daemon=True).start()


def _end_without_handover(error: BaseException, batch: object) -> None:
    with suppress(OSError):
        os.write(2, f"a batch cannot be sent: {' '.join(str(error).split())[:300]}\n".encode())
    os._exit(1)


def _end_with_main() -> None:
    """Ends this worker when the process that reads its batches is gone, also by SIGKILL."""
    main = multiprocessing.parent_process()
    if main is not None:
        main.join()
        os._exit(1)


def _context() -> BaseContext:
    """Start method of the workers.

    Forking a process that already runs threads (OpenMP, CUDA) can hang, and spawning imports torch in each
    worker. The fork server has imported torch once and has no threads.
    """
    if "forkserver" not in mp.get_all_start_methods():
        return mp.get_context("spawn")
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["torch", "dlib.datasets.workers"])
    return context


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides the warning about more workers than processors: many workers help if the disk is slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def _end_workers(iterators: WeakSet, workers: set[BaseProcess]) -> None:
    """Ends the workers of ``DataLoader`` iterators; those that do not answer are killed, also of lost iterators."""
    for iterator in list(iterators):
        with _answer_within(ANSWER):
            iterator._shutdown_workers()
    for worker in workers:
        if worker.is_alive():
            worker.kill()  # SIGTERM is ignored


@contextmanager
def _answer_within(seconds: float) -> Iterator[None]:
    """Inside, PyTorch waits so long for each worker to end, instead of 5 s.

    A stop signal must not wait long for workers that a slow disk holds up: a batch system kills the run after 30 s.
    """
    usual = _utils.MP_STATUS_CHECK_INTERVAL
    _utils.MP_STATUS_CHECK_INTERVAL = seconds
    try:
        yield
    finally:
        _utils.MP_STATUS_CHECK_INTERVAL = usual


class PlannedLoader:
    """Reads planned minibatches, in this process or in workers, and reports unreadable frames."""

    def __init__(self, dataset: VideoDataset, num_workers: int, pin_memory: bool, keep_workers: bool) -> None:
        self.dataset = dataset
        self.bad_frames: set[str] = set()  # unreadable frames met so far
        # Called every second until a batch is there; may raise.
        self.while_waiting: Callable[[], None] = lambda: None
        self._reader = _Reader(dataset)
        self._sampler = _PlanSampler()
        self._iterators: WeakSet = WeakSet()  # those with workers
        self._workers: set[BaseProcess] = set()
        self._at_exit = partial(_end_workers, self._iterators, self._workers)
        with _quiet():
            self._loader: DataLoader = DataLoader(
                self._reader,  # type: ignore[arg-type]
                sampler=self._sampler,
                batch_size=None,  # the plan has whole batches
                num_workers=num_workers,
                pin_memory=pin_memory,
                persistent_workers=keep_workers and num_workers > 0,
                worker_init_fn=_init_worker,
                multiprocessing_context=_context() if num_workers else None,
                prefetch_factor=READ_AHEAD if num_workers else None,
                timeout=POLL if num_workers else 0,
                generator=torch.Generator(),  # without it each epoch's start would change the global random state
            )

    def read(self, plan: Plan) -> Iterator[Batch]:
        """The minibatches of ``plan``; those whose frames were all left out are skipped.

        A new iteration ends an earlier one of the same loader that was not finished.
        Raises UserError for an unreadable frame or CAM, and if a worker process dies.
        """
        self._sampler.plan = plan
        yield from self._usable(self._from_workers(plan) if self._loader.num_workers else iter(self._loader))

    def _usable(self, batches: Iterator[Batch | PackedBatch | str]) -> Iterator[Batch]:
        for batch in batches:
            if isinstance(batch, str):
                raise UserError(batch)
            whole = batch.unpack() if isinstance(batch, PackedBatch) else batch
            self._report(whole.bad_frames)
            if len(whole):
                yield whole

    def _from_workers(self, plan: Plan) -> Iterator[Batch | PackedBatch | str]:
        iterator = self._start(plan)
        while True:
            try:
                batch = next(iterator, None)
            except (RuntimeError, EOFError, OSError, MemoryError) as error:
                said = str(error).strip()
                if said.startswith("DataLoader timed out"):
                    self._wait(iterator)
                    continue
                if said.startswith("Caught") and "memory" not in said:
                    raise  # a fault of the program in a worker
                reason = (said.splitlines() or ["it ended while sending a batch"])[-1][:200]
                raise self._failure(f"a data loading process died ({reason})") from error
            if batch is None:
                return
            yield batch

    def _start(self, plan: Plan) -> Any:
        """An iterator of ``DataLoader`` over the plan; starts its processes if they do not run yet."""
        largest, workers = max(map(len, plan), default=0), self._loader.num_workers
        cams, regions = self.dataset.cams is not None, self.dataset.regions is not None
        size = self.dataset.crop_size
        self._reader.packs = not fits_shared_memory(largest, size, cams, workers, regions)
        try:
            with _quiet():
                iterator: Any = iter(self._loader)
        except (OSError, ImportError) as error:
            raise self._failure(f"data loading processes cannot be started ({error})") from error
        self._iterators.add(iterator)
        self._workers.intersection_update([worker for worker in self._workers if worker.is_alive()])
        self._workers.update(iterator._workers)
        # The interpreter would wait for the workers for ever. Exit functions run last in, first out:
        # ours must be registered after those that the iterator has just registered.
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)
        return iterator

    def _wait(self, iterator: Any) -> None:
        """Called between two checks for a batch that is not there yet."""
        self.while_waiting()
        thread = getattr(iterator, "_pin_memory_thread", None)
        if thread is not None and not thread.is_alive():
            raise self._failure("the thread that receives batches has ended")

    def _failure(self, problem: str) -> UserError:
        """The error of workers that give no more batches, which are ended."""
        self.close()
        return UserError(
            f"{problem}; is memory or {SHARED_MEMORY} full? try fewer --num_workers (0 needs none), or give a "
            "container more shared memory, as with docker run --shm-size=2g"
        )

    def _report(self, frames: list[str]) -> None:
        for frame in frames:
            if frame not in self.bad_frames:
                self.bad_frames.add(frame)
                log.warning("unreadable frame %s skipped (%d so far)", frame, len(self.bad_frames))

    def close(self) -> None:
        """Ends the worker processes."""
        _end_workers(self._iterators, self._workers)
        self._iterators.clear()
        self._workers.clear()
        self._loader._iterator = None
