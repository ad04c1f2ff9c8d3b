"""The two bilateral filters as differentiable torch functions on any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dlib.configure.literals import Backend
from dlib.crf.lattice_table import filter_table, plan_filter
from dlib.crf.lattice_torch import filter_groups
from dlib.utils.filesystem import warn_once

Groups = Sequence[Sequence[int]]
Range = tuple[float, float]
IMAGE_RANGE: Range = (0.0, 255.0)


@dataclass(frozen=True)
class Kernel:
    """Which filter, and how it is computed: the arguments of `bilateral_filter`; sigma_xy None: colour filter."""

    sigma_rgb: float
    sigma_xy: float | None
    backend: Backend = "auto"
    value_range: Range | None = None


def bilateral_filter(
    images: Tensor,
    values: Tensor,
    sigma_rgb: float,
    sigma_xy: float,
    *,
    backend: Backend = "auto",
    value_range: Range | None = None,
) -> Tensor:
    """out_i = sum_j exp(-|f_i - f_j|^2 / 2) v_j with f = (x, y)/sigma_xy, (R, G, B)/sigma_rgb, j = i included.

    On the permutohedral lattice (Adams, Baek & Davis 2010), whose result is well below the exact sum: see
    doc/performance.md. Differentiable in `values`; the gradient treats the filter as symmetric, true to about 0.2 %.

    Args:
        images: [N, 3, H, W], usually 0..255.
        values: [N, K, H, W].
        sigma_rgb, sigma_xy: standard deviations in colour levels and pixels, > 0.
        backend: "cpp" (CPU), "torch" (any device), or "auto": "cpp" for CPU
            tensors if it is built, else "torch".
        value_range: smallest and largest plane value if they are known, (0, 255) for images. With "torch" the host
            then does not wait for the device, unless the table of all possible vertices would be too large. Images
            with a value outside, or with NaN, then give NaN instead of an error.
    Returns: [N, K, H, W], float32, on the device of `values`.
    Raises ValueError or TypeError for wrong shapes, sizes, types, devices and, with "cpp", non-finite numbers.
    """
    if images.ndim == 4 and images.shape[1] != 3:
        raise ValueError(f"images must have 3 planes, not {images.shape[1]}")
    return _filter(images, values, Kernel(sigma_rgb, sigma_xy, backend, value_range))


def color_bilateral_filter(
    images: Tensor,
    values: Tensor,
    sigma_rgb: float,
    *,
    backend: Backend = "auto",
    value_range: Range | None = None,
) -> Tensor:
    """The same filter with only the P image planes as features, f = planes/sigma_rgb, without positions.

    Args:
        images: [N, P, H, W], P from 1 to 256 planes of any meaning.
        values: [N, K, H, W].
        sigma_rgb: standard deviation in plane units, > 0.
        backend, value_range: as in `bilateral_filter`.
    Returns and raises: as `bilateral_filter`.
    """
    return _filter(images, values, Kernel(sigma_rgb, None, backend, value_range))


def filter_values(images: Tensor, values: Tensor, groups: Groups | None, kernel: Kernel) -> Tensor:
    """Filter without autograd; checks its arguments.

    Args:
        images: [N, P, H, W]; values: [N, K, H, W].
        groups: images whose pixels are filtered together, for the colour filter; None: each image alone.
    Returns: [N, K, H, W] float32, zero for images in no group.
    Raises OutOfRange, a ValueError, where the images' values are too far apart for sigma.
    """
    images, values = _checked(images, values, kernel)
    sigma_rgb, sigma_xy = kernel.sigma_rgb, kernel.sigma_xy
    if groups is not None:
        _check_groups(groups, images.shape[0])
    try:
        if choose_backend(kernel.backend, values) == "cpp":
            return _filter_cpp(images, values, groups, sigma_rgb, sigma_xy)
        if kernel.value_range is not None:
            plan = plan_filter(images, values, sigma_rgb, sigma_xy, kernel.value_range)
            if plan is not None:
                return filter_table(images, values, groups, plan)
        return filter_groups(images, values, groups, sigma_rgb, sigma_xy)
    except ValueError as error:
        if "sigma is too small" in str(error):  # both backends say so
            raise OutOfRange(str(error)) from error
        raise


def choose_backend(backend: Backend, values: Tensor) -> Literal["cpp", "torch"]:
    """Resolve "auto" by the device; raises ValueError if the backend is unknown or cannot serve the device."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be auto, cpp or torch, not {backend!r}")
    on_cpu = values.device.type == "cpu"
    if on_cpu and backend == "auto" and not _is_built():
        warn_once(
            "filters",
            "the C++ filters are not built: PyTorch is used instead, slower (pip install . with GCC or clang)",
        )
        return "torch"
    if backend == "cpp" and not on_cpu:
        raise ValueError(f"backend cpp filters CPU tensors, not {values.device.type} ones: use auto or torch")
    return "cpp" if on_cpu and backend != "torch" else "torch"


@cache
def _is_built() -> bool:
    return all(find_spec(name) is not None for name in ("bilateralfilter", "colorbilateralfilter"))


class OutOfRange(ValueError):
    """The images' values are too far apart for sigma, or not finite."""


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, run: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.run = run
        return run(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.run(grads[0]), None


def _filter(images: Tensor, values: Tensor, kernel: Kernel) -> Tensor:
    return _Filter.apply(values, lambda v: filter_values(images, v, None, kernel))


def _filter_cpp(
    images: Tensor, values: Tensor, groups: Groups | None, sigma_rgb: float, sigma_xy: float | None
) -> Tensor:
    n, planes, height, width = images.shape
    groups = [[i] for i in range(n)] if groups is None else groups
    out = torch.zeros_like(values)
    if not groups:
        return out
    arguments = (images.numpy(), values.numpy(), out.numpy(), n, values.shape[1], height, width, sigma_rgb)
    if sigma_xy is not None:
        import bilateralfilter

        bilateralfilter.bilateralfilter_batch(*arguments, sigma_xy)
    else:
        import colorbilateralfilter

        colorbilateralfilter.colorbilateralfilter_groups(*arguments, planes, groups)
    return out


def _checked(images: Tensor, values: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Both as contiguous float32 without gradient; raises ValueError or TypeError."""
    for name, tensor in (("images", images), ("values", values)):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(tensor).__name__}")
        if tensor.ndim != 4:
            raise ValueError(f"{name} must be [N, planes, H, W], not {list(tensor.shape)}")
        if tensor.is_complex():
            raise TypeError(f"{name} must be real")
        if 0 in tensor.shape[1:]:
            raise ValueError(f"{name} must not be empty: {list(tensor.shape)}")
    if images.shape[0] != values.shape[0] or images.shape[2:] != values.shape[2:]:
        raise ValueError(
            f"images {list(images.shape)} and values {list(values.shape)} differ in number or size"
        )
    if images.device != values.device:
        raise ValueError(f"images are on {images.device}, values on {values.device}")
    for name, sigma in (("sigma_rgb", kernel.sigma_rgb), ("sigma_xy", kernel.sigma_xy)):
        if sigma is not None and not (math.isfinite(sigma) and sigma > 0):
            raise ValueError(f"{name} must be finite and > 0, not {sigma}")
    if kernel.value_range is not None:
        least, most = kernel.value_range
        if not -math.inf < least <= most < math.inf:
            raise ValueError(f"value_range must be two finite numbers in order, not {kernel.value_range}")
    return images.detach().float().contiguous(), values.detach().float().contiguous()


def _check_groups(groups: Groups, n: int) -> None:
    members = [member for group in groups for member in group]
    if any(len(group) == 0 for group in groups):
        raise ValueError("a group has no images")
    if any(not 0 <= member < n for member in members):
        raise ValueError(f"groups must name images 0..{n - 1}, not {sorted(set(members))}")
    if len(set(members)) != len(members):
        raise ValueError("an image is in the groups twice")
