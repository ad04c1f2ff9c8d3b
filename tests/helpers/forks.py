"""Commands as processes of their own that start at once: a server imports the program one time, and forks for each."""

from __future__ import annotations

import json
import subprocess
import sys
from types import TracebackType

from helpers.paths import ROOT
from helpers.programs import environment

_SERVER = """
import contextlib, importlib, json, os, sys, tempfile, traceback
sys.argv[0] = "colocam"
for name in sys.argv[1:]:
    importlib.import_module(name)
from dlib.commands.__main__ import main
from dlib.learning import pictures
pictures.write_curves = lambda folder: None
for line in sys.stdin:
    words = json.loads(line)
    out, error = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
    child = os.fork()
    if child == 0:
        os.dup2(out.fileno(), 1)
        os.dup2(error.fileno(), 2)
        code = 3
        try:
            code = main(words)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for stream in (out, error):
        stream.seek(0)
    print(json.dumps([code, out.read(), error.read()]), flush=True)
"""
# What training, evaluation and localization import.
PROGRAM = (
    *("dlib.learning.experiment", "dlib.learning.evaluate_only", "dlib.tasks", "dlib.localizer"),
    "torchvision.models",  # 1.8 s, which each child would need again
)


class Forks:
    """Runs ``colocam`` commands, each in a child of one process that has imported ``modules`` and the program. No run
    draws its curves, which would need most of its time.

    Use it as a context.
    """

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, *modules, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"),
        )

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of ``colocam words``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        code, out, error = json.loads(self._process.stdout.readline())
        return code, out, error

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
