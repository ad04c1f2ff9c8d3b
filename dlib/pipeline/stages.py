"""One stage after the other, each a command in its own process; a finished stage is skipped."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from dlib.utils.errors import UserError
from dlib.utils.text import duration
from dlib.visualization.records import read_experiment

_SAID_EVERY = 60.0  # seconds between two lines about the time left


@dataclass(frozen=True)
class Stage:
    """A command of ``colocam``.

    Attributes:
        words: after ``colocam``.
        done: whether it has been done before; by default never, as the command finds out itself what is left.
        experiment: folder of the training that it is; None: it is none.
        then: the times of later trainings, as a share of this one's.
    """

    title: str
    words: tuple[str, ...]
    done: Callable[[], bool] = lambda: False
    experiment: Path | None = None
    then: float = 0.0


def run_stages(stages: Sequence[Stage]) -> None:
    """Run all that are not done.

    Raises UserError if a command fails, or ends before its training is finished; KeyboardInterrupt after Ctrl-C or
    SIGTERM, once the running command has saved itself.
    """
    with _StopSignals() as stops:
        for number, stage in enumerate(stages, 1):
            head = f"[{number}/{len(stages)}] {stage.title}"
            if stage.done():
                print(f"{head}: done before", flush=True)
                continue
            print(f"\n{head}\n  {shlex.join(['colocam', *stage.words])}", flush=True)
            _run(stage, stops)


class _StopSignals:
    """Inside the context, Ctrl-C and SIGTERM ask the command that runs to stop; no exception comes in between."""

    def __init__(self) -> None:
        self.received = False
        self._process: subprocess.Popen[bytes] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def wait_for(self, process: subprocess.Popen[bytes]) -> int:
        """Its exit code. Raises KeyboardInterrupt if a signal came, once the process has ended."""
        self._process = process
        if self.received:  # while the process was made
            process.terminate()
        code = process.wait()
        if self.received:
            raise KeyboardInterrupt
        return code

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._process is not None:
            self._process.terminate()


def _run(stage: Stage, stops: _StopSignals) -> None:
    # Its own session: Ctrl-C reaches only this program, which then asks the command to stop.
    process = subprocess.Popen([sys.executable, "-m", "dlib.commands", *stage.words], start_new_session=True)
    ended = threading.Event()
    if stage.experiment is not None:
        threading.Thread(target=_say_time_left, args=(stage, ended), daemon=True).start()
    try:
        code = stops.wait_for(process)
    finally:
        ended.set()
    if code != 0:
        raise UserError(f"{stage.title}: failed, see the lines above; after the fix the same command resumes")
    if stage.experiment is not None and not stage.done():
        raise UserError(f"{stage.title}: stopped before its end; the same command resumes")


def _say_time_left(stage: Stage, ended: threading.Event) -> None:
    assert stage.experiment is not None
    while not ended.wait(_SAID_EVERY):
        left = time_left(stage.experiment, stage.then)
        if left == 0:
            print("trained; the test of the best weights is left", flush=True)
            return
        if left is not None:
            print(f"about {duration(left)} left", flush=True)


def time_left(folder: Path, then: float) -> float | None:
    """Seconds of a running training's epochs that are left, and of what comes ``then``; None: not known yet."""
    try:
        experiment = read_experiment(folder, max_steps=1)
    except UserError:  # nothing is written yet
        return None
    left, each = experiment.seconds_left, experiment.seconds_per_epoch
    if left is None or each is None:
        return None
    return left + then * each * experiment.max_epochs
