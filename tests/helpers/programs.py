"""Ways to start the program and its scripts: in this process or as a process of their own."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest

from helpers.paths import ROOT
from helpers.workplace import Workplace


def start(flags: list[str], curves: bool = False) -> tuple[int, str, str]:
    """Run main.py's ``main`` in this process; exit code, stdout, stderr. Curves cost seconds: only if wanted."""
    import dlib.learning.pictures as pictures
    from main import main

    out, error = io.StringIO(), io.StringIO()
    arguments, sys.argv = sys.argv, ["main.py", *flags]
    try:
        with (
            redirect_stdout(out),
            redirect_stderr(error),
            same_signals(),
            pytest.MonkeyPatch.context() as patch,
        ):
            if not curves:
                patch.setattr(pictures, "write_curves", lambda folder: None)
            code = main(flags)
    finally:
        sys.argv = arguments
    return code, out.getvalue(), error.getvalue()


@contextmanager
def same_signals() -> Iterator[None]:
    """Afterwards stop signals are handled as before, whatever a run in this process has made of them."""
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def environment(**more: str) -> dict[str, str]:
    """The environment of a program started by a test: one thread, nothing of a launcher around the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "DATASETSH")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def popen(flags: list[str], launcher: tuple[str, ...] = (), **more: str) -> subprocess.Popen[str]:
    """``python main.py flags`` (or ``launcher… main.py flags``) as a process of its own."""
    command = [*(launcher or (sys.executable,)), str(ROOT / "main.py"), *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**more),
    )


def torchrun(processes: int) -> tuple[str, ...]:
    return (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=1",
        f"--nproc_per_node={processes}",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
    )


def run_process(
    flags: list[str], launcher: tuple[str, ...] = (), timeout: float = 600, **more: str
) -> tuple[int, str, str]:
    process = popen(flags, launcher, **more)
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, error


def promote(place: Workplace) -> None:
    command = [
        "bash",
        str(ROOT / "cmds" / "promote.sh"),
        str(place.experiment()),
        str(place.folder / "pretrained"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
