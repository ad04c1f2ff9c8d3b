"""Builds colocam-crf: the modules `bilateralfilter` and `colorbilateralfilter` alone, without PyTorch and `dlib`."""

import runpy

from setuptools import setup

filters = runpy.run_path("build_filters.py")

setup(
    name="colocam-crf",
    version="1.0.0",
    description="Bilateral filters on the permutohedral lattice for dense CRF losses",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[],
    py_modules=[],
    ext_modules=[filters["extension"](name, ".") for name in filters["NAMES"]],
    cmdclass={"build_ext": filters["BuildExt"]},
    install_requires=["numpy>=1.26"],
)
