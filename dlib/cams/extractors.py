"""CAM methods by their names."""

from __future__ import annotations

import torch
from torch import nn

from dlib.cams.base import CamExtractor
from dlib.configure.constants import METHODS, method_name
from dlib.utils.lazy import load_object


def build_cam_extractor(
    model: nn.Module, method: str, generator: torch.Generator | None = None, chunk_size: int = 32
) -> CamExtractor:
    """The extractor of ``method`` (``--method``, in upper or lower case) for a classifier.

    Args:
        model: has ``cam_features`` and ``logits_from_features``; the built-in methods need ``class_maps``.
        generator: for methods with noise: one seed is drawn from it now; None: seed 0. The noise depends only on this
            seed and on the image, so that maps are reproducible and do not depend on the batch or its order.
        chunk_size: masked images per forward pass of methods that mask.
    Raises ValueError for an unknown method or a head that it does not fit.
    """
    method = method_name(method)
    if method not in METHODS:
        raise ValueError(f"unknown CAM method {method!r}: one of {', '.join(METHODS)}")
    seed = 0
    if generator is not None:
        seed = int(torch.randint(1 << 62, (1,), generator=generator, device=generator.device))
    kind: type[CamExtractor] = load_object(METHODS[method].extractor)
    return kind(model, seed=seed, chunk_size=chunk_size)
