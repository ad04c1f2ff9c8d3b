"""How the extensions are built: of the whole program, both filters alone (setup.py here), one alone (in its folder)."""

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


def extension(name: str, crf: str, parent: str | None = None) -> Extension:
    """A module of one file: without SWIG's proxy the extension itself has the name.

    Args:
        crf: folder of this file, relative to the setup.py that runs.
        parent: of the folder ``name`` with the module's files; None: this file's, for one of the filters.
    """
    core, own = Path(crf) / "core", Path(parent or crf) / name
    return Extension(
        name,
        sources=[f"{own}/{name}.i", f"{own}/{name}.cpp"],
        depends=[str(path) for path in sorted([*core.glob("*"), *own.glob("*.hpp")])],
        include_dirs=[str(own), str(core)],
        swig_opts=["-c++", "-noproxy", f"-I{core}"],
        language="c++",
    )


def after_swig(name: str) -> Extension:
    """One filter, in whose folder `swig -python -c++` has written a proxy and the wrapper of this extension."""
    sources = [f"{name}_wrap.cxx", f"{name}.cpp"]
    return Extension(f"_{name}", sources=sources, include_dirs=[".", "../core"], language="c++")
