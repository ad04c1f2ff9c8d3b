"""The terms of the total loss that constrain sizes of foreground and background, each under the log-barrier.

Notation and common arguments: see `dlib.losses.colocam`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dlib.cams.roi import filled_boxes
from dlib.losses.base import BarrierTerm, LossInputs
from dlib.losses.elb import ELB


class MaxSizePositive(BarrierTerm):
    """λ/2 · [ELB(−Σ p_fg) + ELB(−Σ p_bg)]: neither foreground nor background may vanish. Sums over pixels."""

    name = "max_sizepos_clc"

    def compute(self, inputs: LossInputs) -> Tensor:
        sizes = inputs.probabilities.sum(dim=(2, 3))  # [B, 2]
        return inputs.sample_mean(self.elb.values(-sizes).sum(dim=1) / 2)


class BgSizeGreaterFg(BarrierTerm):
    """λ · ELB(Σ p_fg − Σ p_bg): the background is larger than the foreground."""

    name = "size_bg_g_fg_clc"

    def compute(self, inputs: LossInputs) -> Tensor:
        bg, fg = inputs.probabilities.sum(dim=(2, 3)).unbind(dim=1)  # [B], [B]
        return inputs.sample_mean(self.elb.values(fg - bg))


class FgSize(BarrierTerm):
    """λ/2 · [ELB(s − ε − a) + ELB(a − s − ε)]: the foreground's share a = mean p_fg stays within s ± ε.

    Args:
        elb: the barrier.
        eps: ε, >= 0.
    """

    name = "sizefg_tmp_clc"
    from_cams = ("fg_sizes",)

    def __init__(self, elb: ELB | None = None, eps: float = 0.001, **common: Any) -> None:
        super().__init__(elb, **common)
        if not eps >= 0:
            raise ValueError(f"eps must be >= 0, got {eps}")
        self.eps = float(eps)

    def compute(self, inputs: LossInputs) -> Tensor:
        share = inputs.probabilities[:, 1].mean(dim=(1, 2))  # [B]
        wanted = self.need(inputs.fg_sizes, "fg_sizes").to(share)  # [B]
        low = self.elb.values(wanted - self.eps - share)
        high = self.elb.values(share - wanted - self.eps)
        return inputs.sample_mean((low + high) / 2)


class EmptyOutsideBbox(BarrierTerm):
    """λ · ELB(Σ p_fg outside the region of interest's box)."""

    name = "empty_out_bb_clc"
    from_cams = ("roi_boxes",)

    def compute(self, inputs: LossInputs) -> Tensor:
        fg = inputs.probabilities[:, 1]  # [B, H, W]
        boxes = self.need(inputs.roi_boxes, "roi_boxes").to(fg.device)  # [B, 4]
        inside = filled_boxes(boxes, fg.shape[1], fg.shape[2])  # [B, H, W]
        return inputs.sample_mean(self.elb.values(fg.masked_fill(inside, 0.0).sum(dim=(1, 2))))
