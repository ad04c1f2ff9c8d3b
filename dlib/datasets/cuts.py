"""Where the shots of a video begin."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

SIZE = (128, 96)  # width and height that frames are compared at
_FLASH = 3  # frames that a flash lasts at most
_RATE = 25.0  # of the time stamps that the detector wants; only indices count here
_WINDOW = 3  # frames on each side that tell how much this video changes without a cut


class CutDetector:
    """Compares the colours of successive frames.

    A cut is a change that is much larger than the changes around it (PySceneDetect's adaptive detector). So fast
    motion, camera shake and changing light are not cuts. A flash, after which the picture is as before, is not a cut.
    A cut is known once four frames after it were added. A long video needs no more memory than a short one.

    Args:
        threshold: how many times larger than the changes around it the change at a cut must be.
        min_length: smallest length of a shot, in frames; of two cuts that are closer the first counts.
    """

    def __init__(self, threshold: float = 2.5, min_length: int = 4) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._detector = AdaptiveDetector(threshold, min_length, _WINDOW)
        self._min_length = min_length
        # The last frames, small, each [12, 16, 3]: those that tell a flash from a cut.
        self._small: deque[NDArray[np.uint8]] = deque(maxlen=2 * (_WINDOW + _FLASH + 1))
        self._count = 0
        self._found: list[int] = []

    def add(self, image: NDArray[np.uint8]) -> None:
        """Add the next frame [H,W,3], of any size."""
        import cv2
        from scenedetect.common import FrameTimecode

        picture = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)
        time = FrameTimecode(self._count, _RATE)
        self._small.append(np.asarray(cv2.resize(picture, (16, 12), interpolation=cv2.INTER_AREA), np.uint8))
        self._count += 1
        bgr = np.ascontiguousarray(picture[..., ::-1])
        cuts = [cut.frame_num for cut in self._detector.process_frame(time, bgr)]
        self._found += [cut for cut in cuts if not self._is_flash(cut)]

    def cuts(self) -> list[int]:
        """Indices of the frames that begin a new shot (0, the first frame, is not among them)."""
        return [i for i in self._found if self._min_length <= i <= self._count - self._min_length]

    def _is_flash(self, i: int) -> bool:
        """Whether the picture soon looks again as before frame i, or frame i looks again as shortly before."""
        change = self._distance(i - 1, i)
        later = [self._distance(i - 1, j) for j in range(i + 1, min(i + 1 + _FLASH, self._count))]
        earlier = [self._distance(j, i) for j in range(max(i - 1 - _FLASH, 0), i - 1)]
        return min([*later, *earlier], default=change) < 0.5 * change

    def _distance(self, a: int, b: int) -> float:
        first = self._count - len(self._small)
        return float(np.abs(self._small[a - first].astype(int) - self._small[b - first]).mean())
