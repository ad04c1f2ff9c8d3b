"""Numbers that show whether a decoder's maps collapse: their foreground, the terms' gradients, and their seeds."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dlib.cams import MapFolder, upsample_cams
from dlib.cams.roi import filled_boxes
from dlib.datasets.batch import Batch
from dlib.datasets.loaders import frame_loader
from dlib.datasets.metadata import scaled_boxes
from dlib.datasets.transforms import resize_cam
from dlib.datasets.video_dataset import VideoDataset
from dlib.losses import LossInputs
from dlib.models import CamClassifier, MapMaker
from dlib.tasks.decoder.labels import SeedRecipe
from dlib.utils.signals import StopRequest

if TYPE_CHECKING:
    from dlib.tasks.decoder.task import DecoderTask


def diagnose_maps(inputs: LossInputs, terms: dict[str, Tensor], norms: bool = True) -> dict[str, Tensor]:
    """Foreground share of the maps (mean and spread over frames), agreement with the seeds, and with ``norms`` for
    each term the norm of its gradient at the map logits, which needs a backward pass through every term.

    Args:
        inputs: what the losses saw.
        terms: the active terms' weighted values, with their graph.
    Returns: scalars without graph; ``seed_agreement`` is the share of seed pixels whose label the maps give.
    """
    foreground = inputs.probabilities[:, 1].detach()  # [B, H, W]
    share = (foreground > 0.5).float().mean(dim=(1, 2))  # [B]
    found = {
        "fg_share_mean": share.mean(),
        "fg_share_std": share.std(unbiased=False),
        "collapsed_share": ((share < 0.02) | (share > 0.9)).float().mean(),
    }
    if inputs.seeds is not None:
        is_seed = (inputs.seeds == 0) | (inputs.seeds == 1)
        agrees = ((foreground > 0.5) == (inputs.seeds == 1)) & is_seed
        found["seed_agreement"] = agrees.sum() / is_seed.sum().clamp(min=1)
    for name, value in terms.items() if norms else ():
        if value.requires_grad:
            (gradient,) = torch.autograd.grad(value, inputs.map_logits, retain_graph=True, allow_unused=True)
            found[f"grad_norm/{name}"] = value.new_zeros(()) if gradient is None else gradient.norm()
    return found


def seed_purity(seeds: Tensor, boxes: list[Tensor]) -> tuple[int, int]:
    """How many foreground seeds lie inside a true box, and how many there are.

    Args:
        seeds: [B, H, W], 1 where foreground.
        boxes: per image [n, 4] x0, y0, x1, y1 in pixels, inclusive.
    Only for validation frames: training never uses true boxes.
    """
    height, width = seeds.shape[1:]
    known = torch.stack([filled_boxes(found, height, width).any(dim=0) for found in boxes])  # [B, H, W]
    foreground = seeds == 1
    return int((foreground & known).sum()), int(foreground.sum())


class SeedPurity:
    """Share of foreground seeds that lie inside a true box, on validation frames: it is logged, never used in training.

    Frames without a box are left out: it is not known what their seeds hit. The seeds change with the epoch (the
    temperature of the CAMs, the technique, the model's own maps instead of the classifier's). If they did not change,
    the last value is used again. If another program's maps give the seeds, the purity is known only if there are maps
    of all these frames too.
    """

    def __init__(self, task: DecoderTask, val: VideoDataset, stop: StopRequest) -> None:
        # Seeds as in training: in frames of the crop's size.
        self._val = copy(val)
        self._val.crop_size = task.cfg.crop_size
        self._task, self._stop = task, stop
        self._ids = [frame_id for frame_id in val.metadata.ids if frame_id in val.metadata.boxes]
        self._stored: list[_Cams] | None = None  # the classifier's: low-resolution, they need little memory
        # Recipe and network of the last seeds (None: the classifier made their maps), and their purity.
        self._last: tuple[tuple[SeedRecipe, weakref.ref[CamClassifier] | None], float | None] | None = None

    def __call__(self, epoch: int) -> float | None:
        """Purity of the seeds of ``epoch``, 0..1; None without boxes or seeds."""
        own = self._task.own_maps(epoch)
        # No reference to the network that makes the maps is kept here.
        origin = (self._task.recipe(epoch), weakref.ref(own.model) if own else None)
        if self._last is None or self._last[0] != origin:
            self._last = (origin, self._measure(epoch, own))
        return self._last[1]

    def _measure(self, epoch: int, own: MapMaker | None) -> float | None:
        inside, count = 0, 0
        for source in self._sources(epoch, own):
            seeds = self._task.pseudo_labels(source.cams, source.keys, epoch).seeds
            assert seeds is not None
            boxes = [
                torch.from_numpy(scaled_boxes(self._val.metadata, frame_id, self._task.cfg.crop_size))
                for frame_id in source.ids
            ]
            hits, seen = seed_purity(seeds.cpu(), boxes)
            inside, count = inside + hits, count + seen
        self._stop.check()
        return inside / count if count else None

    @torch.no_grad()
    def _sources(self, epoch: int, own: MapMaker | None) -> Iterator[_Cams]:
        task, maps = self._task, self._task.seed_maps
        if own is None and maps is None and task.cfg.seed_refine_sigma_xy == 0:
            yield from self._of_classifier()
            return
        if own is None and maps is not None and maps.missing(self._ids):
            return
        for batch in self._frames():
            if own is not None:
                cams = task.source_cams(batch, epoch)
            elif maps is not None:
                cams = task.refined(self._read(maps, batch), batch)
            else:
                cams = task.refined(task.classifier(batch.images, batch.frames, batch.labels)[0], batch)
            yield _Cams(cams, batch.keys, batch.ids)

    def _read(self, maps: MapFolder, batch: Batch) -> Tensor:
        sizes, side = self._val.metadata.sizes, self._task.cfg.crop_size
        found = [resize_cam(maps.read(frame_id, sizes[frame_id]), side) for frame_id in batch.ids]
        return torch.stack(found).to(batch.frames.device)

    def _of_classifier(self) -> Iterator[_Cams]:
        """Its low-resolution maps are kept. Refined ones are not: they need the frames, which are too large."""
        classifier, side = self._task.classifier, self._task.cfg.crop_size
        if self._stored is None:
            stored = []
            for batch in self._frames():
                low, _ = classifier.low_resolution(batch.images, batch.labels)
                stored.append(_Cams(low.cpu(), batch.keys, batch.ids))
            self._stop.check()
            self._stored = stored
        for source in self._stop.watch(self._stored):
            cams = upsample_cams(source.cams.to(classifier.device), (side, side))
            yield _Cams(cams, source.keys, source.ids)

    def _frames(self) -> Iterator[Batch]:
        """The validation frames with boxes, on the device."""
        cfg = self._task.cfg
        loader = frame_loader(self._val, self._ids, cfg.batch_size, num_workers=cfg.num_workers)
        loader.while_waiting = self._stop.while_waiting
        for batch in self._stop.watch(loader):
            yield batch.to(self._task.device)


class _Cams(NamedTuple):
    """Maps that seeds are drawn from."""

    cams: Tensor  # [B, H, W]; stored ones [B, h, w]
    keys: Tensor  # [B]
    ids: list[str]
