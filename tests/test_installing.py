"""Installing: beside the face library, whose package has the same name, and the two filters alone."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import dlib
from dlib.commands import command
from helpers.paths import ROOT

SETUP = """
import runpy, sys, sysconfig
places = sysconfig.get_path
sysconfig.get_path = lambda kind, *more: site if kind in ("purelib", "platlib") else places(kind, *more)
site, sys.argv = sys.argv[1], ["setup.py", "--name"]
runpy.run_path("setup.py")
"""

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from dlib.train import main
sys.exit(main(["--task", "STD_CL"]))
"""


def run_setup(site: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SETUP, str(site)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_set_up_stops_in_one_line_beside_the_face_library(tmp_path: Path) -> None:
    (tmp_path / "dlib_models-1.0.dist-info").mkdir()  # another distribution
    done = run_setup(tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "colocam")
    (tmp_path / "dlib-19.24.6.dist-info").mkdir()
    done = run_setup(tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: {tmp_path} has the face library dlib")
    assert run_setup(tmp_path, COLOCAM_BESIDE_DLIB="1").returncode == 0


def test_names_of_the_face_library_say_what_is_wrong() -> None:
    with pytest.raises(AttributeError, match=r"get_frontal_face_detector.*the face library dlib of PyPI"):
        dlib.get_frontal_face_detector()


def test_commands_say_what_is_wrong_where_the_face_library_has_replaced_the_package(tmp_path: Path) -> None:
    package = tmp_path / "dlib"
    package.mkdir()
    for part in (ROOT / "dlib").iterdir():
        if part.name != "__init__.py":
            (package / part.name).symlink_to(part)
    (package / "__init__.py").write_text("__version__ = '19.24.6'")
    done = subprocess.run(
        [sys.executable, "-m", "dlib.status"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        "error: the package dlib here is another one: CoLo-CAM and the face library"
    )


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("tqdm", ["-S", "main.py", "--help"]),  # -S: a Python without any package
        ("torch", ["-c", WITHOUT_TORCH]),
    ],
)
def test_a_package_that_is_missing_is_one_line(package: str, words: list[str]) -> None:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"error: this Python ({sys.executable}) has no package {package}; `bash cmds/setup.sh`"
    )
    assert "Traceback" not in done.stderr


def test_a_module_of_the_program_that_is_missing_keeps_its_traceback() -> None:
    @command()
    def broken(arguments: Sequence[str]) -> None:
        importlib.import_module("dlib.not_there")

    with pytest.raises(ModuleNotFoundError, match="not_there"):
        broken([])


def test_the_filters_alone_have_neither_torch_nor_dlib(tmp_path: Path) -> None:
    folder = ROOT / "dlib" / "crf" / "crfwrapper"
    ask = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(ask, cwd=folder, check=True, capture_output=True, timeout=60)
    facts = tmp_path / "colocam_crf.egg-info"
    assert (facts / "requires.txt").read_text().split() == ["numpy>=1.26"]
    assert (facts / "top_level.txt").read_text().split() == ["bilateralfilter", "colorbilateralfilter"]
    sources = (facts / "SOURCES.txt").read_text()
    assert "core/" in sources
    assert "bilateralfilter/bilateralfilter.i" in sources


@pytest.mark.parametrize("name", ["bilateralfilter", "colorbilateralfilter"])
def test_one_filter_alone_is_built_from_what_swig_wrote_beside_it(name: str, tmp_path: Path) -> None:
    """The published way: `swig -python -c++ NAME.i && python setup.py install` in the filter's folder."""
    copy = shutil.copytree(ROOT / "dlib" / "crf" / "crfwrapper", tmp_path / "crf") / name
    (copy / f"{name}_wrap.cxx").touch()
    ask = [sys.executable, "setup.py", "-q", "egg_info"]
    subprocess.run(ask, cwd=copy, check=True, capture_output=True, timeout=60)
    facts = copy / f"{name}.egg-info"
    assert (facts / "top_level.txt").read_text().split() == [f"_{name}", name]
    assert {f"{name}.cpp", f"{name}_wrap.cxx"} <= set((facts / "SOURCES.txt").read_text().split())
