"""The commands as their users meet them: names, help, exit codes, one line for a mistake, closed pipes, Ctrl-C."""

from __future__ import annotations

import ast
import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import dlib.status
from dlib.commands import command, loading
from dlib.commands.__main__ import main as colocam
from dlib.commands.registry import COMMANDS
from dlib.configure.table import FLAGS
from dlib.utils.errors import UsageError, UserError
from helpers.paths import ROOT

COLOCAM = [sys.executable, "-m", "dlib.commands"]

HELPS = """
import contextlib, io, json, sys
from dlib.commands.__main__ import main
from dlib.commands.registry import COMMANDS
found = {}
for name in ["", *COMMANDS]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = main([name, "--help"] if name else ["--help"])
    slow = {"torch", "scipy", "matplotlib", "plotly", "scenedetect", "imagehash", "av"}
    slow |= {"cv2", "numpy"} if name in ("", "train") else set()
    found[name] = [code, said.getvalue(), sorted(slow & set(sys.modules))]
json.dump(found, sys.stdout)
"""


def start(command: Sequence[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What stderr says, which is all that was said."""
    out, error = capsys.readouterr()
    assert out == ""
    error = error.removeprefix("loading PyTorch …\n")
    assert error.count("\n") == 1, error
    return error.rstrip("\n")


def test_every_command_answers_help_without_torch() -> None:
    found = json.loads(start([sys.executable, "-c", HELPS], check=True).stdout)
    assert all(code == 0 and not slow for code, _, slow in found.values()), found
    overview = found.pop("")[1]
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary)}$", overview, re.M)
        assert found[name][1].startswith(f"usage: colocam {name} ")
    assert all(f"--{flag} " in found["train"][1] for flag in FLAGS)


def test_every_entry_file_is_a_command() -> None:
    """What runs as ``python -m`` is a command, but for the list itself and the program that writes generated files."""
    runnable = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in (ROOT / "dlib").rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    modules = {entry.module for entry in COMMANDS.values()}
    assert runnable == modules | {"dlib.commands", "dlib.configure.reference"}
    assert all(entry.load().main.__module__ for entry in COMMANDS.values())


def test_the_page_lists_the_commands() -> None:
    page = (ROOT / "doc" / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `colocam (.+)` \| `(.+)` \| (.+) \|$", page, re.M)
    assert rows == [(name, entry.without_colocam, entry.summary) for name, entry in COMMANDS.items()]
    said = set(re.findall(r"colocam ([a-z]\S*)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {word.strip("`,.") for word in said} <= {*COMMANDS}


def test_pip_brings_colocam() -> None:
    tree = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    (script,) = [text for text in texts if isinstance(text, str) and text.startswith("colocam = ")]
    module, function = script.removeprefix("colocam = ").split(":")
    assert getattr(importlib.import_module(module), function) is not None
    assert start([sys.executable, "-m", module, "--help"], check=True).stdout.startswith("usage: colocam ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_flag_is_one_line_and_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert colocam([name, "--no_such_flag=1"]) == 2
    line = one_line(capsys)
    assert line.startswith("error: ")
    assert "no_such_flag" in line or f"see colocam {name} --help" in line


def test_misspelt_commands_and_flags(capsys: pytest.CaptureFixture[str]) -> None:
    for words, line in (
        (["trian"], "'trian' is not a command; did you mean train?"),
        (["--task"], "'--task' is not a command; colocam --help lists the commands"),
        (["status", "--exp_rot", "x"], "unknown flag --exp_rot; did you mean --exps_root?"),
        (["status", "now"], "unknown word now; colocam status --help lists what there is"),
        (["train", "--opt__lrr", "1"], "unknown flag --opt__lrr; did you mean --opt__lr?"),
        (["build-v1"], "--src is needed; see colocam build-v1 --help"),
    ):
        assert colocam(words) == 2
        assert one_line(capsys) == f"error: {line}"


# Words after which data is missing or wrong, in the folder {0}.
BAD_DATA = {
    "train": "--dataset none --data_root {0} --exps_root {0}/e",
    "status": "--exps_root {0}/none",
    "compare": "{0}/none --out {0}/c.html",
    "localize": "--fd_exp {0}/none --input {0}/none.mp4 --out {0}/o",
    "export": "--fd_exp {0}/none --format torchscript",
    "measure": "--fd_exp {0}/none --dataset none --data_root {0}",
    "gain": "{0}/none",
    "import": "--src {0}/none --dst {0}/d",
    "inspect": "--dataset none --data_root {0} --out {0}/o",
    "download": "YouTube-Objects-v1.0 --data_root {0}/file",
    "build-v1": "--src {0}/none --dst {0}/d",
    "build-v2": "--src {0}/none --dst {0}/d",
    "synthetic": "--dst {0}/file",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data_is_one_line_and_1(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert colocam([name, *BAD_DATA[name].format(tmp_path).split()]) == 1
    line = one_line(capsys)
    assert line.startswith("error: ")
    assert str(tmp_path) in line or "none" in line


def test_both_forms_are_the_same(tmp_path: Path) -> None:
    """Through the real command line: output, error and exit code."""
    words = ["--exps_root", str(tmp_path / "none")]
    forms = [
        start(command)
        for command in ([*COLOCAM, "status", *words], [sys.executable, "-m", "dlib.status", *words])
    ]
    assert [(form.returncode, form.stdout) for form in forms] == [(1, "")] * 2
    assert forms[0].stderr == forms[1].stderr
    assert forms[0].stderr.startswith("error: --exps_root ")


def interrupt(*given: object, **more: object) -> None:
    """What Python makes of Ctrl-C, whether or not this process was started to ignore it."""
    raise KeyboardInterrupt


def test_ctrl_c_is_one_line_and_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dlib.status, "status_rows", interrupt)
    assert colocam(["status", "--exps_root", str(tmp_path)]) == 130
    assert one_line(capsys) == "stopped by Ctrl-C"
    module = COMMANDS["import"].load()
    monkeypatch.setattr(module, "import_videos", interrupt)
    assert colocam(["import", "--src", str(tmp_path), "--dst", str(tmp_path.parent / "d")]) == 130
    assert one_line(capsys) == "stopped by Ctrl-C; what is finished is saved, and the same command continues"


@pytest.mark.parametrize("delay", [0.0, 0.4])
def test_the_first_line_comes_before_pytorch_and_ctrl_c_then_adds_one_line(delay: float) -> None:
    """In whatever moment of the imports: a handler of Python's own would raise inside of a library."""
    program = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program += "from dlib.train import main; sys.exit(main(['--dataset', 'none']))"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        start = time.monotonic()
        assert process.stderr.readline() == "loading PyTorch …\n"
        assert time.monotonic() - start < 3  # PyTorch alone takes this long where many programs run
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert (process.returncode, rest) == (130, "stopped by Ctrl-C\n")


def test_loading_leaves_another_handler_of_ctrl_c_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with loading():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with loading():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def into(reader: Callable[[int], None], code: str) -> tuple[int, str]:
    """Exit code and stderr of a Python program whose stdout is a pipe that ``reader`` uses and closes."""
    get, put = os.pipe()
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=buffered, stdout=put, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(put)
        reader(get)
        os.close(get)
        assert process.stderr is not None
        error = process.stderr.read()
    return process.returncode, error


def test_a_reader_that_had_enough() -> None:
    """Work that is done keeps its exit code; work that was cut short does not end with 0."""
    head = "import sys\nfrom dlib.commands import command\nfrom dlib.commands.__main__ import main\n"
    assert into(lambda pipe: None, f"{head}sys.exit(main(['--help']))") == (0, "")
    assert into(lambda pipe: None, f"{head}sys.exit(command()(lambda words: print('x') or 3)([]))") == (
        3,
        "",
    )
    endless = "def work(words):\n    while True:\n        print('x' * 99)\nsys.exit(command()(work)([]))"
    assert into(lambda pipe: os.read(pipe, 10), head + endless) == (141, "")


def test_a_broken_pipe_elsewhere_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def work(words: Sequence[str]) -> None:
        get, put = os.pipe()
        os.close(get)
        os.write(put, b"x")

    assert command()(work)([]) == 1
    assert one_line(capsys) == "error: Broken pipe"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def work(words: Sequence[str]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "a.png"))

    assert command()(work)([]) == 1
    assert one_line(capsys) == f"error: {tmp_path}/a.png: No space left on device; free some space"
    with open("/dev/full", "w") as full:
        words = [*COLOCAM, "--help"]
        done = subprocess.run(words, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: No space left on device; free some space\n")


def test_faults_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        command()(lambda words: 1 // 0)([])


def test_which_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: Exception) -> Callable[[Sequence[str]], int]:
        def work(words: Sequence[str]) -> int:
            raise error

        return work

    for rank, error, code, said in (
        ("0", UsageError("a"), 2, "error: a\n"),
        ("1", UsageError("a"), 2, ""),
        ("0", UserError("a\nb"), 1, "error: a b\n"),
        ("1", UserError("a"), 1, "error (process 1): a\n"),
        (
            "1",
            PermissionError(errno.EACCES, "Permission denied", "f"),
            1,
            "error (process 1): f: Permission denied\n",
        ),
    ):
        monkeypatch.setenv("RANK", rank)
        assert command()(fail(error))([]) == code
        assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("colocam tr", "train"),
        ("/usr/bin/colocam comp", "compare completion"),
        ("colocam train --opt__name_o", "--opt__name_optimizer"),
        ("colocam train --amp ", "True False"),
        ("colocam status ", "--help --exps_root"),
        ("colocam compare ", ""),  # files
        ("colocam compare -", "--help --out --table --models"),
        ("colocam export --format o", "onnx"),
        ("colocam export --out ", ""),
        ("colocam download ", "YouTube-Objects-v1.0 YouTube-Objects-v2.2"),
        ("colocam nothing --", ""),
        ("python other.py --", ""),
    ],
)
def test_completion(typed: str, offered: str) -> None:
    words = typed.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source cmds/completion.bash; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; COMPREPLY=();"
        ' _colocam; echo "${COMPREPLY[*]}"'
    )
    assert start(["bash", "-c", script], check=True).stdout.strip() == offered


def test_completion_prints_the_file_of_the_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    assert colocam(["completion"]) == 0
    assert capsys.readouterr().out == (ROOT / "cmds" / "completion.bash").read_text(encoding="utf-8")
