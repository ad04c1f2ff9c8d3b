"""The terms of CoLo-CAM's total loss (Belharbi et al. 2025, section 3), one class each; `sizes` has the size priors.

Notation: p = softmax of the map logits [B, 2, H, W], p_fg = p[:, 1], p_bg = p[:, 0], λ = ``weight``. Every
class also has the keyword arguments of `Term`: ``name``, ``weight``, ``start_epoch``, ``end_epoch``,
``warmup_epochs``.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from dlib.configure.constants import SEED_IGNORE
from dlib.configure.literals import Backend, JointInput, LambdaStyle
from dlib.crf import IMAGE_RANGE, DenseCRFLoss, OutOfRange, joint_color_crf
from dlib.crf.losses import scaled
from dlib.losses.base import LossInputs, Term
from dlib.utils.distributed import mean_over_processes


class ClassCrossEntropy(Term):
    """λ · cross entropy of the class logits, mean over samples, with label smoothing."""

    name = "class"

    def __init__(self, label_smoothing: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        self.label_smoothing = label_smoothing

    def compute(self, inputs: LossInputs) -> Tensor:
        logits = self.need(inputs.class_logits, "class_logits")  # [B, C]
        labels = self.need(inputs.labels, "labels")  # [B]
        values = F.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, reduction="none"
        )  # [B]
        return inputs.sample_mean(values)


class SelfLearning(Term):
    """λ · cross entropy of the map logits against the seeds, mean over the seed pixels of the batch.

    No seed in the batch gives 0.

    Args:
        ignore_index: value of the pixels that are not seeds.
        balance: the loss is the average of the mean over the foreground seeds and the mean over the background
            seeds, so that the larger set does not dominate (ours; the published loss is the plain mean). A set
            without seeds counts as 0.
    """

    name = "sl_clc"
    from_cams = ("seeds",)

    def __init__(self, ignore_index: int = SEED_IGNORE, balance: bool = False, **common: Any) -> None:
        super().__init__(**common)
        self.ignore_index = ignore_index
        self.balance = balance

    def compute(self, inputs: LossInputs) -> Tensor:
        seeds = self.need(inputs.seeds, "seeds")  # [B, H, W]
        values = F.cross_entropy(
            inputs.map_logits, seeds, ignore_index=self.ignore_index, reduction="none"
        )  # [B, H, W], 0 where ignored
        if not self.balance:
            return values.sum() / _at_least_one((seeds != self.ignore_index).sum(), values)
        sides = [
            values.masked_fill(seeds != label, 0.0).sum() / _at_least_one((seeds == label).sum(), values)
            for label in (0, 1)
        ]
        return (sides[0] + sides[1]) / 2


class SoftCam(Term):
    """λ · cross entropy of the map logits against the CAM C as a soft label, mean over pixels and samples (ours).

    −C·log p_fg − (1 − C)·log p_bg. Seeds use only the surest pixels. This term tells the maps for every pixel how sure
    the CAM is, so that their values stay graded. A frame whose CAM is constant counts as 0.
    """

    name = "soft_cam_clc"
    from_cams = ("cams",)

    def compute(self, inputs: LossInputs) -> Tensor:
        cams = self.need(inputs.cams, "cams")  # [B, H, W]
        log_bg, log_fg = inputs.map_logits.log_softmax(dim=1).unbind(dim=1)  # [B, H, W] each
        values = -(cams * log_fg + (1 - cams) * log_bg).mean(dim=(1, 2))  # [B]
        alive = cams.amax(dim=(1, 2)) > cams.amin(dim=(1, 2))  # [B]
        return inputs.sample_mean(values.masked_fill(~alive, 0.0))


class ConRanField(Term):
    """λ · dense CRF loss of every frame alone, mean over samples: −Σ_k p·F5(p).

    Args:
        sigma_rgb, sigma_xy: standard deviations in colour values and pixels.
        scale_factor: image, p and σ_xy are rescaled by it.
        backend: of the filter, "auto", "cpp" or "torch".
    """

    name = "crf_clc"
    work = "crf"

    def __init__(
        self,
        sigma_rgb: float = 15.0,
        sigma_xy: float = 100.0,
        scale_factor: float = 1.0,
        backend: Backend = "auto",
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.loss = DenseCRFLoss(1.0, sigma_rgb, sigma_xy, scale_factor, backend, IMAGE_RANGE)

    def compute(self, inputs: LossInputs) -> Tensor:
        local = self.loss(inputs.images, inputs.probabilities)  # [] mean over this process's samples
        return local * (len(inputs.images) / inputs.batch_mean)


class RgbJointConRanField(Term):
    """λ · joint colour CRF loss of the frames of a video, mean over the videos with at least two frames.

    The frames of a video are put side by side in temporal order, as one wide image and one wide p:
    L = −Σ_k p·F(p) with the colour filter F. No such video gives 0.

    Args:
        sigma_rgb: standard deviation in values of the planes.
        scale_factor: planes (nearest) and p (bilinear) are rescaled by it.
        lambda_style: "constant": λ·L; "adaptive": λ·L/|L| with |L| detached. Each video is divided by its own |L|
            before the mean, so that every video has the same weight; 0 if L = 0.
        input_data: planes of the filter: "image", "deep_features" or "cam_logits", values
            unchanged, resized to p (nearest).
        input_re_dim: deep features are averaged over consecutive groups to this many planes; −1: all.
        backend: of the filter, "auto", "cpp" or "torch".
        seed_agreement: scale the term by the agreement of the maps with the seeds: 0 at chance (half of the seed
            pixels), 1 at full agreement. The term then spreads what the maps have learned from the seeds (ours).
    Raises ValueError for other values.
    """

    name = "rgb_jcrf_clc"
    work = "crf"

    def __init__(
        self,
        sigma_rgb: float = 15.0,
        scale_factor: float = 1.0,
        lambda_style: LambdaStyle = "constant",
        input_data: JointInput = "image",
        input_re_dim: int = -1,
        backend: Backend = "auto",
        seed_agreement: bool = False,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        if lambda_style not in get_args(LambdaStyle):
            raise ValueError(f"lambda_style must be one of {get_args(LambdaStyle)}, got {lambda_style!r}")
        if input_data not in get_args(JointInput):
            raise ValueError(f"input_data must be one of {get_args(JointInput)}, got {input_data!r}")
        if input_re_dim != -1 and input_re_dim < 1:
            raise ValueError(f"input_re_dim must be -1 or >= 1, got {input_re_dim}")
        if not scale_factor > 0:
            raise ValueError(f"scale_factor must be > 0, got {scale_factor}")
        self.sigma_rgb = sigma_rgb
        self.scale_factor = scale_factor
        self.lambda_style = lambda_style
        self.input_data = input_data
        self.input_re_dim = input_re_dim
        self.backend = backend
        self.seed_agreement = seed_agreement
        if seed_agreement:
            self.from_cams = ("seeds",)

    def compute(self, inputs: LossInputs) -> Tensor:
        return self.objective(inputs)[1]

    def objective(self, inputs: LossInputs) -> tuple[Tensor, Tensor]:
        groups = joint_groups(inputs.sequence, inputs.order)
        # Called even when this process has no group: the mean over processes is a collective call.
        count = _at_least_one(inputs.probabilities.new_full((), float(len(groups))), inputs.probabilities)
        scale = self._agree(inputs) if self.seed_agreement else 1.0
        if not groups:
            return inputs.zero, inputs.zero
        losses = self._energies(inputs, groups)  # [S]
        unweighted = losses.sum() / count
        if self.lambda_style == "constant":
            return unweighted * scale, unweighted
        sizes = losses.detach().abs()
        normalized = losses / torch.where(sizes > 0, sizes, 1.0)
        return normalized.sum() / count * scale, unweighted

    def _energies(self, inputs: LossInputs, groups: list[Tensor]) -> Tensor:
        """L of every video: [S]; NaN if the planes come from the network and are outside of the filter's range."""
        p, planes = inputs.probabilities, self._planes(inputs)  # [B, 2, H, W], [B, P, ·, ·]
        if planes.shape[-2:] != p.shape[-2:]:
            planes = F.interpolate(planes, size=p.shape[-2:], mode="nearest")  # [B, P, H, W]
        planes, p = scaled(planes, p, self.scale_factor)
        value_range = IMAGE_RANGE if self.input_data == "image" else None
        try:
            return joint_color_crf(planes, p, groups, self.sigma_rgb, self.backend, value_range)
        except OutOfRange:
            if self.input_data == "image":
                raise
            # The network's own values are too far apart for the filter: the network is diverging.
            return (p.sum() * math.nan).expand(len(groups))

    def _agree(self, inputs: LossInputs) -> Tensor:
        """Share of seeds to which the maps give the right label, mean over both labels, scaled so that chance is 0."""
        seeds = self.need(inputs.seeds, "seeds")  # [B, H, W]
        says = inputs.probabilities.detach().argmax(dim=1)  # [B, H, W]
        shares = [
            mean_over_processes(((seeds == label) & (says == label)).sum().float())
            / _at_least_one((seeds == label).sum(), inputs.probabilities)
            for label in (0, 1)
        ]
        return (shares[0] + shares[1] - 1).clamp(min=0.0)  # []

    def _planes(self, inputs: LossInputs) -> Tensor:
        if self.input_data == "image":
            return inputs.images
        if self.input_data == "cam_logits":
            return inputs.map_logits.detach()
        features = self.need(inputs.deep_features, "deep_features").detach()
        return features if self.input_re_dim == -1 else average_groups(features, self.input_re_dim)


class Entropy(Term):
    """λ · mean entropy of p over pixels, in bits (0..1). Finite for saturated maps."""

    name = "min_entropy_clc"

    def compute(self, inputs: LossInputs) -> Tensor:
        log_p = inputs.map_logits.log_softmax(dim=1)  # [B, 2, H, W], finite where p rounds to 0
        entropy = -(log_p.exp() * log_p).sum(dim=1) / math.log(2)  # [B, H, W]
        return inputs.sample_mean(entropy.mean(dim=(1, 2)))


def joint_groups(sequence: Tensor, order: Tensor) -> list[Tensor]:
    """Sample numbers of every sequence with at least two frames, in temporal order.

    Args:
        sequence, order: int64 [B] each.
    Returns: int64 tensors on the CPU, one per sequence, by the sequence's first place in the batch.
    """
    members: dict[int, list[tuple[int, int]]] = {}
    for sample, (video, place) in enumerate(zip(sequence.tolist(), order.tolist(), strict=True)):
        members.setdefault(video, []).append((place, sample))
    return [torch.tensor([s for _, s in sorted(frames)]) for frames in members.values() if len(frames) > 1]


def average_groups(features: Tensor, count: int) -> Tensor:
    """Average consecutive channels in ``count`` groups of nearly equal size: [B, D, h, w] -> [B, count, …].

    Raises ValueError for more groups than channels.
    """
    if count > features.shape[1]:
        raise ValueError(f"input_re_dim is {count}, but there are only {features.shape[1]} channels")
    return torch.stack([part.mean(dim=1) for part in features.tensor_split(count, dim=1)], dim=1)


def _at_least_one(count: Tensor, like: Tensor) -> Tensor:
    """Mean count over the processes, as a divisor: 1 if all counts are 0."""
    mean = mean_over_processes(count.to(like))
    return torch.where(mean > 0, mean, 1.0)
