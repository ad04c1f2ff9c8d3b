"""Frames drawn here, and video files of them."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dlib.datasets.synthetic.scenes import Video, VideoKey


def scene(index: int, width: int, height: int) -> np.ndarray:
    """A bright disc that moves over a textured ground, uint8 [H, W, 3]."""
    y, x = np.mgrid[:height, :width]
    ground = 60 + 30 * np.sin(x / 4) * np.cos(y / 5)
    disc = (x - width * (0.3 + 0.02 * index)) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
    return np.stack([np.where(disc, 230, ground), ground, np.where(disc, 40, ground)], -1).astype(np.uint8)


def write_clip(
    path: Path, frames: int, width: int = 48, height: int = 36, rate: Fraction = Fraction(25)
) -> Path:
    """An H.264 clip of ``scene``; sides must be even."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(i, width, height), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_sound(path: Path) -> Path:
    """A file with sound and no pictures."""
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def shots(lengths: list[int], size: int = 48, seed: int = 0) -> list[np.ndarray]:
    """Synthetic shots of the given lengths after one another, every second one from the same video."""
    images = []
    for i, length in enumerate(lengths):
        video = Video(VideoKey(seed, 0, "ring", i // 2), size)
        images += [frame.image for frame in itertools.islice(video.shot(i, 25), length)]
    return images


def numbered(n: int, size: tuple[int, int] = (64, 48)) -> list[np.ndarray]:
    """Frames that carry their number: gray level 8·i, with a bright left half."""
    images = []
    for i in range(n):
        image = np.full((size[1], size[0], 3), 8 * i, np.uint8)
        image[:, : size[0] // 2] += 40
        images.append(image)
    return images


def encode_clip(
    path: Path,
    images: list[np.ndarray],
    times: list[int] | None = None,
    codec: str = "mpeg4",
    aspect: Fraction | None = None,
) -> Path:
    """Encode RGB images at 25 per second, or at ``times`` in milliseconds; ``aspect`` is that of one pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def joined(path: Path, *parts: list[np.ndarray]) -> Path:
    """Transport streams of 25 frames per second, one behind the other: each begins at time 0 again."""
    data = b""
    for images in parts:
        with av.open(str(path), "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.height, stream.width = images[0].shape[:2]
            stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
            for image in images:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        data += path.read_bytes()
    path.write_bytes(data)
    return path
