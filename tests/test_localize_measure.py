from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image

from dlib.localizer import Localizer, measure
from helpers.clips import scene
from helpers.saved_experiment import CLASSES, save_experiment

FRAMES = 6


def write_split(root: Path, boxes: dict[int, tuple[float, ...]]) -> list[str]:
    """One shot of FRAMES frames, the frames of ``boxes`` in the test split; returns the flags that name it."""
    folds, shot = root / "folds" / "clips", root / "data" / "clips" / "cat" / "v" / "s"
    (folds / "test").mkdir(parents=True)
    shot.mkdir(parents=True)
    (folds / "class_id.yaml").write_text(yaml.safe_dump({name: i for i, name in enumerate(CLASSES)}))
    for i in range(FRAMES):
        Image.fromarray(scene(i, 48, 36)).save(shot / f"{i:04d}.png")
    ids = [f"cat/v/s/{i:04d}.png" for i in boxes]
    lines = [",".join(map(str, box)) for box in boxes.values()]
    for name, texts in (
        ("image_ids.txt", ids),
        ("class_labels.txt", [f"{i},1" for i in ids]),
        ("image_sizes.txt", [f"{i},48,36" for i in ids]),
        ("localization.txt", [f"{i},{line}" for i, line in zip(ids, lines, strict=True)]),
    ):
        (folds / "test" / name).write_text("\n".join(texts) + "\n")
    return [
        "--dataset", "clips", "--data_root", str(root / "data"), "--metadata_root", str(root / "folds")
    ]  # fmt: skip


def test_boxes_are_counted_as_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    right, wrong = (10, 10, 29, 29), (40, 30, 47, 35)
    given = [right, right, wrong, right, right, None]
    unsmoothed = Localizer._localizations
    monkeypatch.setattr(
        Localizer,
        "_localizations",
        lambda self, shot, **more: [replace(r, box=given[r.index]) for r in unsmoothed(self, shot, **more)],
    )
    # Frame 3's box has 10 of 20 columns: an IoU of one half; frame 1 has no known box.
    boxes = {2: right, 3: (10, 10, 19, 29), 4: (0, 0, 5, 5), 5: right, 1: (0, 0, 0, 0)}
    flags = write_split(tmp_path, boxes)
    command = ["--fd_exp", str(save_experiment(tmp_path / "exps")), *flags, "--smooth", "3"]
    assert measure.main(command) == 0
    # Smoothed, frame 2 is right too; frame 5 stays without a box. IoU: 0 or 1, then 0.5, 0, 0. Frames 2 to 4 are the
    # only three in a row: edges change by 30, 20, 18 and 6 of 48 pixels, and then not any more.
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "4 frames with a known box in test",
        "frame by frame: 1 localized, mean IoU 12.5, jitter 38.54",
        "--smooth 3: 2 localized, mean IoU 37.5, jitter 0.00",
        "--tracks True: 2 localized, mean IoU 37.5, jitter 0.00",
    ]


def test_a_missing_dataset_is_one_line(tmp_path: Path, capsys) -> None:
    command = ["--fd_exp", str(tmp_path), "--dataset", "none", "--data_root", str(tmp_path)]
    assert measure.main(command) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_nothing_is_counted_twice(tmp_path: Path) -> None:
    write_split(tmp_path, dict.fromkeys(range(FRAMES), (0.0, 0.0, 47.0, 35.0)))
    from dlib.datasets.metadata import read_split

    data = tmp_path / "data" / "clips"
    metadata = read_split(data, tmp_path / "folds" / "clips", "test")
    localizer = Localizer(save_experiment(tmp_path / "exps"))
    expected = 0
    for result in localizer.localize(data / "cat" / "v" / "s"):
        if result.box is not None:
            x0, y0, x1, y1 = result.box
            expected += 2 * (x1 - x0 + 1) * (y1 - y0 + 1) >= 48 * 36
    found = measure.measure(localizer, data, metadata, {"raw": lambda pairs: pairs})
    assert found["raw"].localized == expected


def test_frames_of_a_shot_are_described_together_as_in_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    found = Localizer._localizations
    monkeypatch.setattr(
        Localizer,
        "_localizations",
        lambda self, shot, **more: sizes.append(len(shot)) or found(self, shot, **more),
    )
    flags = write_split(tmp_path, {0: (0.0, 0.0, 47.0, 35.0)})
    experiment = save_experiment(tmp_path / "exps")
    (weights,) = experiment.glob("*/config_model.yaml")
    weights.write_text(weights.read_text() + "box_frames: 4\n")
    command = ["--fd_exp", str(experiment), *flags]
    for more, expected in (([], [4, 2]), (["--box_frames", "5"], [5, 1])):
        sizes.clear()
        assert measure.main([*command, *more]) == 0
        assert sizes == expected
