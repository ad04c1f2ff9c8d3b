"""Frames of a video that are described together: where groups end, what is held, boxes of the command and of metric."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from dlib import Localizer, localize
from dlib.configure.constants import COLOCAM
from dlib.localizer.result import frame_box
from dlib.localizer.shots import in_shots
from dlib.localizer.source import Frame, Source, open_source
from dlib.metrics.box_rule import View, shot_masks
from dlib.metrics.boxes import mask_boxes, quantize_maps
from dlib.utils.errors import UsageError, UserError
from helpers.clips import numbered, scene, shots, write_clip
from helpers.saved_experiment import save_experiment

FRAMES = 7


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was evaluated with groups of three frames."""
    torch.set_num_threads(1)
    folder = save_experiment(tmp_path_factory.mktemp("shots"), COLOCAM)
    settings = next(folder.glob("*/config_model.yaml"))
    settings.write_text(settings.read_text() + "box_frames: 3\nbox_features: true\n")
    return folder


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for i, image in enumerate(pictures()):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def pictures(count: int = FRAMES) -> list[np.ndarray]:
    """Scenes whose background has other colours in each."""
    return [np.where(scene(i, 32, 32) > 200, 230, scene(i, 32, 32) // (i + 1)) for i in range(count)]


def regions(localizer: Localizer, images: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Masks of pictures of 32 pixels, described in groups of ``size``."""
    views = []
    for image in images:
        found = localizer.saved(torch.tensor(image).permute(2, 0, 1)[None])
        views.append(View(quantize_maps(found.maps[0]), image, found.features[0].numpy()))
    return [mask for at in range(0, len(views), size) for mask in shot_masks(views[at : at + size])]


def by_hand(localizer: Localizer, images: list[np.ndarray], size: int) -> list[tuple[int, ...] | None]:
    """Boxes around these masks."""
    masks = regions(localizer, images, size)
    return [frame_box(mask_boxes(mask, multi_contour=False)[0], 32, (32, 32)) for mask in masks]


def boxes(localizer: Localizer, source: Path) -> list[tuple[int, ...] | None]:
    return [result.box for result in localizer.localize(source)]


@pytest.mark.parametrize("batch_size", [1, 5])
def test_boxes_of_a_folders_frames_are_those_of_the_metric(
    batch_size: int, experiment: Path, frames: Path
) -> None:
    for size in (3, 100):
        localizer = Localizer(experiment, batch_size=batch_size, box_frames=size, label="bird")
        expected = by_hand(localizer, pictures(), size)
        assert boxes(localizer, frames) == expected
        results = localizer.localize(pictures())
        assert [result.box for result in results] == expected
        masks = regions(localizer, pictures(), size)
        np.testing.assert_array_equal([result.region for result in results], masks)
        assert (np.array(masks) != regions(localizer, pictures(), 1)).any()


def test_pictures_are_described_alone_unless_asked(experiment: Path, frames: Path) -> None:
    localizer = Localizer(experiment, label="bird")
    assert boxes(localizer, frames) == by_hand(localizer, pictures(), 1)
    kinds = ("video", "folder", "image", "images", "camera")
    assert [localizer.frames_together(kind) for kind in kinds] == [3, 1, 1, 1, 1]
    asked = Localizer(experiment, box_frames=9)
    assert [asked.frames_together(kind) for kind in kinds] == [9, 9, 9, 9, 1]
    assert Localizer(experiment, box_frames=9, box_rule="threshold").frames_together("video") == 1


def test_a_video_is_described_as_the_model_was_evaluated(experiment: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", FRAMES, 32, 32)
    with open_source(clip) as source:
        images = [frame.image for frame in source]
    localizer = Localizer(experiment, label="bird")
    assert boxes(localizer, clip) == by_hand(localizer, images, 3)
    flags = ["--fd_exp", str(experiment), "--input", str(clip), "--label", "bird"]
    assert localize.main([*flags, "--out", str(tmp_path / "3")]) == 0
    assert localize.main([*flags, "--out", str(tmp_path / "1"), "--box_frames", "1"]) == 0
    three, one = (json.loads((tmp_path / name / "boxes.json").read_text()) for name in "31")
    assert (three["box_frames"], one["box_frames"]) == (3, 1)
    for written, size in ((three, 3), (one, 1)):
        expected = by_hand(localizer, images, size)
        assert [frame["box"] and tuple(frame["box"]) for frame in written["frames"]] == expected


@pytest.mark.parametrize(
    ("rate", "reach"), [(Fraction(10), 1), (Fraction(25), 2), (Fraction(30000, 1001), 3)]
)
def test_motion_is_that_of_a_tenth_of_a_second(
    experiment: Path, frames: Path, monkeypatch: pytest.MonkeyPatch, rate: Fraction, reach: int
) -> None:
    used: list[int] = []
    monkeypatch.setattr(
        "dlib.localizer.predict.shot_masks",
        lambda views, reach: used.append(reach) or shot_masks(views, reach),
    )
    localizer = Localizer(experiment, box_frames=FRAMES, label="bird")
    with open_source(frames, rate) as source:
        assert len(list(localizer.stream(source))) == FRAMES
    assert used == [reach]
    used.clear()
    localizer.localize(pictures())
    assert used == [1]


def test_frames_of_another_class_are_not_described_together(
    experiment: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures(6)
    localizer = Localizer(experiment, box_frames=6, label="bird")
    seen = localizer._seen
    classes = iter([0, 0, 1, 0, 1, 1])
    monkeypatch.setattr(
        localizer, "_seen", lambda batch, label: [s._replace(best=next(classes)) for s in seen(batch, label)]
    )
    found = [result.box for result in localizer.localize(images)]
    for own in ([0, 1, 3], [2, 4, 5]):
        assert [found[i] for i in own] == by_hand(localizer, [images[i] for i in own], 6)


def test_a_cut_ends_a_group() -> None:
    images = shots([12, 9])
    groups = list(in_shots(range(21), lambda i: images[i], 5))
    assert [len(group) for group in groups] == [5, 5, 2, 5, 4]
    assert [i for group in groups for i in group] == list(range(21))
    assert [len(group) for group in in_shots(range(21), lambda i: images[i], 100)] == [12, 9]


def test_frames_are_held_no_longer_than_a_cut_needs() -> None:
    images = numbered(30)
    taken: list[int] = []

    def counted() -> Iterator[int]:
        for i in range(30):
            taken.append(i)
            yield i

    given = 0
    for group in in_shots(counted(), lambda i: images[i], 4):
        assert len(taken) - given <= 4 + 3
        given += len(group)
    assert given == 30
    assert list(in_shots([], lambda i: images[i], 4)) == []


def test_no_frame_of_a_stream_is_lost_or_doubled(experiment: Path) -> None:
    images = shots([5, 6])
    stream = (Frame(i, str(i), float(i), image) for i, image in enumerate(images))
    pairs = list(Localizer(experiment, box_frames=4, tracks=True).stream(stream))
    assert [frame.index for frame, _ in pairs] == [result.index for _, result in pairs] == list(range(11))
    assert Counter(result.size for _, result in pairs) == {(64, 48): 11}


def test_wrong_numbers_are_refused(experiment: Path, tmp_path: Path) -> None:
    for wrong in (0, 101):
        with pytest.raises(UsageError, match=f"--box_frames {wrong}: expected a number from 1 to 100"):
            Localizer(experiment, box_frames=wrong)
    folder = save_experiment(tmp_path, COLOCAM)
    settings = next(folder.glob("*/config_model.yaml"))
    written = yaml.safe_load(settings.read_text())
    assert Localizer(folder).saved.box_frames == 1  # of a file without the line
    for wrong in ("many", 0, 2.5):
        settings.write_text(yaml.safe_dump(written | {"box_frames": wrong}))
        with pytest.raises(UserError, match="box_frames must be from 1 to 100"):
            Localizer(folder)


def test_frames_after_the_last_wanted_one_are_not_read(frames: Path) -> None:
    read: list[int] = []

    def counted() -> Iterator[Frame]:
        for i, image in enumerate(pictures()):
            read.append(i)
            yield Frame(i, str(i), float(i), image)

    with open_source(frames) as source:
        for wanted in (3, 100, 0):
            read.clear()
            short = replace(source, _frames=counted).first(wanted)
            expected = wanted if wanted == 3 else FRAMES
            assert [frame.index for frame in short] == read == list(range(expected))
            assert short.count == expected
    assert Source("a camera", "camera", Fraction(25), None, (), counted).first(2).count == 2
