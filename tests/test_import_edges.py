"""Importing what is unusual: numbered pictures, videos of one name, deep, huge and dangerous pictures, odd boxes."""

from __future__ import annotations

import json
import os
import stat
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from dlib.datasets.build.annotations import Annotations, boxes_of_frame, named_by_index
from dlib.datasets.build.box_files import read_annotations
from dlib.datasets.build.import_dataset import import_videos
from dlib.datasets.build.import_one import Options, import_video
from dlib.datasets.metadata import read_split
from dlib.datasets.videos import Frame, VideoReader
from dlib.utils.errors import UserError
from helpers.pictures import bomb, gifs, pictures

FAST = Options(fps=0, short_side=0)


def boxes_of_folder(tmp_path: Path, names: list[str], boxed: list[str]) -> dict[str, list[list[float]]]:
    """Box k, of x0 = k, is of the frame that the k-th text names; returns the boxes by picture."""
    folder = pictures(tmp_path / "src" / "dog" / "park", names)
    annotations = Annotations()
    for k, frame in enumerate(boxed):
        annotations.add("dog/park", frame, [k, 1, 20, 20], relative=False)
    annotations.know_videos(["dog/park"])
    video = import_video(folder, 0, "dog/park", "dog/data/park", tmp_path / "d", FAST, annotations)
    order = sorted(names)
    return {order[int(Path(frame).stem.removeprefix("frame"))]: boxes for frame, boxes in video.boxes.items()}


def test_boxes_of_numbered_pictures_stay_on_their_picture(tmp_path: Path) -> None:
    names = [
        f"{i:06d}.jpg" for i in range(1, 13)
    ]  # picture 000010 has the index 9, picture 000011 the index 10
    found = boxes_of_folder(tmp_path, names, ["000010", "000003.jpg"])
    assert found == {"000010.jpg": [[0, 1, 20, 20]], "000003.jpg": [[1, 1, 20, 20]]}


def test_a_box_beyond_the_numbered_pictures_is_lost_not_moved(tmp_path: Path) -> None:
    names = [f"{i:06d}.jpg" for i in range(100, 112)]
    assert boxes_of_folder(tmp_path, names, ["000103", "5"]) == {"000103.jpg": [[0, 1, 20, 20]]}


def test_boxes_by_index_where_the_pictures_have_other_names(tmp_path: Path) -> None:
    found = boxes_of_folder(tmp_path, ["a.png", "b.png", "c.png"], ["2", "0"])
    assert found == {"c.png": [[0, 1, 20, 20]], "a.png": [[1, 1, 20, 20]]}


def test_an_import_with_the_old_rule_is_done_again(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "src" / "dog" / "park", ["000001.jpg", "000002.jpg"])
    annotations = Annotations()
    annotations.add("dog/park", "000001", [1, 1, 9, 9], relative=False)
    annotations.know_videos(["dog/park"])
    video = import_video(folder, 0, "dog/park", "park", tmp_path / "d", FAST, annotations)
    record = tmp_path / "d" / "park" / "imported.json"
    stored = json.loads(record.read_text())
    stored["key"] = json.dumps(json.loads(stored["key"])[1:])  # as it was without a number of the format
    stored["video"]["boxes"] = {}
    record.write_text(json.dumps(stored))
    assert (
        import_video(folder, 0, "dog/park", "park", tmp_path / "d", FAST, annotations).boxes
        == video.boxes
        != {}
    )


def csv(path: Path, *lines: str) -> Annotations:
    path.write_text("\n".join(["video,frame,x0,y0,x1,y1", *lines]) + "\n")
    return read_annotations(path)


def test_videos_of_one_name_have_their_own_boxes(tmp_path: Path) -> None:
    gifs(tmp_path / "src" / "dog", ["a.mp4", "a.avi", "b.mp4"])
    annotations = csv(tmp_path / "b.csv", "dog/a.mp4,0,1,1,9,9", "dog/a.avi,2,2,2,9,9", "dog/b,1,3,3,9,9")
    import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST, annotations)
    found = {}
    for name in ("a", "a-2", "b"):
        stored = json.loads((tmp_path / "d" / "dog" / "data" / name / "imported.json").read_text())["video"]
        found[stored["source"]] = {Path(frame).stem: box for frame, box in stored["boxes"].items()}
    assert found == {
        "dog/a.mp4": {"frame000000": [[1, 1, 9, 9]]},
        "dog/a.avi": {"frame000002": [[2, 2, 9, 9]]},
        "dog/b.mp4": {"frame000001": [[3, 3, 9, 9]]},
    }


@pytest.mark.parametrize("twin", ["a.avi", "a"])
def test_boxes_that_could_be_of_two_videos_are_refused(tmp_path: Path, twin: str) -> None:
    gifs(tmp_path / "src" / "dog", ["a.mp4", "b.mp4", "c.mp4"])
    if twin == "a":
        pictures(tmp_path / "src" / "dog" / "a", ["0.png"])
    else:
        gifs(tmp_path / "src" / "dog", [twin])
    annotations = csv(tmp_path / "b.csv", "dog/a,0,1,1,9,9")
    with pytest.raises(UserError, match=r"boxes of 'dog/a': .*dog/a\.mp4") as caught:
        import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST, annotations)
    assert f"dog/{twin}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_suffixes_may_differ_where_no_name_stands_twice() -> None:
    annotations = Annotations()
    annotations.add("x/dog/a.mov", "3", [1, 1, 2, 2], relative=False)
    annotations.add("dog\\a", "3", [3, 3, 4, 4], relative=False)
    annotations.add("cat/a", "5", [5, 5, 6, 6], relative=False)
    annotations.know_videos(["dog/a.mp4", "dog/b.mp4", "cat/a.avi"])
    assert annotations.of_video("dog/a.mp4") == {"3": [([1, 1, 2, 2], False), ([3, 3, 4, 4], False)]}
    assert annotations.of_video("cat/a.avi") == {"5": [([5, 5, 6, 6], False)]}
    assert annotations.of_video("dog/b.mp4") == {}
    assert annotations.names_of("dog/a.mp4") == ["x/dog/a.mov", "dog/a"]


def test_sixteen_bits_are_scaled_and_turned(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "b.png", exif=exif)
    flat, turned = VideoReader(tmp_path)
    assert np.array_equal(flat.image, np.stack([values >> 8] * 3, -1))
    assert np.array_equal(turned.image, np.rot90(flat.image, -1))


@pytest.mark.parametrize("side", [8100, 20_000])
def test_huge_pictures_are_damaged_ones(tmp_path: Path, side: int) -> None:
    pictures(tmp_path, ["a.png"])
    Image.new("1", (side, side)).save(tmp_path / "b.png") if side < 10_000 else (
        tmp_path / "b.png"
    ).write_bytes(bomb(side))
    reader = VideoReader(tmp_path)
    assert [frame.name for frame in reader] == ["a"]
    assert reader.damaged == 1


def test_no_interpreter_runs_on_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PIL gives PostScript to the program ``gs``, whatever the file's name says."""
    programs, ran = tmp_path / "bin", tmp_path / "ran"
    programs.mkdir()
    fake = programs / "gs"
    fake.write_text(f"#!/bin/sh\ntouch {ran}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    folder = pictures(tmp_path / "v", ["a.png"])
    (folder / "b.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    )
    reader = VideoReader(folder)
    assert [frame.name for frame in reader] == ["a"]
    assert reader.damaged == 1
    assert not ran.exists()


def test_any_error_of_a_decoder_is_a_damaged_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path, ["a.png", "b.png"])
    turn, calls = ImageOps.exif_transpose, []

    def broken(image: Image.Image) -> Image.Image:
        calls.append(image)
        if len(calls) == 2:
            raise struct.error("unpack requires a buffer of 4 bytes")
        return turn(image)

    monkeypatch.setattr("PIL.ImageOps.exif_transpose", broken)
    reader = VideoReader(tmp_path)
    assert len(list(reader)) == 1
    assert reader.damaged == 1


COCO_IMAGE = {"id": 1, "file_name": "dog/a/1.jpg", "width": 64, "height": 48}


@pytest.mark.parametrize(
    "harm",
    [
        {"width": 0},
        {"height": 0},
        {"height": -48},
        {"width": float("nan")},
        {"width": float("inf")},
        {"width": 10**400},
        {"width": None},
        {"width": 1e-310},
        {"file_name": 7},
    ],
)
def test_coco_pictures_without_a_size_are_named(tmp_path: Path, harm: dict) -> None:
    annotation = {"id": 9, "image_id": 1, "bbox": [1, 2, 3, 4]}
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"images": [{**COCO_IMAGE, **harm}], "annotations": [annotation]}))
    with pytest.raises(UserError, match=r"b\.json, annotation 9: .*width, height"):
        read_annotations(path)


@pytest.mark.parametrize(
    "box", [[1, 2, 3, 10**400], [1, 2, 3], None, [1, 2, 3, "x"], [1, 2, 3, float("nan")]]
)
def test_coco_boxes_that_are_none(tmp_path: Path, box: object) -> None:
    path = tmp_path / "b.json"
    content = {"images": [COCO_IMAGE], "annotations": [{"id": 9, "image_id": 1, "bbox": box}]}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"b\.json, annotation 9"):
        read_annotations(path)


def test_coco_that_is_nested_too_deeply(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text("[" * 200_000)
    with pytest.raises(UserError, match=r"b\.json: not a COCO"):
        read_annotations(path)


def test_boxes_are_scaled_with_the_frame() -> None:
    frame = Frame(3, "x", 0.0, np.zeros((10, 20, 3), np.uint8))
    found = {"3": [([0.1, 0.2, 0.5, 0.9], True), ([1.0, 2.0, 3.0, 4.0], False)]}
    for names, expected in ((["w", "x"], [[2, 2, 9, 8], [1, 2, 3, 4]]), (["3", "x"], [])):
        assert boxes_of_frame(found, frame, named_by_index(found, names)) == expected


def test_a_split_of_pictures_alone(tmp_path: Path) -> None:
    for i in range(3):
        pictures(tmp_path / "src" / "dog" / f"v{i}", [f"{k:06d}.jpg" for k in range(1, 13)])
    annotations = csv(tmp_path / "b.csv", *(f"dog/v{i},000010.jpg,1,1,9,9" for i in range(3)))
    import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST, annotations)
    for split in ("val", "test"):
        found = read_split(tmp_path / "d", tmp_path / "f", split)
        assert [Path(name).name for name in found.ids] == ["frame000009.jpg"]
