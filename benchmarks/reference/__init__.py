"""Plain implementations to measure against."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

FLAGS = ["-std=c++17", "-O3", "-ffp-contract=off", "-shared", "-fPIC"]  # as in setup.py


@cache
def _library() -> ctypes.CDLL:
    """Compiles the plain filter for this process."""
    compiler = shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")
    source = Path(__file__).with_name("plain_filter.cpp")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "plain_filter.so"
        subprocess.run([*compiler, *FLAGS, str(source), "-o", str(target)], check=True)
        return ctypes.CDLL(str(target))


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    if tensor.dtype != torch.float32 or not tensor.is_contiguous():
        raise ValueError("the plain filter reads contiguous float32")
    return ctypes.c_void_p(tensor.data_ptr())


def plain_filter(image: Tensor, values: Tensor, sigma_rgb: float, sigma_xy: float | None) -> Tensor:
    """One image [P, H, W] and its values [K, H, W] -> [K, H, W]; sigma_xy None: colour filter."""
    out = torch.empty_like(values)
    channels, height, width = values.shape
    arguments = (_pointer(image), _pointer(values), _pointer(out), channels, height, width)
    if sigma_xy is None:
        _library().plain_color(*arguments, ctypes.c_float(sigma_rgb), image.shape[0])
    else:
        _library().plain_bilateral(*arguments, ctypes.c_float(sigma_rgb), ctypes.c_float(sigma_xy))
    return out
