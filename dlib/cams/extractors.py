"""The CAM method of a name."""

from __future__ import annotations

import torch
from torch import nn

from dlib.cams.base import CamExtractor
from dlib.cams.gradient import CAM, BuiltInMaps, GradCAM, GradCAMpp, LayerCAM, SmoothGradCAMpp, XGradCAM
from dlib.cams.perturbation import ISCAM, SSCAM, ScoreCAM
from dlib.configure.constants import METHODS, POOLING_OF_BUILT_IN_METHOD, method_name

_PLAIN = {"CAM": CAM, "GradCam": GradCAM, "GradCAMpp": GradCAMpp, "XGradCAM": XGradCAM, "LayerCAM": LayerCAM}


def build_cam_extractor(
    model: nn.Module, method: str, generator: torch.Generator | None = None, chunk_size: int = 32
) -> CamExtractor:
    """The extractor of ``method`` (``--method``, in upper or lower case) for a classifier.

    Args:
        model: has ``cam_features`` and ``logits_from_features``; the built-in methods need ``class_maps``.
        generator: one seed is drawn from it now, for SmoothGradCAMpp and SSCAM; None: seed 0. Their noise
            depends on this seed and on the image alone, so that maps repeat and do not depend on the batch or
            its order.
        chunk_size: masked images per forward pass of ScoreCAM, SSCAM and ISCAM.
    Raises ValueError for an unknown method or a head that it does not fit.
    """
    method = method_name(method)
    seed = 0
    if generator is not None:
        seed = int(torch.randint(1 << 62, (1,), generator=generator, device=generator.device))
    if method in _PLAIN:
        return _PLAIN[method](model)
    if method in POOLING_OF_BUILT_IN_METHOD:
        return BuiltInMaps(model)
    if method == "SmoothGradCAMpp":
        return SmoothGradCAMpp(model, seed)
    if method == "ScoreCAM":
        return ScoreCAM(model, chunk_size)
    if method == "SSCAM":
        return SSCAM(model, seed, chunk_size)
    if method == "ISCAM":
        return ISCAM(model, chunk_size)
    raise ValueError(f"unknown CAM method {method!r}: one of {', '.join(METHODS)}")
