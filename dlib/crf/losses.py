"""Dense-CRF losses -sum p . F(p): one pass of the filter F gives the value and the gradient -2 F(p).

The joint form over the frames of a sequence is CoLo-CAM's (arXiv 2303.09044), the dense form is the relaxed
dense CRF of Tang et al. 2018, "On regularized losses for weakly-supervised CNN segmentation".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from dlib.configure.literals import Backend, LambdaStyle
from dlib.crf.filters import Groups, Kernel, Range, filter_values


class _Energy(torch.autograd.Function):
    """-sum p . F(p) per image [N]; the gradient is -2 F(p), since F is symmetric up to the lattice's 0.2 %."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, images: Tensor, groups: Groups | None, kernel: Kernel) -> Tensor:
        try:
            filtered = filter_values(images, p, groups, kernel)
        except ValueError:
            # C++ and the sorted lattice refuse what is not finite (the table makes it NaN by itself); the training
            # loop skips a step whose loss is NaN. Values are checked only after a refusal: a good step has no wait.
            if images.isfinite().all() and p.isfinite().all():
                raise
            filtered = torch.full_like(p, math.nan)
        ctx.save_for_backward(filtered)
        energy = -(p.detach() * filtered).sum((1, 2, 3))  # [N]
        return energy.masked_fill_(~energy.isfinite(), math.nan)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (filtered,) = ctx.saved_tensors
        return filtered * (-2.0 * grads[0])[:, None, None, None], None, None, None


def crf_energy(images: Tensor, segmentations: Tensor, groups: Groups | None, kernel: Kernel) -> Tensor:
    """-sum_k p_k . F(p_k) per image: [N] float32, differentiable in `segmentations` [N, K, H, W].

    Images or segmentations that hold NaN or infinity give NaN, not an error.
    """
    return _Energy.apply(segmentations.float(), images, groups, kernel)


def joint_color_crf(
    images: Tensor,
    segmentations: Tensor,
    groups: Sequence[Tensor | Sequence[int]],
    sigma_rgb: float,
    backend: Backend = "auto",
    value_range: Range | None = None,
) -> Tensor:
    """Colour CRF over the joined frames of each group: L_s = -sum_k p_k . F3(p_k) on the union of their pixels.

    Args:
        images: [B, P, H, W]; segmentations: [B, K, H, W], probabilities.
        groups: S lists (or tensors int64) of indices into the batch; lengths may differ; no frame may be there twice.
        sigma_rgb: > 0.
        backend, value_range: as in `color_bilateral_filter`.
    Returns: [S] float32, differentiable in `segmentations`; NaN where images or segmentations are not finite.
    Raises ValueError for empty or overlapping groups, and as `color_bilateral_filter`.
    """
    members = [group.tolist() if isinstance(group, Tensor) else list(group) for group in groups]
    kernel = Kernel(sigma_rgb, None, backend, value_range)
    energy = crf_energy(images, segmentations, members, kernel)  # [B]
    owner = torch.tensor([s for s, group in enumerate(members) for _ in group], dtype=torch.int64)
    frames = torch.tensor([i for group in members for i in group], dtype=torch.int64)
    owner, frames = (t.to(energy.device, non_blocking=True) for t in (owner, frames))
    total = energy.new_zeros(len(members))
    return total.index_add(0, owner, energy[frames])


def scaled(images: Tensor, segmentations: Tensor, scale_factor: float) -> tuple[Tensor, Tensor]:
    """Images (nearest) and segmentations (bilinear), both [N, ·, H, W], rescaled for a CRF."""
    if scale_factor == 1:
        return images, segmentations
    images = functional.interpolate(images.float(), scale_factor=scale_factor, mode="nearest")
    segmentations = functional.interpolate(
        segmentations.float(), scale_factor=scale_factor, mode="bilinear", align_corners=False
    )
    return images, segmentations


def warn_of_range(images: Tensor, segmentations: Tensor) -> None:
    """Warn if ``images`` look like 0..1 instead of 0..255, or ``segmentations`` like logits; reads their values."""
    images, segmentations = images.detach(), segmentations.detach()
    if images.is_floating_point() and images.numel() and 0 < float(images.max()) <= 1:
        warnings.warn(
            "images look like 0..1: colours are compared in 0..255, so multiply by 255", stacklevel=3
        )
    if segmentations.numel():
        low, high = float(segmentations.min()), float(segmentations.max())
        if low < -1e-3 or high > 1 + 1e-3:
            warnings.warn(
                f"segmentations from {low:.3g} to {high:.3g} look like logits: give probabilities (softmax)",
                stacklevel=3,
            )


def _check_scale(scale_factor: float) -> None:
    if not (math.isfinite(scale_factor) and scale_factor > 0):
        raise ValueError(f"scale_factor must be finite and > 0, not {scale_factor}")


class DenseCRFLoss(nn.Module):
    """weight * (-1/N) sum_n sum_k p_nk . F5(p_nk), F5 the bilateral filter on position and colour.

    Args:
        weight: factor of the loss.
        sigma_rgb, sigma_xy: standard deviations in colour levels and full-size pixels, > 0.
        scale_factor: scales image (nearest), segmentations (bilinear) and sigma_xy, > 0.
        backend, value_range: as in `bilateral_filter`.
    """

    def __init__(
        self,
        weight: float,
        sigma_rgb: float,
        sigma_xy: float,
        scale_factor: float = 1.0,
        backend: Backend = "auto",
        value_range: Range | None = None,
    ) -> None:
        super().__init__()
        _check_scale(scale_factor)
        self.weight, self.scale_factor = weight, scale_factor
        self.sigma_rgb, self.sigma_xy = sigma_rgb, sigma_xy
        self.kernel = Kernel(sigma_rgb, sigma_xy * scale_factor, backend, value_range)
        self._looked = value_range is not None

    def extra_repr(self) -> str:
        names = ("weight", "sigma_rgb", "sigma_xy", "scale_factor")
        return ", ".join(f"{name}={getattr(self, name):g}" for name in names)

    def forward(self, images: Tensor, segmentations: Tensor, ROIs: Tensor | None = None) -> Tensor:
        """Value of the loss.

        The first call warns if the values look like those of another range; with a ``value_range`` none does.

        Args:
            images: [N, 3, H, W], 0..255.
            segmentations: [N, K, H, W], probabilities.
            ROIs: [N, H, W] or [N, 1, H, W], factor of each pixel's probabilities, such as 0 where there is no image
                (Tang et al. 2018, "On regularized losses"; their code's name); None: 1 everywhere.
        Returns: scalar, differentiable in `segmentations`.
        """
        if not self._looked:
            self._looked = True
            warn_of_range(images, segmentations)
        if ROIs is not None:
            segmentations = segmentations * (ROIs if ROIs.dim() == 4 else ROIs.unsqueeze(1))
        n = max(1, images.shape[0])
        images, segmentations = scaled(images, segmentations, self.scale_factor)
        energy = crf_energy(images, segmentations, None, self.kernel)  # [N]
        return self.weight * energy.sum() / n


class ColorDenseCRFLoss(nn.Module):
    """The same loss with the colour filter, every image alone.

    Args:
        weight: factor of the loss.
        sigma_rgb: standard deviation in plane units, > 0.
        scale_factor: scales image (nearest) and segmentations (bilinear), > 0.
        weight_style: "constant": weight * L; "adaptive": weight * L / |L| with |L| detached, 0 where L = 0.
        backend, value_range: as in `bilateral_filter`.
    """

    def __init__(
        self,
        weight: float,
        sigma_rgb: float,
        scale_factor: float = 1.0,
        weight_style: LambdaStyle = "constant",
        backend: Backend = "auto",
        value_range: Range | None = None,
    ) -> None:
        super().__init__()
        _check_scale(scale_factor)
        if weight_style not in get_args(LambdaStyle):
            raise ValueError(f"weight_style must be constant or adaptive, not {weight_style!r}")
        self.weight, self.scale_factor, self.weight_style = weight, scale_factor, weight_style
        self.kernel = Kernel(sigma_rgb, None, backend, value_range)

    def forward(self, images: Tensor, segmentations: Tensor) -> Tensor:
        """images [N, P, H, W] and segmentations [N, K, H, W] probabilities -> scalar."""
        n = max(1, images.shape[0])
        images, segmentations = scaled(images, segmentations, self.scale_factor)
        loss = crf_energy(images, segmentations, None, self.kernel).sum() / n
        if self.weight_style == "adaptive":
            size = loss.detach().abs()
            loss = loss / size.masked_fill(~(size > 0), 1.0)
        return self.weight * loss
