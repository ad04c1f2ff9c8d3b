"""What all class activation map extractors share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlib.cams.layer import LayerModel
from dlib.cams.maps import normalize_cams


class CamExtractor:
    """Class activation maps of a classifier, one batch at a time.

    The model has ``cam_features(images) -> A [B, K, h, w]`` (output of the CAM layer) and
    ``logits_from_features(A) -> [B, C]``; a ``LayerModel`` makes it of any other classifier. The encoder always runs
    without a graph: a gradient method builds a graph from A to the logits only. The model is in evaluation mode during
    a call and gets its modes back. No hook is left and nothing is kept. The encoder's forward passes, also of noisy and
    masked images, use an autocast that the caller opened; everything after them is float32 (a ``LayerModel`` has one
    pass for all).

    Attributes:
        differentiates: whether the method needs gradients.

    Args:
        seed: of the noise, for methods with noise.
        chunk_size: masked images per forward pass, for methods that mask.
    """

    differentiates: ClassVar[bool] = False

    def __init__(self, model: nn.Module, *, seed: int = 0, chunk_size: int = 32) -> None:
        self.model: Any = model
        self.seed = seed
        self.chunk_size = chunk_size
        self._autocast: dict[str, Any] = {}  # the caller's, during a call

    def __call__(self, images: Tensor, class_idx: Tensor, normalized: bool = True) -> Tensor:
        """Maps of class ``class_idx[b]`` for every image b.

        Args:
            images: [B, 3, H, W] as the model takes them.
            class_idx: int64 [B].
            normalized: min-max normalization of each map to [0, 1]; a constant map becomes 0.
        Returns: float32 [B, h, w], the CAM layer's resolution, on the images' device.
        Raises ValueError for shapes that do not fit and classes that the model does not have.
        """
        cams, _ = self._cams_and_logits(images, class_idx, None)
        return normalize_cams(cams) if normalized else cams

    def cams_and_logits(
        self, images: Tensor, class_idx: Tensor, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalized maps [B, h, w] and the class logits [B, C], float32, detached, of the same forward pass.

        Args:
            features: A [B, K, h, w] of the images, if the caller has it already; not of a ``LayerModel``.
        """
        cams, logits = self._cams_and_logits(images, class_idx, features)
        return normalize_cams(cams), logits

    def _cams_and_logits(
        self, images: Tensor, class_idx: Tensor, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if images.dim() != 4 or class_idx.shape != images.shape[:1]:
            shapes = f"{list(images.shape)}, {list(class_idx.shape)}"
            raise ValueError(f"images [B, 3, H, W] and class_idx [B] expected, got {shapes}")
        class_idx = class_idx.to(device=images.device, dtype=torch.int64)
        kind = images.device.type
        self._autocast = {
            "enabled": torch.is_autocast_enabled(kind),
            "dtype": torch.get_autocast_dtype(kind),
        }
        with torch.inference_mode(False), _evaluating(self.model):
            # A tensor made in inference mode cannot be part of a graph; its copy can.
            images = images.clone() if images.is_inference() else images.detach()
            class_idx = class_idx.clone() if class_idx.is_inference() else class_idx
            with torch.autocast(kind, enabled=False):
                if features is None:
                    features = self._encode(images)
                elif features.is_inference():
                    features = features.clone()
                return self._maps(images, features.detach().float(), class_idx)

    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        """The method's maps [B, h, w] before normalization, and the logits [B, C]."""
        raise TypeError(f"{type(self).__name__} is not a method by itself: use build_cam_extractor")

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        """A [B, K, h, w] in float32, computed in the caller's precision."""
        with torch.autocast(images.device.type, **self._autocast):
            return self.model.cam_features(images).float()

    @torch.no_grad()
    def _classify(self, features: Tensor, class_idx: Tensor) -> Tensor:
        """Logits [B, C] of the features. Raises ValueError for a class that the model does not have."""
        logits = self.model.logits_from_features(features).float()
        target_scores(logits, class_idx)
        return logits


def target_scores(logits: Tensor, class_idx: Tensor) -> Tensor:
    """The chosen class's logit of every image: [B, C], [B] -> [B]. Raises ValueError for an unknown class."""
    # On other devices, reading the values would wait for the device.
    if class_idx.device.type == "cpu" and class_idx.numel():
        low, high = int(class_idx.min()), int(class_idx.max())
        if low < 0 or high >= logits.shape[1]:
            raise ValueError(
                f"class {low if low < 0 else high}: the model has classes 0..{logits.shape[1] - 1}"
            )
    return logits.gather(1, class_idx.unsqueeze(1)).squeeze(1)


def weighted_sum(weights: Tensor, features: Tensor) -> Tensor:
    """Σ_k w_k A_k: [B, K], [B, K, h, w] -> [B, h, w], without a temporary as large as the features."""
    batch, _, height, width = features.shape
    return torch.bmm(weights.unsqueeze(1), features.flatten(2)).view(batch, height, width)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the context; afterwards every module has its own mode again, and no pass is kept."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
        if isinstance(model, LayerModel):
            model.forget()
