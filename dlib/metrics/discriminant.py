"""Which side of a frame its pixels belong to by a network's features: Fisher's linear discriminant (1936)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray

COMPONENTS = 24  # strongest directions of the features that are used: more would fit any mask
SHRINKAGE = 0.1  # share of the mean variance that is added to each direction's


class FeatureDiscriminant:
    """Log-odds of object against background by the features of the frames of a shot, for masks that may be wrong.

    The features of both sides are two Gaussians with one covariance. So a pixel outside of the mask that looks like its
    inside to the network gets positive odds, and the other way round.

    Args:
        features: of each frame float [C, h, w], all of one shape, of a coarser grid on it. Each channel's mean over a
            frame is taken away: frames of a shot may differ in light. Then they are reduced to ``COMPONENTS``
            principal components. If some of a frame are not finite, all of that frame count as its mean.
    Raises ValueError for another shape.
    """

    def __init__(self, features: Sequence[npt.NDArray[np.floating]]) -> None:
        shape = features[0].shape
        if len(shape) != 3 or 0 in shape or any(each.shape != shape for each in features):
            raise ValueError(f"expected features [C, h, w], got {[list(each.shape) for each in features]}")
        self._grid = (shape[1], shape[2])
        # One frame after the other: many channels of many frames need much memory in float64.
        products = [values @ values.T for values in map(_centred, features)]
        self._total = np.sum(products, axis=0) / (len(features) * shape[1] * shape[2])  # [C, C], covariance
        axes = np.eye(shape[0])
        if shape[0] > COMPONENTS:
            variances, directions = np.linalg.eigh(self._total)  # weakest first
            axes = directions[:, -COMPONENTS:].T
            self._total = np.diag(variances[-COMPONENTS:])
        self._values = np.concatenate([axes @ _centred(each) for each in features], axis=1)  # [C, N]

    def odds(self, shares: Sequence[FloatArray]) -> list[FloatArray]:
        """Log-odds float64 [H, W] of each frame, without those of the sides' sizes.

        Args:
            shares: of each frame [H, W] in 0..1, how far each pixel is taken for the object.
        """
        small = np.concatenate(
            [resized(share, self._grid, cv2.INTER_AREA).ravel() for share in shares]
        )  # [N]
        inside, outside = small.mean(), 1 - small.mean()
        if inside <= 0 or outside <= 0:
            return [np.zeros_like(share) for share in shares]
        count = len(small)
        mean = self._values @ small / (count * inside)  # [C], of the object
        other = self._values @ (1 - small) / (count * outside)
        within = self._total - inside * np.outer(mean, mean) - outside * np.outer(other, other)
        spread = np.trace(within) / len(within)
        if not spread > 0:
            return [np.zeros_like(share) for share in shares]
        within += SHRINKAGE * spread * np.eye(len(within))
        direction = np.linalg.solve(within, mean - other)
        odds = (direction @ self._values - direction @ (mean + other) / 2).reshape(len(shares), *self._grid)
        return [
            resized(each, share.shape, cv2.INTER_LINEAR) for each, share in zip(odds, shares, strict=True)
        ]


def _centred(features: npt.NDArray[np.floating]) -> FloatArray:
    """[C, h, w] -> float64 [C, h·w], each channel with mean 0; zeros if some are not finite."""
    values = features.reshape(len(features), -1).astype(np.float64)
    if not np.isfinite(values).all():
        return np.zeros_like(values)
    values -= values.mean(axis=1, keepdims=True)
    return values


def resized(values: FloatArray, shape: tuple[int, ...], way: int) -> FloatArray:
    """Values [h, w] on another grid [H, W]; ``way``: OpenCV's interpolation."""
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=way), np.float64)
