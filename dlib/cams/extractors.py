"""CAM methods by their names."""

from __future__ import annotations

import torch
from torch import nn

from dlib.cams.base import CamExtractor
from dlib.cams.layer import LayerModel, Reshape
from dlib.configure.constants import METHODS, method_name
from dlib.utils.lazy import load_object


def build_cam_extractor(
    model: nn.Module,
    method: str,
    generator: torch.Generator | None = None,
    chunk_size: int = 32,
    *,
    layer: str | nn.Module | None = None,
    reshape: Reshape | None = None,
) -> CamExtractor:
    """The extractor of ``method`` (``--method``, in upper or lower case) for a classifier.

    Args:
        model: any classifier with a ``layer``. Without one it has ``cam_features`` and ``logits_from_features``, and
            for the built-in methods ``class_maps``.
        generator: for methods with noise: one seed is drawn from it now; None: seed 0. The noise depends only on this
            seed and on the image, so that maps are reproducible and do not depend on the batch or its order.
        chunk_size: masked images per forward pass of methods that mask.
        layer: name of the module whose output is A, such as "layer4", or the module itself.
        reshape: the layer's output -> A [B, K, h, w], see ``LayerModel``.
    Raises ValueError for an unknown method or layer, or a head that the method does not fit.
    """
    method = method_name(method)
    if method not in METHODS:
        raise ValueError(f"unknown CAM method {method!r}: one of {', '.join(METHODS)}")
    seed = 0
    if generator is not None:
        seed = int(torch.randint(1 << 62, (1,), generator=generator, device=generator.device))
    kind: type[CamExtractor] = load_object(METHODS[method].extractor)
    if layer is not None:
        model = LayerModel(model, layer, reshape, graph=kind.differentiates)
    elif reshape is not None or not hasattr(model, "cam_features"):
        raise ValueError(
            f"{type(model).__name__}: give layer=, the name of its module whose output is the map"
        )
    return kind(model, seed=seed, chunk_size=chunk_size)
