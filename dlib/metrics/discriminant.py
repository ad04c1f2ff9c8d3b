"""Which side of a frame its pixels belong to by a network's features: Fisher's linear discriminant (1936)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from dlib.metrics.boxes import FloatArray

COMPONENTS = 24  # strongest directions of the features that are used: more would fit any mask
SHRINKAGE = 0.1  # share of the mean variance that is added to each direction's


class FeatureDiscriminant:
    """Log-odds of object against background by the features of one frame, for a mask that may be soft and wrong.

    The features of both sides are two Gaussians with one covariance. So a pixel outside of the mask that looks like its
    inside to the network gets positive odds, and the other way round.

    Args:
        features: float [C, h, w], of a coarser grid on the same frame. They are reduced to ``COMPONENTS`` principal
            components. If some are not finite, they say nothing.
    Raises ValueError for another shape.
    """

    def __init__(self, features: npt.NDArray[np.floating]) -> None:
        if features.ndim != 3 or features.size == 0:
            raise ValueError(f"expected features [C, h, w], got {list(features.shape)}")
        self._grid = (features.shape[1], features.shape[2])
        values = features.reshape(len(features), -1).astype(np.float64)  # [C, N]
        if not np.isfinite(values).all():
            values = np.zeros_like(values)
        values -= values.mean(axis=1, keepdims=True)
        self._total = values @ values.T / values.shape[1]  # [C, C], covariance
        if len(values) > COMPONENTS:
            variances, directions = np.linalg.eigh(self._total)  # weakest first
            values = directions[:, -COMPONENTS:].T @ values
            self._total = np.diag(variances[-COMPONENTS:])
        self._values = values

    def odds(self, share: FloatArray) -> FloatArray:
        """Log-odds float64 [H, W], without those of the sides' sizes.

        Args:
            share: [H, W] in 0..1, how far each pixel is taken for the object.
        """
        small = _resized(share, self._grid, cv2.INTER_AREA).ravel()  # [N]
        inside, outside = small.mean(), 1 - small.mean()
        if inside <= 0 or outside <= 0:
            return np.zeros_like(share)
        count = len(small)
        mean = self._values @ small / (count * inside)  # [C], of the object
        other = self._values @ (1 - small) / (count * outside)
        within = self._total - inside * np.outer(mean, mean) - outside * np.outer(other, other)
        spread = np.trace(within) / len(within)
        if not spread > 0:
            return np.zeros_like(share)
        within += SHRINKAGE * spread * np.eye(len(within))
        direction = np.linalg.solve(within, mean - other)
        odds = direction @ self._values - direction @ (mean + other) / 2
        return _resized(odds.reshape(self._grid), share.shape, cv2.INTER_LINEAR)


def _resized(values: FloatArray, shape: tuple[int, ...], way: int) -> FloatArray:
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=way), np.float64)
