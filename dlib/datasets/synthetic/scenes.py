"""Videos and shots of the synthetic dataset: background, camera, light, movement, and the objects' masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlib.datasets.synthetic.figures import Figure, Pose, random_colour
from dlib.datasets.synthetic.painting import Array, blend, box, coverage, ellipse, value_noise

WHOLE_AREA = 3.0  # mean area of a figure in square body units
# streams of random numbers: leaving out the objects changes nothing else
_LOOKS, _BACKGROUND, _OBJECT, _CAMERA, _NOISE = range(5)


@dataclass(frozen=True)
class VideoKey:
    """What a video's content depends on, and nothing else."""

    seed: int
    class_index: int
    pattern: str
    video: int

    def generator(self, stream: int, shot: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.class_index, self.video, shot, stream])


@dataclass(frozen=True)
class RenderedFrame:
    """One frame and, for each object, what can be seen of it."""

    image: NDArray[np.uint8]  # [H, W, 3]
    masks: list[NDArray[np.bool_]]  # each [H, W]
    visible_shares: list[float]  # about 1 for an object that is fully in view
    head: NDArray[np.bool_]  # [H, W], visible pixels of the discs with the class pattern


class Video:
    """What all shots of a video share: shapes and colours of its figures."""

    def __init__(self, key: VideoKey, size: int) -> None:
        rng = key.generator(_LOOKS)
        self.key = key
        self.height, self.width = size, round(size * 2 / 3) * 2
        self.hue = float(rng.random())
        self.figures = [Figure.random(rng, key.pattern, self.hue)]
        if rng.random() < 0.12:
            self.figures.insert(0, Figure.random(rng, key.pattern, float(rng.random())))

    def shot(self, index: int, n_frames: int, with_objects: bool = True) -> Iterator[RenderedFrame]:
        """Render the frames of a shot; without objects only background and distractors are left."""
        stage = _Stage(self, index)
        objects = self.key.generator(_OBJECT, index)
        paths = [_Path.random(objects, self.width, self.height) for _ in self.figures]
        if not with_objects:
            paths = []
        occluder = _Occluder.random(objects, stage.palette) if paths and objects.random() < 0.4 else None
        noise = self.key.generator(_NOISE, index)
        for i in range(n_frames):
            time = i / max(n_frames - 1, 1)
            shift = stage.camera(i)
            canvas = stage.paint(time, shift)
            layers = []
            for figure, path in zip(self.figures, paths, strict=False):
                layers.append(figure.paint(canvas, path.position(time, shift), path.pose(time)))
            front = occluder.paint(canvas, time, paths[-1]) if occluder else None
            areas = [WHOLE_AREA * path.pose(time).scale ** 2 for path in paths]
            yield self._develop(canvas, layers, front, areas, stage.light(time), noise)

    def _develop(
        self,
        canvas: Array,
        layers: list[tuple[Array, Array]],
        front: Array | None,
        areas: list[float],
        light: Array,
        noise: np.random.Generator,
    ) -> RenderedFrame:
        """Apply light and sensor noise, and find which part of each object is visible."""
        hidden = np.zeros(canvas.shape[:2], bool) if front is None else front > 0.5
        masks: list[NDArray[np.bool_]] = []
        head = np.zeros(canvas.shape[:2], bool)
        for alpha, head_alpha in reversed(layers):  # the last figure lies in front
            masks.insert(0, (alpha > 0.5) & ~hidden)
            head |= (head_alpha > 0.5) & ~hidden
            hidden |= alpha > 0.5
        shares = [float(mask.sum()) / area for mask, area in zip(masks, areas, strict=True)]
        canvas *= light
        canvas += noise.standard_normal(canvas.shape, dtype=np.float32) * noise.uniform(2, 6)
        image = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
        return RenderedFrame(image, masks, shares, head)


class _Stage:
    """Background of a shot: two layers of clutter that move at different speed, and distractors."""

    def __init__(self, video: Video, shot: int) -> None:
        rng = video.key.generator(_BACKGROUND, shot)
        self.video = video
        self.margin = video.height // 5
        self.palette = _palette(rng, video.hue)
        height, width = video.height + 2 * self.margin, video.width + 2 * self.margin
        self.far = _ground(rng, height, width, self.palette)
        self.near = np.zeros((height, width, 4), np.float32)  # RGB, opacity
        for canvas, count in ((self.far, 14), (self.near, 5)):
            for _ in range(int(rng.integers(count // 2, count + 1))):
                _clutter(rng, canvas, self.palette)
        self.distractors = []
        for _ in range(int(rng.integers(0, 3))):
            figure = Figure.random(rng, None, float(rng.random()))
            self.distractors.append((figure, _Path.random(rng, video.width, video.height, 0.75)))
        camera = video.key.generator(_CAMERA, shot)
        self.pan = camera.uniform(-0.5, 0.5, 2) * self.margin
        shake = np.zeros(2)
        self.shakes = []
        for _ in range(64):
            shake = 0.6 * shake + camera.normal(0, 0.008 * video.height, 2)
            self.shakes.append(shake)
        self.gains = camera.uniform(0.7, 1.2, 2)
        self.tint = camera.uniform(0.92, 1.08, 3)
        slope = camera.uniform(-0.25, 0.25, 2)
        y, x = np.mgrid[-0.5 : 0.5 : video.height * 1j, -0.5 : 0.5 : video.width * 1j]
        self.shade = (1 + slope[0] * x + slope[1] * y)[..., None].astype(np.float32)  # [H, W, 1]

    def camera(self, frame: int) -> tuple[float, float]:
        x, y = self.shakes[frame % len(self.shakes)]
        return float(x), float(y)

    def light(self, time: float) -> Array:
        gain = self.gains[0] * (1 - time) + self.gains[1] * time
        return self.shade * (self.tint * gain).astype(np.float32)  # [H, W, 3]

    def paint(self, time: float, shake: tuple[float, float]) -> Array:
        """The background at ``time`` in [0, 1] with its distractors: [H, W, 3] in 0..255."""
        pan = self.pan * (time - 0.5)
        canvas = self._window(self.far, pan + shake)
        near = self._window(self.near, 1.7 * pan + shake)
        blend(canvas, near[..., :3], near[..., 3])
        for figure, path in self.distractors:
            figure.paint(canvas, path.position(time, shake), path.pose(time))
        return canvas

    def _window(self, layer: Array, shift: NDArray[np.float64]) -> Array:
        limit = self.margin - 2
        x, y = np.clip(-shift, -limit, limit) + self.margin
        left, top = int(x), int(y)
        fx, fy = np.float32(x - left), np.float32(y - top)
        block = layer[top : top + self.video.height + 1, left : left + self.video.width + 1]
        rows = block[:-1] * (1 - fy) + block[1:] * fy
        return rows[:, :-1] * (1 - fx) + rows[:, 1:] * fx


@dataclass(frozen=True)
class _Path:
    """Movement of a figure through a shot."""

    middle: tuple[float, float]
    way: tuple[float, float]
    wobble: float
    scale: float
    growth: float
    angle: float
    turn: float
    flip: float
    speed: float

    @classmethod
    def random(cls, rng: np.random.Generator, width: int, height: int, size: float = 1.0) -> _Path:
        scale = height * rng.uniform(0.18, 0.3) * size
        border = 0.05 if rng.random() < 0.2 else 0.3  # some objects are cut by the frame's border
        direction, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.35) * height
        return cls(
            middle=(width * rng.uniform(border, 1 - border), height * rng.uniform(max(border, 0.2), 0.75)),
            way=(float(np.cos(direction) * length), float(np.sin(direction) * length * 0.5)),
            wobble=rng.uniform(0, 0.03) * height,
            scale=scale,
            growth=rng.normal(0, 0.15),
            angle=rng.normal(0, 0.2),
            turn=rng.normal(0, 0.2),
            flip=1.0 if rng.random() < 0.5 else -1.0,
            speed=rng.uniform(2, 9),
        )

    def position(self, time: float, shake: tuple[float, float]) -> tuple[float, float]:
        t = time - 0.5
        x = self.middle[0] + self.way[0] * t + shake[0]
        return x, self.middle[1] + self.way[1] * t + self.wobble * float(np.sin(self.speed * time)) + shake[1]

    def pose(self, time: float) -> Pose:
        t = time - 0.5
        scale = self.scale * float(np.exp(self.growth * t * 2))
        return Pose(scale, self.angle + self.turn * t * 2, self.flip, self.speed * time)


@dataclass(frozen=True)
class _Occluder:
    """A bar of the background's colours that passes in front of the object."""

    colour: Array
    angle: float
    half_width: float
    start: float
    way: float

    @classmethod
    def random(cls, rng: np.random.Generator, palette: Array) -> _Occluder:
        colour = palette[int(rng.integers(len(palette)))] * rng.uniform(0.6, 1.1)
        start, way = rng.uniform(-1.5, 1.5), rng.uniform(-1.5, 1.5)
        return cls(colour.astype(np.float32), rng.uniform(-0.4, 0.4), rng.uniform(0.12, 0.3), start, way)

    def paint(self, canvas: Array, time: float, path: _Path) -> Array:
        """Paint over ``canvas`` [H,W,3] in place; returns the coverage [H,W]."""
        height, width = canvas.shape[:2]
        left = path.middle[0] + (self.start + self.way * time) * path.scale
        x = np.arange(width, dtype=np.float32)[None] - left
        y = np.arange(height, dtype=np.float32)[:, None] - path.middle[1]
        across = np.abs(x * np.float32(np.cos(self.angle)) + y * np.float32(np.sin(self.angle)))
        alpha = coverage(across - self.half_width * path.scale, 1.0)
        blend(canvas, self.colour, alpha)
        return alpha


def _palette(rng: np.random.Generator, object_hue: float) -> Array:
    """Five background colours [5, 3]; most objects differ from their background's hues, some do not."""
    hues = rng.random(2)
    for _ in range(8):
        if min(abs((object_hue - hue + 0.5) % 1 - 0.5) for hue in hues) > 0.12 or rng.random() < 0.1:
            break
        hues = rng.random(2)
    colours = [random_colour(rng, hues[i % 2], 0.06) for i in range(4)]
    return np.stack([*colours, random_colour(rng, rng.random())])


def _ground(rng: np.random.Generator, height: int, width: int, palette: Array) -> Array:
    """Cloudy background [height, width, 3] of the palette's colours."""
    side = max(height, width)
    first = value_noise(rng, side, 3, 5)[:height, :width, None]
    second = value_noise(rng, side, 5, 4)[:height, :width, None]
    ground = palette[0] * (1 - first) + palette[1] * first
    return ground * (1 - 0.6 * second) + palette[2] * (0.6 * second)


def _clutter(rng: np.random.Generator, canvas: Array, palette: Array) -> None:
    """One random textured shape on ``canvas`` [H,W,3], or [H,W,4] with opacity, in place."""
    height, width = canvas.shape[:2]
    x = np.arange(width, dtype=np.float32)[None] - rng.uniform(0, width)
    y = np.arange(height, dtype=np.float32)[:, None] - rng.uniform(0, height)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    a, b = rng.uniform(0.03, 0.2, 2) * height
    shape = box if rng.random() < 0.5 else ellipse
    alpha = coverage(shape(x * cos + y * sin, y * cos - x * sin, a, b), 1.0)
    colour = palette[int(rng.integers(len(palette)))] * rng.uniform(0.6, 1.2)
    stripe = 1 + rng.uniform(0, 0.35) * np.sign(np.sin(x * rng.uniform(0.2, 1.2)))
    blend(canvas[..., :3], (colour * stripe[..., None]).astype(np.float32), alpha)
    if canvas.shape[2] == 4:
        np.maximum(canvas[..., 3], alpha, out=canvas[..., 3])
