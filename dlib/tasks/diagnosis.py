"""Numbers that tell whether CoLo-CAM's maps are alive: their foreground, what pulls at them, and their seeds."""

from __future__ import annotations

import torch
from torch import Tensor

from dlib.losses import LossInputs


def diagnose_maps(inputs: LossInputs, terms: dict[str, Tensor], norms: bool = True) -> dict[str, Tensor]:
    """Foreground share of the maps (mean and spread over frames), agreement with the seeds, and with ``norms`` for
    each term the norm of its gradient at the map logits, which costs a backward pass through every term.

    Args:
        inputs: what the losses saw.
        terms: the active terms' weighted values, with their graph.
    Returns: scalars without graph; ``seed_agreement`` is the share of seed pixels whose label the maps give.
    """
    foreground = inputs.probabilities[:, 1].detach()  # [B, H, W]
    share = (foreground > 0.5).float().mean(dim=(1, 2))  # [B]
    found = {
        "fg_share_mean": share.mean(),
        "fg_share_std": share.std(unbiased=False),
        "collapsed_share": ((share < 0.02) | (share > 0.9)).float().mean(),
    }
    if inputs.seeds is not None:
        is_seed = (inputs.seeds == 0) | (inputs.seeds == 1)
        agrees = ((foreground > 0.5) == (inputs.seeds == 1)) & is_seed
        found["seed_agreement"] = agrees.sum() / is_seed.sum().clamp(min=1)
    for name, value in terms.items() if norms else ():
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, inputs.map_logits, retain_graph=True, allow_unused=True)
            found[f"grad_norm/{name}"] = torch.zeros(()) if gradient is None else gradient.norm()
    return found


def seed_purity(seeds: Tensor, boxes: list[Tensor]) -> tuple[int, int]:
    """How many foreground seeds lie inside a true box, and how many there are.

    Args:
        seeds: [B, H, W], 1 where foreground.
        boxes: per image [n, 4] x0, y0, x1, y1 in pixels, inclusive.
    For validation frames only: true boxes never reach training.
    """
    inside = 0
    for seed, image_boxes in zip(seeds, boxes, strict=True):
        rows, columns = torch.nonzero(seed == 1, as_tuple=True)
        hit = torch.zeros_like(rows, dtype=torch.bool)
        for x0, y0, x1, y1 in image_boxes.tolist():
            hit |= (columns >= x0) & (columns <= x1) & (rows >= y0) & (rows <= y1)
        inside += int(hit.sum())
    return inside, int((seeds == 1).sum())
