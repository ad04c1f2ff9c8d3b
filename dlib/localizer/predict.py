"""Frames in, localizations out, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dlib.configure.constants import BEST_LOCALIZATION, MAX_BOX_FRAMES, MIN_PRESENCE
from dlib.configure.literals import BoxRule
from dlib.datasets.images import Picture, rgb_array
from dlib.datasets.transforms import resize_image
from dlib.localizer.model import better_model, read_saved_model
from dlib.localizer.result import Localization, frame_box
from dlib.localizer.shots import in_shots
from dlib.localizer.smoothing import smooth_boxes
from dlib.localizer.source import Frame, Source, open_source
from dlib.localizer.tracks import TRACK_WINDOW, follow
from dlib.metrics.box_rule import View, shot_masks
from dlib.metrics.boxes import quantize_maps, threshold_mask
from dlib.metrics.regions import object_boxes
from dlib.utils.distributed import pick_device
from dlib.utils.errors import UsageError, UserError

# Between frames whose motion the box rule looks at: in the sets on which it was chosen it is 0.1 to 0.2 s.
MOTION_SECONDS = Fraction(1, 10)


class _Seen(NamedTuple):
    """A frame, and what the network says about it."""

    frame: Frame
    cam: NDArray[np.float32]  # [S, S]
    view: View  # for the box rule
    best: int  # class
    score: float
    presence: float | None


class Localizer:
    """A trained model that finds objects in images and videos.

    Args:
        experiment: an experiment's folder, or a folder of its best weights (as in ``pretrained/``).
        criterion: which best model of the experiment: best_localization or best_classification.
        device: auto, cpu or cuda.
        batch_size: frames in one forward pass.
        box_rule: what makes the boxes: the frame's colours (`rule_boxes`; the network's features too, where the model
            was trained with --box_features True), or a threshold of the map. None: threshold if ``tau`` is given,
            else colors.
        tau: threshold for every class; None: the one that validation chose for the predicted class (for a class
            without validation frames: the mean of the others).
        smooth: a box becomes the median of the boxes of so many frames around it; 0 or 1: off.
        label: the class, if it is known; None: it is predicted frame by frame.
        model: better (on validation: the trained model, or the classifier that it builds on), own or classifier.
        multi: look for several objects of the class: a box for each clear region (`region_boxes`).
        min_presence: a decoder's frame whose presence is less holds nothing and gets no box; at the default no pixel
            of it is rather object than background. 0: every frame gets a box.
        box_frames: so many frames of a shot together tell `rule_boxes` what object and background look like and what
            moves, if they follow one another and have one class. None: as the model was evaluated (--box_frames) for a
            video, 1 for pictures, which may show anything. A camera's frames are always described alone.
        fast: see each frame once, at the size of the training crops: weaker maps in less time, where evaluation saw
            larger frames or several views.
        tracks: follow the objects through the frames (`follow`) with the window ``smooth``, or 0: `TRACK_WINDOW`.
    Raises UserError for a folder without a usable model, UsageError for a wrong argument.
    """

    def __init__(
        self,
        experiment: str | Path,
        criterion: str = BEST_LOCALIZATION,
        device: str = "auto",
        batch_size: int = 8,
        tau: float | None = None,
        smooth: int = 0,
        label: str | None = None,
        model: str = "better",
        box_rule: BoxRule | None = None,
        multi: bool = False,
        min_presence: float = MIN_PRESENCE,
        tracks: bool = False,
        fast: bool = False,
        box_frames: int | None = None,
    ) -> None:
        if batch_size < 1 or smooth < 0 or not (tau is None or 0 <= tau < 1):
            raise UsageError("--batch_size must be at least 1, --smooth at least 0, --tau from 0 up to 1")
        if not 0 <= min_presence <= 1:
            raise UsageError(f"--min_presence {min_presence}: expected a number from 0 to 1")
        if box_frames is not None and not 1 <= box_frames <= MAX_BOX_FRAMES:
            raise UsageError(f"--box_frames {box_frames}: expected a number from 1 to {MAX_BOX_FRAMES}")
        if box_rule not in (None, *get_args(BoxRule)):
            raise UsageError(f"--box_rule {box_rule}: expected {' or '.join(get_args(BoxRule))}")
        if box_rule == "colors" and tau is not None:
            raise UsageError("--box_rule colors uses no --tau: leave one of them out")
        self.box_rule: BoxRule = box_rule or ("colors" if tau is None else "threshold")
        chosen = self.box_rule == "threshold" and tau is None
        self.device = pick_device(device, None)
        folder = better_model(Path(experiment), criterion, model)
        self.is_classifier = folder != Path(experiment)
        self.saved = read_saved_model(folder, criterion, self.device, thresholds=chosen, fast=fast)
        self.classes = self.saved.classes
        self.batch_size, self.smooth = batch_size, smooth
        self.multi, self.min_presence, self.tracks = multi, min_presence, tracks
        self.box_frames = box_frames
        if label is not None and label not in self.classes:
            raise UsageError(f"--label {label}: the model knows {', '.join(self.classes)}")
        self._label = None if label is None else self.classes.index(label)
        self._taus = self._thresholds(tau) if self.box_rule == "threshold" else None

    @overload
    def localize(self, source: str | Path | int) -> Iterator[Localization]: ...

    @overload
    def localize(self, source: Picture | Sequence[Picture]) -> list[Localization]: ...

    def localize(
        self, source: str | Path | int | Picture | Sequence[Picture]
    ) -> Iterator[Localization] | list[Localization]:
        """Localizations of all frames of a source, in order.

        Args:
            source: a path (video, picture or folder of frames), a camera's number, one image or a sequence of
                images: PIL pictures, or arrays [H, W] or [H, W, 3] RGB as ``dlib.datasets.images.rgb_array`` reads
                them.
        Returns: for images a list; for a path or a camera an iterator, usable once, which reads frames when they are
            needed. It holds one batch, the frames that are described together and the window of ``smooth``: a long
            video needs no more memory than a short one.
        Raises UserError for unreadable files, TypeError or ValueError for other objects.
        """
        if isinstance(source, (str, Path, int)):
            opened = ExitStack()
            return self._read(opened.enter_context(open_source(source)), opened)
        images = [source] if isinstance(source, (np.ndarray, Image.Image)) else list(source)
        numbered = (Frame(i, str(i), float(i), rgb_array(image)) for i, image in enumerate(images))
        return [replace(result, image=frame.image) for frame, result in self.stream(numbered)]

    def stream(self, frames: Source | Iterable[Frame]) -> Iterator[tuple[Frame, Localization]]:
        """Every frame with its localization, in order; holds no more frames than ``localize``."""
        kind = frames.kind if isinstance(frames, Source) else "images"
        # A camera's batch is one frame: waiting for more would delay the output.
        size = 1 if kind == "camera" else self.batch_size
        together = self.frames_together(kind)
        reach = max(1, round(frames.rate * MOTION_SECONDS)) if isinstance(frames, Source) else 1
        seen = self._look(iter(frames), size, self._label)
        shots = (
            in_shots(seen, lambda each: each.frame.image, together) if together > 1 else ([s] for s in seen)
        )
        results = (
            (each.frame, result)
            for shot in shots
            for each, result in zip(shot, self._localizations(shot, reach=reach), strict=True)
        )
        if self.tracks:
            return follow(results, self.smooth or TRACK_WINDOW, self.multi)
        return smooth_boxes(results, self.smooth)

    def localize_class(self, image: Picture, label: str | None, tau: float | None = None) -> Localization:
        """One image, where its class is known; ``tau``: a threshold in the place of the localizer's own rule.

        Raises UserError for a class that the model does not have.
        """
        if label is not None and label not in self.classes:
            raise UserError(f"{self.saved.weights}: the model does not know the class {label}")
        index = None if label is None else self.classes.index(label)
        seen = self._seen([Frame(0, "0", 0.0, rgb_array(image))], self._label if index is None else index)
        return self._localizations(seen, tau)[0]

    def frames_together(self, kind: str) -> int:
        """Frames that the box rule describes together, of a source of this kind."""
        if kind == "camera" or self.box_rule != "colors":
            return 1
        if self.box_frames is not None:
            return self.box_frames
        return self.saved.box_frames if kind == "video" else 1

    def _read(self, source: Source, opened: ExitStack) -> Iterator[Localization]:
        with opened:
            for frame, result in self.stream(source):
                yield replace(result, image=frame.image)

    def _look(self, frames: Iterator[Frame], size: int, label: int | None) -> Iterator[_Seen]:
        """What the network says about each frame, in batches of ``size``."""
        while batch := list(islice(frames, size)):
            yield from self._seen(batch, label)

    def _seen(self, batch: list[Frame], label: int | None) -> list[_Seen]:
        size = self.saved.crop_size
        frames = torch.stack([resize_image(frame.image, size) for frame in batch])
        maps, logits, presence, features = self.saved(frames.to(self.device), label)
        scores = logits.softmax(dim=1).cpu()  # [B, C]
        pixels = frames.permute(0, 2, 3, 1).numpy()  # [B, S, S, 3]
        sure = [None] * len(batch) if presence is None else presence.tolist()
        cams = maps.cpu().numpy()
        found = [None] * len(batch) if features is None else features.float().cpu().numpy()
        seen = []
        for frame, shown, cam, own, score, value in zip(
            batch, pixels, cams, found, scores, sure, strict=True
        ):
            best = int(score.argmax()) if label is None else label
            view = View(quantize_maps(cam), shown, own)
            seen.append(_Seen(frame, cam, view, best, float(score[best]), value))
        return seen

    def _localizations(
        self, shot: Sequence[_Seen], tau: float | None = None, reach: int = 1
    ) -> list[Localization]:
        """Of frames that the box rule describes together, if they have one class; ``reach``: see `shot_odds`."""
        taus = [tau if tau is not None or self._taus is None else self._taus[seen.best] for seen in shot]
        regions: dict[int, NDArray[np.uint8]] = {}
        for label in {seen.best for seen in shot}:
            ruled = [i for i, seen in enumerate(shot) if seen.best == label and taus[i] is None]
            regions |= zip(ruled, shot_masks([shot[i].view for i in ruled], reach), strict=True)
        return [
            self._localization(seen, own, regions.get(i))
            for i, (seen, own) in enumerate(zip(shot, taus, strict=True))
        ]

    def _localization(self, seen: _Seen, tau: float | None, region: NDArray[np.uint8] | None) -> Localization:
        frame, cam, u = seen.frame, seen.cam, seen.view.u
        height, width = frame.image.shape[:2]
        mask = threshold_mask(u, tau) if tau is not None else region
        assert mask is not None
        found = object_boxes(mask, u, several=self.multi)
        boxes = [frame_box(box, cam.shape[0], (width, height)) for box in found]
        if seen.presence is not None and seen.presence < self.min_presence:
            boxes = [None]
        return Localization(
            index=frame.index,
            name=frame.name,
            time=frame.time,
            label=self.classes[seen.best],
            score=seen.score,
            tau=tau,
            box=boxes[0],
            map=cam,
            size=(width, height),
            region=region,
            others=tuple(box for box in boxes[1:] if box is not None),
            presence=seen.presence,
        )

    def _thresholds(self, tau: float | None) -> list[float]:
        known = self.saved.complete_taus()
        if tau is None and not known:
            raise UserError(
                f"{self.saved.weights}: no thresholds beside these weights (thresholds-*.yaml of the experiment); "
                "give the experiment's folder, --tau, or --box_rule colors"
            )
        return known if tau is None else [tau] * len(self.classes)
