"""Input of the benchmarks: frames of the shared videos if they are beside the project, else textured images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "real-videos"


def images(count: int, size: int = 224) -> tuple[Tensor, str]:
    """[count, 3, size, size] float32 0..255, and where they come from."""
    paths = sorted(SHARED.glob("*/data/*/shots/*/*.jpg"))
    if paths:
        chosen = [paths[i * len(paths) // count] for i in range(count)]
        frames = [_read(path, size) for path in chosen]
        source = "video frames"
    else:
        rng = np.random.default_rng(0)
        frames = [_textured(rng, size) for _ in range(count)]
        source = "synthetic textures"
    return torch.from_numpy(np.stack(frames).transpose(0, 3, 1, 2).astype(np.float32).copy()), source


def maps(count: int, size: int = 224, channels: int = 2) -> Tensor:
    """[count, channels, size, size] float32, smooth, sum 1 over the channels."""
    logits = torch.randn(count, channels, 14, 14, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(3 * logits, (size, size), mode="bilinear").softmax(1)


def _textured(rng: np.random.Generator, size: int) -> np.ndarray:
    """[size, size, 3] uint8: octaves of smooth noise, like a natural image's spectrum."""
    image = np.full((size, size, 3), 128.0)
    for octave in range(2, 8):
        noise = rng.normal(0, 110 / octave**1.5, (2**octave, 2**octave, 3))
        image += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def _read(path: Path, size: int) -> np.ndarray:
    """[size, size, 3] uint8 RGB."""
    frame = cv2.imread(str(path))
    if frame is None:
        raise OSError(f"{path} is not a picture")
    return cv2.resize(frame, (size, size))[..., ::-1]
