"""How the two extensions are built: for the whole program, both alone (setup.py here), one alone (in its folder)."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

NAMES = ("bilateralfilter", "colorbilateralfilter")
UNIX = ["-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"]


class BuildExt(build_ext):
    """Gives each compiler its flags, and finds the program of the `swig` package also if it is not on PATH."""

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            print(
                f"{ext.name} is not built: it needs GCC or clang; packages that do the same, slower, are used instead"
            )
            ext.optional = True
            return
        threads = [] if sys.platform == "darwin" else ["-pthread"]  # part of the system's library on macOS
        ext.extra_compile_args, ext.extra_link_args = [*UNIX, *threads], threads
        super().build_extension(ext)

    def find_swig(self) -> str:
        found = shutil.which("swig")
        if found is None:
            import swig

            found = str(Path(swig.BIN_DIR) / "swig")
        return found


def extension(name: str, folder: str) -> Extension:
    """One filter as a module of one file: without SWIG's proxy the extension itself has the name.

    Args:
        folder: of this file, relative to the setup.py that runs.
    """
    crf = Path(folder)
    return Extension(
        name,
        sources=[f"{crf}/{name}/{name}.i", f"{crf}/{name}/{name}.cpp"],
        depends=[str(path) for path in sorted([*crf.glob("core/*"), *crf.glob(f"{name}/*.hpp")])],
        include_dirs=[f"{crf}/{name}", f"{crf}/core"],
        swig_opts=["-c++", "-noproxy", f"-I{crf}/core"],
        language="c++",
    )


def after_swig(name: str) -> Extension:
    """One filter, in whose folder `swig -python -c++` has written a proxy and the wrapper of this extension."""
    sources = [f"{name}_wrap.cxx", f"{name}.cpp"]
    return Extension(f"_{name}", sources=sources, include_dirs=[".", "../core"], language="c++")
