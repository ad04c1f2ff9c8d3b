"""Installs the `dlib` packages and the two SWIG extensions `bilateralfilter` and `colorbilateralfilter`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_ext import build_ext

CRF = Path("dlib/crf/crfwrapper")


UNIX = ["-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"]


class BuildExt(build_ext):
    """Gives each compiler its flags, and finds the program of the `swig` package also if it is not on PATH."""

    def build_extension(self, ext: Extension) -> None:
        if self.compiler.compiler_type == "msvc":
            print(
                f"{ext.name} is not built: it needs the vector types of GCC or clang; PyTorch is used instead"
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


def extension(name: str) -> Extension:
    """One filter as a module of one file: without SWIG's proxy the extension itself has the name."""
    return Extension(
        name,
        sources=[f"{CRF}/{name}/{name}.i", f"{CRF}/{name}/{name}.cpp"],
        depends=[str(path) for path in sorted([*CRF.glob("core/*"), *CRF.glob(f"{name}/*.hpp")])],
        include_dirs=[f"{CRF}/{name}", f"{CRF}/core"],
        swig_opts=["-c++", "-noproxy", f"-I{CRF}/core"],
        language="c++",
    )


def requirements() -> list[str]:
    lines = Path("dependencies/requirements.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


setup(
    name="colocam",
    version="1.0.0",
    description="Weakly supervised video object localization with class activation mapping and co-localization",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_namespace_packages(
        include=["dlib", "dlib.*"], exclude=["dlib.crf.crfwrapper*", "dlib.datasets.synthetic*"]
    ),
    package_data={"dlib.visualization": ["templates/*"]},
    ext_modules=[extension("bilateralfilter"), extension("colorbilateralfilter")],
    cmdclass={"build_ext": BuildExt},
    entry_points={"console_scripts": ["colocam = dlib.commands.__main__:main"]},
    install_requires=requirements(),
)
