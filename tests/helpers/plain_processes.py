"""Processes of one run that a test starts itself, as SLURM does: without torchrun to end those that are left."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.paths import ROOT
from helpers.programs import environment


@dataclass(frozen=True)
class Ended:
    """How one of the processes ended."""

    code: int
    out: str
    error: str
    at: float  # seconds on the monotonic clock


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def variables(rank: int, processes: int, port: int) -> dict[str, str]:
    """What a launcher tells a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
    }


def launch(
    folder: Path, script: str, *arguments: str, processes: int = 2, timeout: float = 240
) -> list[Ended]:
    """Run ``script`` (Python, sees the arguments) in each process; how each ended, by rank."""
    file, port = folder / "script.py", free_port()
    file.write_text(script)
    running = []
    for rank in range(processes):
        # Files, not pipes: a process must not wait for the test to read what another one said.
        with (folder / f"out{rank}").open("w") as out, (folder / f"error{rank}").open("w") as error:
            running.append(
                subprocess.Popen(
                    [sys.executable, str(file), *arguments],
                    stdout=out,
                    stderr=error,
                    cwd=ROOT,
                    env=environment(
                        PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}", **variables(rank, processes, port)
                    ),
                )
            )
    at: dict[int, float] = {}
    deadline = time.monotonic() + timeout
    try:
        while len(at) < processes and time.monotonic() < deadline:
            at |= {r: time.monotonic() for r, p in enumerate(running) if r not in at and p.poll() is not None}
            time.sleep(0.05)
    finally:
        for process in running:
            process.kill()
            process.wait()
    said = [
        [(folder / f"{name}{rank}").read_text() for name in ("out", "error")] for rank in range(processes)
    ]
    assert len(at) == processes, f"still running after {timeout} s: {said}"
    return [Ended(running[rank].returncode, *said[rank], at[rank]) for rank in range(processes)]
