"""Box extraction as the protocol defines it: every threshold is applied and searched separately."""

from __future__ import annotations

import cv2
import numpy as np


def plain_boxes(cam: np.ndarray, taus: np.ndarray, multi_contour: bool = False) -> list[np.ndarray]:
    """Boxes of a map [H, W] in [0, 1] at each threshold; int64 [n, 4] each."""
    u = (cam * 255).astype(np.uint8)
    height, width = u.shape
    result = []
    for tau in taus:
        mask = (u > int(tau * u.max())).astype(np.uint8) * 255
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
        if len(contours) == 0:
            result.append(np.zeros((1, 4), dtype=np.int64))
            continue
        if not multi_contour:
            contours = [max(contours, key=cv2.contourArea)]
        boxes = []
        for contour in contours:
            x, y, w, h = cv2.boundingRect(contour)
            boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
        result.append(np.array(boxes, dtype=np.int64))
    return result
