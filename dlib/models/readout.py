"""From images to localization maps: training, evaluation, prediction and export all use this module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dlib.cams import build_cam_extractor, edge_maps, upsample_cams
from dlib.models.classifier import CamClassifier
from dlib.models.unet import UnetCoLoCAM
from dlib.poolings import WGAP


def foreground(map_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """CAM [B, H, W] of map logits [B, 2, H, W]: softmax over the two maps, channel 1; no min-max normalization."""
    return F.softmax(map_logits.float() / temperature, dim=1)[:, 1]


def over_peak(maps: Tensor) -> Tensor:
    """Maps [B, H, W] >= 0, each divided by its highest value; a map of zeros does not change."""
    peak = maps.amax(dim=(1, 2), keepdim=True)  # [B, 1, 1]
    return maps / torch.where(peak > 0, peak, 1)


@dataclass(frozen=True)
class MapMaker:
    """Localization maps of a model: its decoder's foreground, or a CAM method's map of its classifier."""

    model: CamClassifier  # used in its present mode; a CAM method puts it into eval mode during the call
    method: str  # CAM method (--method); a decoder's maps do not depend on it
    temperature: float = 1.0  # divides a decoder's map logits before the softmax, > 0
    refine_sigma_rgb: float = (
        30.0  # widths of the filter that gives maps the frame's edges: in colour levels,
    )
    refine_sigma_xy: float = 0.0  # and in pixels, 0: off
    cam_share: float = 0.0  # share 0..1 of the classifier's CAM in a decoder's final map; 0: none
    chunk_size: int = 32  # masked images per forward pass of ScoreCAM, SSCAM and ISCAM
    amp_dtype: torch.dtype | None = None  # precision of the network's forward pass; None: float32
    memory_format: torch.memory_format = torch.contiguous_format  # of the images that the network gets

    def __call__(self, images: Tensor, frames: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Final maps and class logits: the first two of ``with_presence``."""
        maps, logits, _ = self.with_presence(images, frames, labels)
        return maps, logits

    @torch.no_grad()
    def with_presence(
        self, images: Tensor, frames: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Final maps, class logits, and presence: how sure the decoder is of its surest object pixel.

        Args:
            images: float32 [B, 3, H, W], normalized as in ImageNet, on the model's device.
            frames: [B, 3, H, W] RGB 0..255, the same pixels; their edges refine the maps if the filter is on.
            labels: int64 [B], the class of each map; None: the class that the model predicts.
        Returns: float32 [B, H, W] in 0..1, float32 [B, C], float32 [B] in 0..1. Presence is None without a decoder:
            a CAM is stretched to 0..1 in every image, and cannot say that there is nothing.
        Raises ValueError for a class that the model does not have.
        """
        if not self.model.decodes_maps:
            return *self._cams(images, frames, labels), None
        features = None
        with self._precision(images):
            if self.cam_share > 0:  # the CAM needs the features too
                assert isinstance(self.model, UnetCoLoCAM)
                features = self.model.features(self._arranged(images))
                output = self.model.decode(features, images.shape[-2:])
            else:
                output = self.model(self._arranged(images))
        decoded = foreground(output.maps, self.temperature)
        presence = decoded.amax(dim=(1, 2))
        maps = self._edges(decoded, frames)
        if features is not None:
            cams, _ = self._cams(images, frames, labels, features[-1])
            maps = (1 - self.cam_share) * over_peak(maps) + self.cam_share * over_peak(cams)
        return maps, output.logits.float(), presence

    def _cams(
        self, images: Tensor, frames: Tensor, labels: Tensor | None, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The classifier's CAMs [B, H, W], refined, and logits [B, C]."""
        cams, logits = self.low_resolution(images, labels, features)
        return self._edges(upsample_cams(cams, (images.shape[2], images.shape[3])), frames), logits

    def _edges(self, maps: Tensor, frames: Tensor) -> Tensor:
        return edge_maps(maps, frames, self.refine_sigma_rgb, self.refine_sigma_xy)

    @torch.no_grad()
    def low_resolution(
        self, images: Tensor, labels: Tensor | None = None, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """CAMs [B, h, w] as the CAM layer gives them, min-max normalized, and logits [B, C].

        Arguments as above; ``features``: what the CAM layer gives for the images, if it is known.
        """
        images = self._arranged(images)
        extractor = build_cam_extractor(self.model, self.method, chunk_size=self.chunk_size)
        with self._precision(images):
            if labels is not None:
                return extractor.cams_and_logits(images, labels, features)
            # Both the predicted class and its map need the features.
            features = self.model.cam_features(images) if features is None else features  # [B, K, h, w]
            predicted = self.model.logits_from_features(features).argmax(dim=1)
            return extractor.cams_and_logits(images, predicted, features)

    def every_class(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, C] and maps computed without gradients, for exported models.

        Args: images: [B, 3, H, W], normalized.
        Returns: for a decoder its foreground [B, H, W]; for a classifier one map per class [B, C, h, w] before
            normalization: the head's own, or for WGAP the linear CAM of its weights. With the method LayerCAM only
            positive weights count (LayerCAM's map of this head up to a factor).
        """
        if self.model.decodes_maps:
            output = self.model(images)
            return output.logits, foreground(output.maps, self.temperature)
        features = self.model.cam_features(images)  # [B, K, h, w]
        logits = self.model.logits_from_features(features)
        if not isinstance(self.model.classification_head, WGAP):
            return logits, self.model.class_maps(features)
        weights = self.model.classification_head.fc.weight  # [C, K]
        if self.method == "LayerCAM":
            weights = weights.relu()
        return logits, F.conv2d(features, weights[:, :, None, None])

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.model.parameters()).device

    def _arranged(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.memory_format)

    def _precision(self, images: Tensor) -> torch.autocast:
        wanted = self.amp_dtype is not None
        return torch.autocast(images.device.type, dtype=self.amp_dtype or torch.bfloat16, enabled=wanted)
