"""Builds and installs the module `colorbilateralfilter` alone, after `swig -python -c++ colorbilateralfilter.i`."""

import runpy

from setuptools import setup

filters = runpy.run_path("../build_filters.py")

setup(
    name="colorbilateralfilter",
    version="1.0.0",
    zip_safe=False,  # an extension inside a zipped egg would load as an empty stub
    py_modules=["colorbilateralfilter"],
    ext_modules=[filters["after_swig"]("colorbilateralfilter")],
    cmdclass={"build_ext": filters["BuildExt"]},
)
