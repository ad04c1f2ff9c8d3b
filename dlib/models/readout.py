"""From images to localization maps: training, evaluation, prediction and export all use this module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

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


# Flags that say how maps and boxes are finished, and the field of `MapMaker` that each of them sets.
FINISH = {
    "map_temperature": "temperature",
    "map_refine_sigma_rgb": "refine_sigma_rgb",
    "map_refine_sigma_xy": "refine_sigma_xy",
    "map_cam_share": "cam_share",
    "map_view_scale": "view_scale",
    "map_view_flip": "view_flip",
    "box_features": "box_features",
}
_FEATURE_STRIDE = 4  # pixels of the frame for one of the features that the box rule sees, or more


class Readout(NamedTuple):
    """What a model says about B frames."""

    maps: Tensor  # float32 [B, H, W] in 0..1
    logits: Tensor  # float32 [B, C]
    presence: Tensor | None  # float32 [B] in 0..1
    features: Tensor | None  # float [B, K, h, w]


@dataclass(frozen=True)
class _View:
    """What the network says about B frames, seen in one way; maps are [B, H, W], of the frames as they are."""

    logits: Tensor  # [B, C]
    presence: Tensor | None  # [B], see ``MapMaker.readout``
    decoded: Tensor | None  # the decoder's foreground; None: it has no decoder
    cams: Tensor | None  # None: not needed
    features: Tensor | None  # for the box rule; None: not needed


@dataclass(frozen=True)
class MapMaker:
    """Localization maps of a model: its decoder's foreground, or a CAM method's map of its classifier.

    If the frame is seen in several views, a map is the mean of the views' maps, each over its peak. Logits and presence
    are those of the smallest view, as it is: networks know a class best at the size of their training crops.
    """

    model: CamClassifier  # used in its present mode; a CAM method puts it into eval mode during the call
    method: str  # CAM method (--method); a decoder's maps do not depend on it
    temperature: float = 1.0  # divides a decoder's map logits before the softmax, > 0
    refine_sigma_rgb: float = 30.0  # width in colour levels of the filter that gives maps the frame's edges
    refine_sigma_xy: float = 0.0  # and in pixels; 0: off
    cam_share: float = 0.0  # share 0..1 of the classifier's CAM in a decoder's final map; 0: none
    view_scale: float = 1.0  # the frame is seen at this share of its size too; 1: not
    view_flip: bool = False  # it is seen mirrored too, at each size
    box_features: bool = False  # the box rule gets the encoder's features
    chunk_size: int = 32  # masked images per forward pass of ScoreCAM, SSCAM and ISCAM
    amp_dtype: torch.dtype | None = None  # precision of the network's forward pass; None: float32
    memory_format: torch.memory_format = torch.contiguous_format  # of the images that the network gets

    def finish(self) -> dict[str, float]:
        """How maps are finished, by the names of the flags."""
        return {flag: getattr(self, field) for flag, field in FINISH.items()}

    def in_one_view(self, share: float) -> MapMaker:
        """The maker that sees each frame once, at ``share`` of the size that its filter's width is meant for."""
        width = self.refine_sigma_xy * share
        return replace(self, view_scale=1.0, view_flip=False, refine_sigma_xy=width)

    def __call__(self, images: Tensor, frames: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Final maps and class logits: the first two of ``readout``."""
        return self.readout(images, frames, labels)[:2]

    @torch.no_grad()
    def readout(self, images: Tensor, frames: Tensor, labels: Tensor | None = None) -> Readout:
        """Final maps, class logits, presence, and features for the box rule.

        Presence is how sure the decoder is of its surest object pixel. Features are those of the finest layer of the
        encoder with at most a quarter of the frame's resolution, of the frame as it is.

        Args:
            images: float32 [B, 3, H, W], normalized as in ImageNet, on the model's device.
            frames: [B, 3, H, W] RGB 0..255, the same pixels; their edges refine the maps if the filter is on.
            labels: int64 [B], the class of each map; None: the class that the model predicts.
        Returns: presence is None without a decoder: a CAM is stretched to 0..1 in every image, and cannot say that
            there is nothing. Features are None without ``box_features``.
        Raises ValueError for a class that the model does not have.
        """
        views: list[_View] = []
        scales = [self.view_scale, 1.0] if self.view_scale < 1 else [1.0]
        for scale, mirrored in product(scales, [False, True] if self.view_flip else [False]):
            views.append(self._view(images, labels, scale, mirrored))
            labels = views[0].logits.argmax(dim=1) if labels is None else labels
        cams = self._joined([view.cams for view in views], frames)
        maps = self._joined([view.decoded for view in views], frames)
        if maps is None:
            maps = cams
        elif cams is not None:
            maps = (1 - self.cam_share) * over_peak(maps) + self.cam_share * over_peak(cams)
        assert maps is not None
        features = next((view.features for view in views if view.features is not None), None)
        return Readout(maps, views[0].logits.float(), views[0].presence, features)

    def _view(self, images: Tensor, labels: Tensor | None, scale: float, mirrored: bool) -> _View:
        """The frames of ``images`` [B, 3, H, W], seen at a share of their size, and mirrored or not."""
        whole = (images.shape[2], images.shape[3])
        if scale != 1:
            smaller = [round(side * scale) for side in whole]
            images = F.interpolate(images, size=smaller, mode="bilinear", antialias=True)
        if mirrored:
            images = images.flip(-1)
        size = (images.shape[2], images.shape[3])

        def placed(maps: Tensor) -> Tensor:
            maps = maps.flip(-1) if mirrored else maps
            return maps if size == whole else upsample_cams(maps, whole)

        for_boxes = self.box_features and scale == 1 and not mirrored
        features: list[Tensor] | None = None
        # Only for those who need them: a network that runs as a whole may be a compiled one.
        if for_boxes or (self.cam_share > 0 and self.model.decodes_maps):
            with self._precision(images):
                features = self.model.features(self._arranged(images))
        shown = _for_boxes(features, size) if features is not None and for_boxes else None
        last = None if features is None else features[-1]
        if not isinstance(self.model, UnetCoLoCAM):
            cams, logits = self.low_resolution(images, labels, last)
            return _View(logits, None, None, placed(upsample_cams(cams, size)), shown)
        with self._precision(images):
            if features is None:
                output = self.model(self._arranged(images))
            else:
                output = self.model.decode(features, images.shape[-2:])
        decoded = foreground(output.maps, self.temperature)
        presence = decoded.amax(dim=(1, 2))
        if self.cam_share == 0:
            return _View(output.logits, presence, placed(decoded), None, shown)
        cams, _ = self.low_resolution(images, labels, last)
        return _View(output.logits, presence, placed(decoded), placed(upsample_cams(cams, size)), shown)

    def _joined(self, maps: list[Tensor | None], frames: Tensor) -> Tensor | None:
        """The mean of the views' maps [B, H, W], each over its peak, with the frame's edges; None: there are none."""
        found = [one for one in maps if one is not None]
        if not found:
            return None
        joined = found[0] if len(found) == 1 else torch.stack([over_peak(one) for one in found]).mean(dim=0)
        return edge_maps(joined, frames, self.refine_sigma_rgb, self.refine_sigma_xy)

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

    def every_class(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, C] and maps computed without gradients, for exported models.

        Args: images: [B, 3, H, W], normalized.
        Returns: logits, maps, and with ``box_features`` the box rule's features [B, K, h, w]. Maps are for a decoder
            its foreground [B, H, W]; for a classifier one map per class [B, C, h, w] before normalization: the head's
            own, or for WGAP the linear CAM of its weights. With the method LayerCAM only positive weights count
            (LayerCAM's map of this head up to a factor).
        """
        features = self.model.features(images)
        shown = [_for_boxes(features, (images.shape[2], images.shape[3]))] if self.box_features else []
        if isinstance(self.model, UnetCoLoCAM):
            output = self.model.decode(features, images.shape[-2:])
            return output.logits, foreground(output.maps, self.temperature), *shown
        logits = self.model.logits_from_features(features[-1])
        return logits, self._linear_maps(features[-1]), *shown

    def _linear_maps(self, features: Tensor) -> Tensor:
        """One map for each class [B, C, h, w] of the last features [B, K, h, w]."""
        if not isinstance(self.model.classification_head, WGAP):
            return self.model.class_maps(features)
        weights = self.model.classification_head.fc.weight  # [C, K]
        if self.method == "LayerCAM":
            weights = weights.relu()
        return F.conv2d(features, weights[:, :, None, None])

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.model.parameters()).device

    def _arranged(self, images: Tensor) -> Tensor:
        return images.contiguous(memory_format=self.memory_format)

    def _precision(self, images: Tensor) -> torch.autocast:
        wanted = self.amp_dtype is not None
        return torch.autocast(images.device.type, dtype=self.amp_dtype or torch.bfloat16, enabled=wanted)


def _for_boxes(features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """The finest of the features [B, K, h, w] that are at least ``_FEATURE_STRIDE`` times as coarse as the frame."""
    width = -(-size[1] // _FEATURE_STRIDE)
    return next((one for one in features if one.shape[-1] <= width), features[-1])
