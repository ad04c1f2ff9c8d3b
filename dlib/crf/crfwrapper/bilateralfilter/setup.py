"""Builds and installs the module `bilateralfilter` alone, after `swig -python -c++ bilateralfilter.i`."""

import runpy

from setuptools import setup

filters = runpy.run_path("../build_filters.py")

setup(
    name="bilateralfilter",
    version="1.0.0",
    zip_safe=False,  # an extension inside a zipped egg would load as an empty stub
    py_modules=["bilateralfilter"],
    ext_modules=[filters["after_swig"]("bilateralfilter")],
    cmdclass={"build_ext": filters["BuildExt"]},
)
