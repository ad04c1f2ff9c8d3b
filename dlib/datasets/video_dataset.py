"""Shots and frames as samples. The content of a sample depends on (seed, epoch, item, frame) alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dlib.configure.constants import TRAIN
from dlib.configure.literals import SampleDist, SampleStyle
from dlib.datasets.batch import Batch
from dlib.datasets.images import read_image
from dlib.datasets.index import MIN_CACHED_SHOTS, build_index, cache_file, check_names
from dlib.datasets.metadata import SplitMetadata
from dlib.datasets.sampling import allowed_frames, check_sampling, sample_frames
from dlib.datasets.transforms import draw_colors, draw_crop_flip, resize_cam, resize_image
from dlib.utils.errors import UserError


class FrameRequest(NamedTuple):
    """One frame to load: in training with the crop and flip of (epoch, item, frame, again), or uncropped.

    ``again`` numbers the draws of one item in one epoch, from 0.
    """

    epoch: int
    item: int
    frame: int
    whole: bool = False
    again: int = 0


class FrameRegion(NamedTuple):
    """A CAM and its region of interest."""

    cam: Tensor  # float32 [H, W], as the region was found in it
    mask: Tensor  # bool [H, W]
    box: Tensor  # int64 [4], inclusive
    size: Tensor  # [] Σ of the CAM over the region, as a share of the frame


def stacked_regions(found: Sequence[FrameRegion]) -> dict[str, Tensor]:
    """The regions as fields of a ``Batch``; no field for no regions."""
    if not found:
        return {}
    names = {"roi_masks": "mask", "roi_boxes": "box", "roi_sizes": "size"}
    return {name: torch.stack([getattr(region, part) for region in found]) for name, part in names.items()}


class _Sample(NamedTuple):
    request: FrameRequest
    frame: int  # the requested one, or its replacement
    key: int
    pixels: Tensor  # uint8 [3, H, W]
    cam: Tensor | None = None  # float32 [H, W]
    region: FrameRegion | None = None


class CamReader(Protocol):
    """Where the stored CAMs of frames come from."""

    def read(self, frame_id: str) -> Tensor:
        """The CAM [h, w] of a frame."""

    def read_together(self, frame_ids: Sequence[str]) -> Tensor:
        """The CAMs [k, h, w] of several frames."""


class CamPool(Protocol):
    """How a frame's CAM is made of the CAMs of several frames of its shot."""

    def frames(self, frame: int, count: int) -> Sequence[int]:
        """The frames whose CAMs are pooled for ``frame`` in a shot of ``count`` frames."""

    def pool(self, maps: Tensor, epoch: int) -> Tensor:
        """Their CAMs [k, h, w] as one map [h, w]."""


class RegionFinder(Protocol):
    """Finds the region of interest of a cropped CAM."""

    def __call__(self, cam: Tensor, pixels: Tensor, epoch: int) -> FrameRegion | None:
        """Of a CAM [H, W] and its frame's pixels [3, H, W] in an epoch; None: no region is wanted."""


class VideoDataset:
    """A split as items: shots, of which each epoch draws frames (train), or single frames (val, test)."""

    def __init__(
        self,
        metadata: SplitMetadata,
        data_dir: Path,
        *,
        train: bool,
        crop_size: int = 224,
        resize_size: int = 256,
        n_frames: int = 1,
        style: SampleStyle = "random",
        dist: SampleDist = "uniform",
        std: float = 1.0,
        frame_limit: float = 1.0,
        seed: int = 0,
        skip_bad_frames: bool = False,
        color: float = 0.0,
        scale_min: float = 1.0,
    ) -> None:
        """
        Args:
            metadata: a split; its ids must be shots if ``train``, which only split ``train`` has.
            data_dir: the dataset's folder.
            train: draw frames of shots and augment them; else every item is one uncropped frame.
            crop_size, resize_size: side of the output and of the frame before the crop, in pixels.
            n_frames, style, dist, std, frame_limit: see ``sample_frames``.
            seed: of all draws.
            skip_bad_frames: use another frame of the shot instead of an unreadable one (train only).
            color: strength 0..1 of random brightness, contrast and saturation (train only); 0: none.
            scale_min: least share of the frame's area that the random crop takes (train only); 1: crop_size.
        Raises ValueError for impossible arguments, UserError if a shot has no frames.
        """
        check_sampling(n_frames, style, dist, std)
        allowed_frames(1, frame_limit)
        if train != (metadata.split == TRAIN):
            raise ValueError(f"train={train} does not fit split {metadata.split!r}")
        if not 1 <= crop_size <= resize_size and train:
            raise ValueError(f"crop_size must be in 1..resize_size, got {crop_size} and {resize_size}")
        if not (0 <= color <= 1 and 0 < scale_min <= 1):
            raise ValueError(f"color must be in 0..1 and scale_min in (0, 1], got {color} and {scale_min}")
        self.metadata, self.data_dir, self.train = metadata, Path(data_dir), train
        self.crop_size, self.resize_size = crop_size, resize_size
        self.n_frames, self.style, self.dist, self.std = n_frames, style, dist, std
        self.frame_limit, self.seed = frame_limit, seed
        self.skip_bad_frames = skip_bad_frames
        self.cams: CamReader | None = None  # if given, training frames come with their CAM
        self.pool: CamPool | None = None  # None: a frame's CAM is its own
        self.regions: RegionFinder | None = None  # of the cropped CAMs
        self.color, self.scale_min = color, scale_min
        self.index = None
        if train:
            big = len(metadata.ids) >= MIN_CACHED_SHOTS
            cache = cache_file(metadata.folder, self.data_dir) if big else None
            self.index = build_index(self.data_dir, metadata.ids, cache)
            check_names(self.index)

    def __len__(self) -> int:
        return len(self.metadata.ids)

    def at_size(self, side: int) -> VideoDataset:
        """The same items with another ``crop_size``."""
        other = copy.copy(self)
        other.crop_size = side
        return other

    @property
    def sampling(self) -> str:
        """What its draws depend on, besides the epoch: shots, seed, and how frames are drawn."""
        frames = (self.n_frames, self.style, self.dist, self.std, self.frame_limit)
        return " ".join(map(str, (len(self), self.seed, *frames)))

    def rng(self, epoch: int, item: int, *more: int, again: int = 0) -> np.random.Generator:
        """The generator of an item (and of a frame of it) in an epoch."""
        return np.random.default_rng(
            [self.seed & 0xFFFFFFFF, epoch, item, *more, *([again] if again else [])]
        )

    def draw(self, epoch: int, item: int, again: int = 0) -> list[int]:
        """The frames that an epoch takes from an item at its draw ``again``, 1 to ``n_frames``."""
        options = (self.n_frames, self.frame_limit, self.style, self.dist, self.std)
        return sample_frames(self.count(item), *options, self.rng(epoch, item, again=again))

    def count(self, item: int) -> int:
        """Number of frames of an item."""
        return 1 if self.index is None else self.index.count(item)

    def frame_id(self, item: int, frame: int) -> str:
        """Path of a frame relative to the dataset's folder."""
        return self.metadata.ids[item] if self.index is None else self.index.frame_id(item, frame)

    def allowed(self, item: int) -> list[int]:
        """The frames of an item that training may draw."""
        return allowed_frames(self.count(item), self.frame_limit)

    def all_ids(self) -> list[str]:
        """Ids of all frames of the split."""
        return [self.frame_id(item, frame) for item in range(len(self)) for frame in range(self.count(item))]

    def locate(self, frame_ids: Sequence[str]) -> list[tuple[int, int]]:
        """(item, frame) of each frame id. Raises KeyError for an id that the split does not have."""
        items = {name: item for item, name in enumerate(self.metadata.ids)}
        if self.index is None:
            return [(items[name], 0) for name in frame_ids]
        places: dict[str, dict[str, int]] = {}
        found = []
        for frame_id in frame_ids:
            shot, name = frame_id.rsplit("/", 1)
            if shot not in places:
                places[shot] = {n: i for i, n in enumerate(self.index.frame_names(items[shot]))}
            found.append((items[shot], places[shot][name]))
        return found

    def load(self, requests: Sequence[FrameRequest]) -> Batch:
        """The requested frames as one batch.

        An unreadable frame raises UserError with its path; with ``skip_bad_frames`` the nearest readable frame
        of its shot is used instead (an uncropped frame is left out), and its id is in ``bad_frames``.
        """
        bad: list[str] = []
        samples = [sample for request in requests if (sample := self._sample(request, bad)) is not None]
        shape = (len(samples), 3, self.crop_size, self.crop_size)
        frames = (
            torch.stack([s.pixels for s in samples]) if samples else torch.empty(shape, dtype=torch.uint8)
        )
        cams = [s.cam for s in samples if s.cam is not None]
        items = torch.tensor([s.request.item for s in samples], dtype=torch.int64)  # [B]
        return Batch(
            frames=frames,  # [B, 3, H, W]
            labels=torch.from_numpy(self.metadata.labels[items.numpy()]),  # [B]
            ids=[self.frame_id(s.request.item, s.frame) for s in samples],
            indices=items,
            sequence=items + len(self) * torch.tensor([s.request.again for s in samples], dtype=torch.int64),
            order=torch.tensor([s.frame for s in samples], dtype=torch.int64),
            keys=torch.tensor([s.key for s in samples], dtype=torch.int64),
            cams=torch.stack(cams) if cams else None,  # [B, H, W]
            bad_frames=bad,
            **stacked_regions([s.region for s in samples if s.region is not None]),
        )

    def _sample(self, request: FrameRequest, bad: list[str]) -> _Sample | None:
        found = self._read(request, bad)
        if found is None:
            return None
        frame, image = found
        # All draws belong to the requested frame, so that its replacement changes nothing else.
        rng = self.rng(request.epoch, request.item, request.frame, 1, again=request.again)
        key = int(rng.integers(2**63))
        if not self.train or request.whole:
            return _Sample(request, frame, key, resize_image(image, self.crop_size))
        window = draw_crop_flip(self.resize_size, self.crop_size, rng, self.scale_min)
        pixels = window.of_picture(image, self.resize_size, self.crop_size)
        if self.color > 0:
            # The frames of a shot change in the same way: terms over several frames compare their colours.
            colors = self.rng(request.epoch, request.item, 0, 2, again=request.again)
            pixels = draw_colors(self.color, colors).apply(pixels)
        if self.cams is None:
            return _Sample(request, frame, key, pixels)
        stored = self._stored_cam(self.cams, request.epoch, request.item, frame)
        cam = window.apply(resize_cam(stored, self.resize_size), self.crop_size)
        region = None if self.regions is None else self.regions(cam, pixels, request.epoch)
        return _Sample(request, frame, key, pixels, region.cam if region else cam, region)

    def _stored_cam(self, cams: CamReader, epoch: int, item: int, frame: int) -> Tensor:
        """The stored CAM [h, w] of a frame, pooled over its window if there is a ``pool``."""
        if self.pool is None:
            return cams.read(self.frame_id(item, frame))
        together = self.pool.frames(frame, self.count(item))
        return self.pool.pool(cams.read_together([self.frame_id(item, f) for f in together]), epoch)

    def _read(self, request: FrameRequest, bad: list[str]) -> tuple[int, NDArray[np.uint8]] | None:
        """(frame, pixels [H, W, 3]) of the request or of its replacement; None if an uncropped frame is left out."""
        frame_id = self.frame_id(request.item, request.frame)
        try:
            return request.frame, read_image(self.data_dir / frame_id)
        except UserError:
            if not (self.skip_bad_frames and self.train):
                raise
        bad.append(frame_id)
        if request.whole:
            return None
        allowed = set(self.allowed(request.item))
        others = [f for f in range(self.count(request.item)) if f != request.frame]
        for frame in sorted(others, key=lambda f: (f not in allowed, abs(f - request.frame), f)):
            try:
                return frame, read_image(self.data_dir / self.frame_id(request.item, frame))
            except UserError:
                bad.append(self.frame_id(request.item, frame))
        raise UserError(f"shot {self.metadata.ids[request.item]!r}: no readable frame; leave the shot out")
