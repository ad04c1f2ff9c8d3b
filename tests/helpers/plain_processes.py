"""Processes of one run that a test starts itself, as SLURM does: without torchrun to end those that are left."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.forks import PROGRAM
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


# Children are forked from one process that has imported the program: importing takes a second and more each time.
_SERVER = """
import importlib, json, os, runpy, sys, time
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    file, arguments, folder, environments, timeout = json.loads(line)
    running, ended = [], {}
    for rank, more in enumerate(environments):
        child = os.fork()
        if child == 0:
            # Files, not pipes: a process must not wait for the test to read what another one said.
            for number, name in ((1, "out"), (2, "error")):
                os.dup2(os.open(f"{folder}/{name}{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ.update(more)
            sys.argv = [file, *arguments]
            runpy.run_path(file, run_name="__main__")
            sys.exit()  # as at the end of a program
        running.append(child)
    deadline = time.monotonic() + timeout
    while len(ended) < len(running) and time.monotonic() < deadline:
        for rank, child in enumerate(running):
            if rank not in ended and (found := os.waitpid(child, os.WNOHANG))[0]:
                ended[rank] = [os.waitstatus_to_exitcode(found[1]), time.monotonic()]
        time.sleep(0.02)
    for rank, child in enumerate(running):
        if rank not in ended:
            os.kill(child, 9)
            os.waitpid(child, 0)
    print(json.dumps([ended.get(rank) for rank in range(len(running))]), flush=True)
"""


@cache
def _server() -> subprocess.Popen[str]:
    """It ends when its standard input does, with the tests."""
    return subprocess.Popen(
        [sys.executable, "-c", _SERVER, *PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
    )


def launch(
    folder: Path, script: str, *arguments: str, processes: int = 2, timeout: float = 240
) -> list[Ended]:
    """Run ``script`` (Python, sees the arguments) in each process; how each ended, by rank."""
    file, port, server = folder / "script.py", free_port(), _server()
    file.write_text(script)
    environments = [variables(rank, processes, port) for rank in range(processes)]
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps([str(file), arguments, str(folder), environments, timeout]) + "\n")
    server.stdin.flush()
    ended = json.loads(server.stdout.readline())
    said = [
        [(folder / f"{name}{rank}").read_text() for name in ("out", "error")] for rank in range(processes)
    ]
    assert None not in ended, f"still running after {timeout} s: {said}"
    return [Ended(code, *texts, at) for (code, at), texts in zip(ended, said, strict=True)]
