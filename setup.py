"""Installs the `dlib` packages and three SWIG extensions: the two filters, and `resizewindow` for reading frames."""

from __future__ import annotations

import os
import runpy
import sys
import sysconfig
from pathlib import Path

from setuptools import find_namespace_packages, setup

CRF = "dlib/crf/crfwrapper"
FILTERS = runpy.run_path(f"{CRF}/build_filters.py")


def refuse_other_dlib() -> None:
    """End in one line where the face library is installed: its package has the same name, and one would break both."""
    places = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    found = [info for place in places for info in place.glob("dlib-*.*-info")]
    if found and not os.environ.get("COLOCAM_BESIDE_DLIB"):
        sys.exit(
            f"error: {found[0].parent} has the face library dlib, whose package has the same name as this program's: "
            "install into another environment (python -m venv NEW). To build a wheel here for another one: "
            "COLOCAM_BESIDE_DLIB=1"
        )


def requirements() -> list[str]:
    lines = Path("dependencies/requirements.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


refuse_other_dlib()
setup(
    name="colocam",
    version="1.0.0",
    description="Weakly supervised video object localization with class activation mapping and co-localization",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_namespace_packages(
        include=["dlib", "dlib.*"],
        exclude=["dlib.crf.crfwrapper*", "dlib.datasets.resizewindow*", "dlib.datasets.synthetic*"],
    ),
    package_data={"dlib.visualization": ["templates/*"]},
    ext_modules=[
        *(FILTERS["extension"](name, CRF) for name in FILTERS["NAMES"]),
        FILTERS["extension"]("resizewindow", CRF, "dlib/datasets"),
    ],
    cmdclass={"build_ext": FILTERS["BuildExt"]},
    entry_points={"console_scripts": ["colocam = dlib.commands.__main__:main"]},
    install_requires=requirements(),
)
