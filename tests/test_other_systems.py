"""Windows and macOS, as far as they can be played here: other start methods, missing modules, other compilers."""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from setuptools import Extension
from setuptools.command.build_ext import build_ext

from dlib.crf import filters
from dlib.datasets import workers
from dlib.utils import environment as machine
from dlib.utils import filesystem
from helpers.batches import loader_of, same
from helpers.paths import ROOT
from helpers.programs import environment


def test_workers_that_are_spawned_give_the_same_batches(
    tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = list(loader_of(tiny_data, workers=0).iterate(1))
    monkeypatch.setattr(workers.mp, "get_all_start_methods", lambda: ["spawn"])
    loader = loader_of(tiny_data)
    assert loader._loader.multiprocessing_context.get_start_method() == "spawn"
    assert all(map(same, loader.iterate(1), truth))
    loader.close()


WITHOUT = """
import signal, sys
for name in ("fcntl", "resource"):
    sys.modules[name] = None  # importing it raises ImportError, as on Windows
del signal.SIGUSR1
import dlib.learning.experiment, dlib.learning.dry_run, dlib.localize, dlib.export
import dlib.datasets.build, dlib.study.__main__
from dlib.utils.environment import peak_memory
from dlib.utils.signals import STOP_SIGNALS
print([number.name for number in STOP_SIGNALS], peak_memory())
"""


def test_the_program_needs_no_module_that_windows_lacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert done.stdout.split("\n")[0] == "['SIGTERM', 'SIGINT'] 0", done.stderr


def test_no_module_but_ours_imports_what_windows_lacks() -> None:
    """fcntl, resource and friends stand in three files, which do without them."""
    lacking = re.compile(r"^\s*(?:import|from) (fcntl|resource|pwd|grp|termios|pty)\b", re.MULTILINE)
    users = {p.name for p in (ROOT / "dlib").rglob("*.py") if lacking.search(p.read_text(encoding="utf-8"))}
    assert users == {"filesystem.py", "environment.py", "matprocess.py"}


def test_peak_memory_is_in_bytes_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(ru_maxrss=3000)
    monkeypatch.setattr(machine.resource, "getrusage", lambda _: usage)
    assert machine.peak_memory() == 3000 * 1024
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    assert machine.peak_memory() == 3000


def test_without_the_extensions_pytorch_filters(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    images, values = torch.rand(1, 3, 6, 6) * 255, torch.rand(1, 2, 6, 6)
    built = filters.bilateral_filter(images, values, 15.0, 5.0)
    monkeypatch.setattr(filters, "_is_built", lambda: False)
    monkeypatch.setattr(filesystem, "_said", set())
    for _ in range(2):
        torch.testing.assert_close(filters.bilateral_filter(images, values, 15.0, 5.0), built)
    (said,) = caplog.messages
    assert "C++ filters are not built" in said


@pytest.mark.parametrize(
    ("compiler", "platform", "flags", "links"),
    [
        ("unix", "linux", ["-ffp-contract=off", "-pthread"], ["-pthread"]),
        ("unix", "darwin", ["-ffp-contract=off"], []),
        ("mingw32", "win32", ["-ffp-contract=off", "-pthread"], ["-pthread"]),
        ("msvc", "win32", None, None),
    ],
)
def test_each_compiler_gets_its_flags(
    compiler: str, platform: str, flags: list[str] | None, links: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "setup", raising=False)
    setup = importlib.import_module("setup")
    builder = setup.FILTERS["BuildExt"]
    monkeypatch.setattr(sys, "platform", platform)
    built: list[Extension] = []
    monkeypatch.setattr(build_ext, "build_extension", lambda self, ext: built.append(ext))
    command = object.__new__(builder)
    command.compiler = SimpleNamespace(compiler_type=compiler)
    extension = Extension("bilateralfilter", ["a.cpp"])
    builder.build_extension(command, extension)
    assert len(built) == (flags is not None)
    if flags is None:
        assert extension.optional
    else:
        assert [flag for flag in extension.extra_compile_args if flag.startswith(("-ff", "-p"))] == flags
        assert extension.extra_link_args == links
        assert "-std=c++17" in extension.extra_compile_args


def test_workers_ignore_the_signals_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = []
    monkeypatch.setattr(workers, "STOP_SIGNALS", (signal.SIGTERM, signal.SIGINT))
    monkeypatch.setattr(workers.signal, "signal", lambda number, how: ignored.append(number))
    monkeypatch.setattr(workers.threading, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(workers.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(workers.Queue, "_on_queue_feeder_error", None)
    workers._init_worker(0)
    assert ignored == [signal.SIGTERM, signal.SIGINT]
