"""Maps whose channel weights come from the class score of masked images.

Notation: M_k = s(Up(A_k)), the k-th activation map resized to the image (bilinear) and min-max normalized to
[0, 1]; X the image; f the class logit. All methods: ReLU Σ_k α_k A_k, α = softmax over k of a mean score. The
papers subtract a common baseline f(X_b), which cancels in the softmax.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlib.cams.base import CamExtractor, target_scores, weighted_sum
from dlib.cams.maps import normalize_cams, upsample_cams
from dlib.cams.noise import combine, content_keys, hash_normal


class ScoreCAM(CamExtractor):
    """Score-CAM (Wang et al. 2020, algorithm 1): α = softmax_k f(X ⊙ M_k).

    A chunk has ``chunk_size`` masks, of several images if they fit, so memory does not grow with the batch or the
    channels. A constant A_k has M_k = 0: its masked image is black, and one forward pass gives the score of all
    such channels.

    Raises ValueError for a ``chunk_size`` below 1.
    """

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        if self.chunk_size < 1:
            raise ValueError(f"chunk_size {self.chunk_size}: at least 1 expected")

    @torch.no_grad()
    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._classify(features, class_idx)
        needed, scores = self._start(images, features, class_idx)  # bool [B, K], float32 [B, K]
        keys = self._keys(images)  # [B]
        size = (images.shape[2], images.shape[3])
        image_of, channel_of = needed.nonzero(as_tuple=True)
        for image, channel in zip(
            image_of.split(self.chunk_size), channel_of.split(self.chunk_size), strict=True
        ):
            masks = normalize_cams(upsample_cams(features[image, channel], size))  # [n, H, W]
            mask_keys = combine(keys[image], channel)  # [n]
            scores[image, channel] = self._mean_scores(images[image], masks, mask_keys, class_idx[image])
        return weighted_sum(torch.nan_to_num(scores.softmax(dim=1)), features).relu_(), logits

    def _start(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        """Which channels need their own forward passes, and the scores of the others."""
        black = self._logits(torch.zeros_like(images[:1]))  # [1, C]
        scores = black[0, class_idx].unsqueeze(1).repeat(1, features.shape[1])
        return features.amax(dim=(2, 3)) > features.amin(dim=(2, 3)), scores

    def _keys(self, images: Tensor) -> Tensor:
        """A key per image for the methods that add noise, int64 [B]."""
        return torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def _mean_scores(self, images: Tensor, masks: Tensor, keys: Tensor, class_idx: Tensor) -> Tensor:
        """The scores for the softmax: images [n, 3, H, W], masks [n, H, W], int64 [n], int64 [n] -> float32
        [n]."""
        masked = (images * masks.unsqueeze(1)).to(images.dtype)
        return target_scores(self._logits(masked), class_idx)

    def _logits(self, images: Tensor) -> Tensor:
        return self.model.logits_from_features(self._encode(images)).float()


class SSCAM(ScoreCAM):
    """SS-CAM (Wang et al. 2020, smoothing of the activation map): α = softmax_k mean_i f(X ⊙ (M_k + δ_i)),
    δ_i ~ N(0, std²) for every pixel.

    The noise depends only on the seed, the image's pixels, the channel and i. A channel that is 0 everywhere adds
    nothing to the map with any weight, so it is left out of the softmax: this only scales the map, and the
    normalization removes the scale.

    Args:
        samples: number of noisy masks i. std: their standard deviation (a mask's range is 1).
    """

    def __init__(self, model: nn.Module, *, samples: int = 35, std: float = 2.0, **options: Any) -> None:
        super().__init__(model, **options)
        self._samples, self._std = samples, std

    def _start(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        living = features.ne(0).flatten(2).any(dim=2)  # [B, K]
        return living, torch.full(living.shape, -torch.inf, device=images.device)

    def _keys(self, images: Tensor) -> Tensor:
        return combine(content_keys(images), self.seed)

    def _mean_scores(self, images: Tensor, masks: Tensor, keys: Tensor, class_idx: Tensor) -> Tensor:
        total = torch.zeros(len(masks), device=masks.device)
        for sample in range(self._samples):
            noise = hash_normal(combine(keys, sample), masks.shape[1] * masks.shape[2]).view(masks.shape)
            total += super()._mean_scores(images, masks + self._std * noise, keys, class_idx)
        return total / self._samples


class ISCAM(ScoreCAM):
    """IS-CAM (Naidu et al. 2020): α = softmax_k mean_{i=1..n} f(X ⊙ c_i M_k), c_i = Σ_{j≤i} j/n, the running
    sum of the integration steps.

    Args:
        samples: number of steps n.
    """

    def __init__(self, model: nn.Module, *, samples: int = 10, **options: Any) -> None:
        super().__init__(model, **options)
        self._samples = samples

    def _mean_scores(self, images: Tensor, masks: Tensor, keys: Tensor, class_idx: Tensor) -> Tensor:
        total, coefficient = torch.zeros(len(masks), device=masks.device), 0.0
        for step in range(1, self._samples + 1):
            coefficient += step / self._samples
            total += super()._mean_scores(images, coefficient * masks, keys, class_idx)
        return total / self._samples
