"""Builds and installs the module `bilateralfilter` alone, after `swig -python -c++ bilateralfilter.i`."""

from setuptools import Extension, setup

setup(
    name="bilateralfilter",
    version="1.0.0",
    zip_safe=False,  # an extension inside a zipped egg would load as an empty stub
    py_modules=["bilateralfilter"],
    ext_modules=[
        Extension(
            "_bilateralfilter",
            sources=["bilateralfilter_wrap.cxx", "bilateralfilter.cpp"],
            include_dirs=[".", "../core"],
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread"],
            extra_link_args=["-pthread"],
            language="c++",
        )
    ],
)
