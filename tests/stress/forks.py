"""Tests that run in forked processes: traced, timed, and each ended at the first failure."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest
import torch
from _pytest.runner import runtestprotocol
from hypothesis import Phase, settings

HERE = Path(__file__).resolve().parents[2]
GIB = 2**30
KILLED, SURVIVED = 1, 0  # exit codes: a test has failed, or none
T = TypeVar("T")


def fast_random_cases() -> None:
    """One thread, and random cases that are not shrunk: that they fail is enough."""
    settings.register_profile(
        "mutation",
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
    )
    os.environ |= {"HYPOTHESIS_PROFILE": "mutation", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)


def collect_flags(folder: Path) -> list[str]:
    """pytest's flags; ``folder`` gets the tests' files."""
    plain = [
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:faulthandler",
        "--assert=plain",
        "--tb=short",
        "-W",
        "ignore",
    ]
    return [*plain, f"--basetemp={folder}/{os.getpid()}"]


def trace(items: list[pytest.Item], modules: list[str], longest: float) -> dict[str, Any]:
    """What each test costs, and the lines of the modules that it runs. A test much longer than ``longest`` is cut."""

    def too_long(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGVTALRM, too_long)
    files = {str(HERE / module): module for module in modules}
    lines: dict[str, set[int]] = {}

    def line(frame: FrameType, event: str, _: object) -> Any:
        lines.setdefault(files[frame.f_code.co_filename], set()).add(frame.f_lineno)
        return line

    def call(frame: FrameType, event: str, _: object) -> Any:
        return line if frame.f_code.co_filename in files else None

    reached = {}
    for item, after in pairs(items):
        lines.clear()
        start = time.process_time()
        threading.settrace(call)
        sys.settrace(call)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2 * longest)
        bad = failed(item, after)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.settrace(None)
        if bad:
            print(f"left out, because it is slow or fails without a mutant: {item.nodeid}", flush=True)
            continue
        seen = {module: sorted(found) for module, found in lines.items()}
        reached[item.nodeid] = {"seconds": time.process_time() - start, "lines": seen}
    for item in items:
        reached.setdefault(item.nodeid, {"seconds": 1e9, "lines": {}})
    return reached


def failed(item: pytest.Item, after: pytest.Item | None) -> bool:
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=after))


def pairs(items: list[pytest.Item]) -> Iterator[tuple[pytest.Item, pytest.Item | None]]:
    return zip(items, [*items[1:], None], strict=True)


def run_jobs(jobs: list[tuple[T, Callable[[], int], float]], processes: int) -> Iterator[T]:
    """Runs each job in a forked process, and gives the names of those that survived.

    A job is its name, what it runs, and the CPU seconds of that without a mutant. One that needs much more time or
    memory has been noticed, too.
    """
    running: dict[int, tuple[T, float]] = {}
    waiting = list(reversed(jobs))
    while waiting or running:
        while waiting and len(running) < processes:
            name, job, usual = waiting.pop()
            seconds = 5 + int(3 * usual)
            pid = os.fork()
            if pid == 0:
                os.setpgid(0, 0)
                _limit(seconds)
                _end_with(job)
            running[pid] = (name, time.monotonic() + 60 + 10 * seconds)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            name, _ = running.pop(pid)
            if status == SURVIVED:
                yield name
            continue
        for pid, (_, end) in running.items():
            if time.monotonic() > end:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)


def _limit(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (8 * GIB, 8 * GIB))
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def forked(job: Callable[[], int]) -> None:
    """Runs ``job`` in a process of its own and waits for it."""
    os.waitpid(start_fork(job), 0)


def start_fork(job: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        _end_with(job)
    return pid


def _end_with(job: Callable[[], int]) -> None:
    """The end of a forked process: nothing of its parent's is flushed or cleaned up."""
    code = KILLED
    try:
        code = int(job())
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(min(code, 255))
