"""Maps from the head's weights and from gradients of the class logit at the CAM layer.

Notation: A_k channel k of the CAM layer, S the class logit, g_k = ∂S/∂A_k, sums over pixels written Σ_ij.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dlib.cams.base import CamExtractor, target_scores, weighted_sum
from dlib.cams.layer import LayerModel
from dlib.cams.noise import combine, content_keys, hash_normal


class CAM(CamExtractor):
    """Class activation mapping (Zhou et al. 2016, eq. 2): M = Σ_k w_k A_k with the linear layer's weights w
    of the class. No ReLU."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        if isinstance(model, LayerModel):
            linear: Any = model.last_linear()
        else:
            linear = getattr(getattr(model, "classification_head", None), "fc", None)
        if not isinstance(linear, nn.Linear):
            raise ValueError("CAM needs a head with a linear layer classification_head.fc (pooling WGAP)")
        self._linear = linear

    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._classify(features, class_idx)
        if isinstance(self.model, LayerModel):
            self.model.check_head(self._linear, features, logits)
        weights = self._linear.weight.detach().float()[class_idx]  # [B, K]
        return weighted_sum(weights, features), logits


class GradientCam(CamExtractor):
    """Base of the methods that need ∂S/∂A; subclasses make the map from it in ``_combine``."""

    differentiates = True

    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        gradients, logits = self._gradients(features, class_idx)
        return self._combine(features, gradients).relu_(), logits

    def _gradients(self, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        """∂S/∂A [B, K, h, w] and the logits [B, C]; the graph covers only the part from A to the logits."""
        with torch.enable_grad():
            leaf = features.detach().requires_grad_()
            logits = self.model.logits_from_features(leaf).float()
            total = target_scores(logits, class_idx).sum()
            (gradients,) = torch.autograd.grad(total, leaf)
        return gradients, logits.detach()

    def _combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        """The map before the final ReLU: [B, K, h, w], [B, K, h, w] -> [B, h, w]."""
        raise TypeError(f"{type(self).__name__} is not a method by itself: use build_cam_extractor")


class GradCAM(GradientCam):
    """Grad-CAM (Selvaraju et al. 2017, eq. 1-2): ReLU Σ_k α_k A_k with α_k the mean of g_k over pixels."""

    def _combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        return weighted_sum(gradients.mean(dim=(2, 3)), features)


class GradCAMpp(GradientCam):
    """Grad-CAM++ (Chattopadhyay et al. 2018, eq. 5, 19): ReLU Σ_k w_k A_k, w_k = Σ_ij α_ij ReLU(∂Y/∂A_ij),
    α = g² / (2 g² + g³ Σ_ab A_ab), Y = exp(S).

    The factor exp(S) of ∂Y/∂A is the same for all pixels of an image, so it is left out. Only pixels with g > 0
    count, where α·g = g / (2 + g Σ_ab A_ab): this form has no g³ that would underflow and needs no ε.
    """

    def _combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        positive = gradients.relu()
        total = features.sum(dim=(2, 3), keepdim=True)  # [B, K, 1, 1]
        weights = _divide_(positive, torch.addcmul(positive.new_tensor(2.0), positive, total)).sum(dim=(2, 3))
        return weighted_sum(weights, features)


class SmoothGradCAMpp(GradCAMpp):
    """Smooth Grad-CAM++ (Omeiza et al. 2019): Grad-CAM++ in which g, g², g³ are means over noisy copies of
    the image: w_k = Σ_ij α_ij ReLU(D1), α = D2 / (2 D2 + D3 Σ_ab A_ab), D_p = mean over n copies of g^p; the
    activations A are those of the image itself. (The paper prints D1 in α's numerator; D2 makes it Grad-CAM++
    without noise.)

    For a head that is linear in A (pooling WGAP) g does not depend on the image: the noise has no effect, and
    the map is that of Grad-CAM++, which is then computed at its cost. Otherwise the noise of an image depends
    only on the seed and on its pixels.

    Args:
        samples: noisy copies. std: their standard deviation in units of the normalized image.
    """

    def __init__(self, model: nn.Module, *, samples: int = 4, std: float = 0.3, **options: Any) -> None:
        super().__init__(model, **options)
        self._samples, self._std = samples, std

    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        if self._is_linear(features, class_idx):
            return super()._maps(images, features, class_idx)
        logits = self._classify(features, class_idx)
        means = [torch.zeros_like(features) for _ in range(3)]  # of g, g², g³
        keys = combine(content_keys(images), self.seed)  # [B]
        for sample in range(self._samples):
            noise = hash_normal(combine(keys, sample), images[0].numel()).view(images.shape)
            noisy = (images + self._std * noise).to(images.dtype)
            gradients, _ = self._gradients(self._encode(noisy), class_idx)
            for power, mean in enumerate(means, start=1):
                mean += gradients**power / self._samples
        first, second, third = means
        total = features.sum(dim=(2, 3), keepdim=True)
        alpha = _divide_(second, 2 * second + third * total)
        return weighted_sum((alpha * first.relu()).sum(dim=(2, 3)), features).relu_(), logits

    def _is_linear(self, features: Tensor, class_idx: Tensor) -> bool:
        """Whether ∂S/∂A does not depend on A, found from the graph of one image; unknown counts as False."""
        if isinstance(self.model, LayerModel):
            return False
        with torch.enable_grad():
            leaf = features[:1].detach().requires_grad_()
            score = target_scores(self.model.logits_from_features(leaf), class_idx[:1]).sum()
            (gradient,) = torch.autograd.grad(score, leaf, create_graph=True)
            if not gradient.requires_grad:
                return True
            (second,) = torch.autograd.grad(gradient.sum(), leaf, allow_unused=True)
        return second is None


class XGradCAM(GradientCam):
    """XGrad-CAM (Fu et al. 2020, eq. 8): ReLU Σ_k w_k A_k with w_k = Σ_ij g_ij A_ij / Σ_ij A_ij (0 where that
    sum is 0)."""

    def _combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        weights = _divide_((gradients * features).sum(dim=(2, 3)), features.sum(dim=(2, 3)))  # [B, K]
        return weighted_sum(weights, features)


class LayerCAM(GradientCam):
    """LayerCAM (Jiang et al. 2021, eq. 4-6): ReLU Σ_k ReLU(g_k) ⊙ A_k, a weight for every pixel."""

    def _combine(self, features: Tensor, gradients: Tensor) -> Tensor:
        return gradients.relu().mul_(features).sum(dim=1)


class BuiltInMaps(CamExtractor):
    """The maps that the heads GAP, MaxPool, LogSumExpPool and WildCatCLHead pool: the chosen class's map."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__(model, **options)
        if not hasattr(model, "class_maps"):
            raise ValueError(
                "this head makes no class maps: use pooling GAP, MaxPool, LogSumExpPool or WildCatCLHead"
            )

    @torch.no_grad()
    def _maps(self, images: Tensor, features: Tensor, class_idx: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._classify(features, class_idx)
        maps = self.model.class_maps(features)  # [B, C, h, w]
        return maps[torch.arange(len(maps), device=maps.device), class_idx], logits


def _divide_(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0. Overwrites a and b: the layer is large, and each pass over it costs time."""
    return a.div_(b.masked_fill_(b == 0, torch.inf))
