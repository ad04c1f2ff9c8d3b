"""Builds and installs the module `colorbilateralfilter` alone, after `swig -python -c++ colorbilateralfilter.i`."""

from setuptools import Extension, setup

setup(
    name="colorbilateralfilter",
    version="1.0.0",
    zip_safe=False,  # an extension inside a zipped egg would load as an empty stub
    py_modules=["colorbilateralfilter"],
    ext_modules=[
        Extension(
            "_colorbilateralfilter",
            sources=["colorbilateralfilter_wrap.cxx", "colorbilateralfilter.cpp"],
            include_dirs=[".", "../core"],
            extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread"],
            extra_link_args=["-pthread"],
            language="c++",
        )
    ],
)
