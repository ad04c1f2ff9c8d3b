"""Finding the cuts between the shots of a video."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_BINS = 6
_GRID = 3
_WINDOW = 8  # frames on each side that tell how much this video changes without a cut


class CutDetector:
    """Compares the colours of successive frames, region by region.

    A cut is a change that is large in itself and against the changes around it, so that fast motion, camera shake
    and changing light are no cuts; a flash, after which the picture is as before, is none either.

    Args:
        threshold: smallest share in 0..1 of a picture's colours that a cut changes.
        contrast: how many times larger than the usual change nearby it must be.
        min_length: no shot is shorter, in frames; of two cuts closer together the first counts.
    """

    def __init__(self, threshold: float = 0.35, contrast: float = 3.0, min_length: int = 4) -> None:
        self.threshold, self.contrast, self.min_length = threshold, contrast, min_length
        self._features: list[NDArray[np.float32]] = []

    def add(self, image: NDArray[np.uint8]) -> None:
        """Take in the next frame [H,W,3]; frames of any size."""
        small = cv2.resize(image, (24 * _GRID, 18 * _GRID), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.int64) * _BINS // 256  # [h, w, 3]
        # brightness counts with half the bins, so that changing light moves little
        code = (lab[..., 0] // 2 * _BINS + lab[..., 1]) * _BINS + lab[..., 2]
        bins = (_BINS // 2) * _BINS**2
        blocks = code.reshape(_GRID, 18, _GRID, 24).transpose(0, 2, 1, 3).reshape(_GRID**2, -1)
        counts = np.stack([np.bincount(block, minlength=bins) for block in blocks]) / blocks.shape[1]
        gray = cv2.cvtColor(cv2.resize(small, (12, 9), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        form = gray.astype(np.float32).ravel()
        form = (form - form.mean()) / (form.std() + 8)
        self._features.append(np.concatenate([counts.ravel(), form]).astype(np.float32))

    def cuts(self) -> list[int]:
        """Indices of the frames that begin a new shot (0, the first frame, is not among them)."""
        n = len(self._features)
        change = np.array([0.0] + [self._distance(i - 1, i) for i in range(1, n)])
        found: list[int] = []
        for i in range(1, n):
            if change[i] < self.threshold or i - (found[-1] if found else 0) < self.min_length:
                continue
            around = [
                change[j] for j in range(max(1, i - _WINDOW), min(n, i + _WINDOW + 1)) if abs(j - i) > 1
            ]
            usual = float(np.median(around)) if around else 0.0
            if change[i] >= self.contrast * usual and not self._is_flash(i):
                found.append(i)
        return [i for i in found if n - i >= self.min_length]

    def _is_flash(self, i: int) -> bool:
        """Whether the picture is back within three frames to what it was before frame i, or was before that."""
        n = len(self._features)
        later = range(i + 1, min(i + 4, n))
        earlier = range(max(i - 4, 0), i - 1)
        back = [self._distance(i - 1, j) for j in later] + [self._distance(j, i) for j in earlier]
        return bool(back) and min(back) < 0.5 * self.threshold

    def _distance(self, a: int, b: int) -> float:
        """Change between two frames in 0..1: of colours by region, and of light and dark over the picture."""
        u, v = self._features[a], self._features[b]
        cells = len(u) - 108
        colours = 0.5 * float(np.abs(u[:cells] - v[:cells]).sum()) / _GRID**2
        form = 1 - float((u[cells:] * v[cells:]).sum()) / (
            np.linalg.norm(u[cells:]) * np.linalg.norm(v[cells:]) + 1e-6
        )
        return 0.65 * colours + 0.35 * min(form, 1.0)
