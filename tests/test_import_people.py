"""Importing videos and boxes as people have them: joined files, odd pixels, litter, long names, labelling programs."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlib.datasets.build.annotations import Annotations
from dlib.datasets.build.box_files import read_annotations
from dlib.datasets.build.import_dataset import find_videos, folder_name, import_videos
from dlib.datasets.build.import_one import Imported, Options, import_video
from dlib.datasets.metadata import read_split
from dlib.datasets.names import natural_key
from dlib.datasets.videos import VideoReader, _Clock
from dlib.utils.errors import UserError
from helpers.clips import encode_clip, joined, numbered, shots
from helpers.paths import ROOT
from helpers.pictures import gifs, pictures

FAST = Options(fps=0, short_side=0)


def run(*flags: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The import as users call it."""
    command = [sys.executable, "-m", "dlib.datasets.import_videos", *map(str, flags)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def imported(path: Path, tmp_path: Path, options: Options = FAST) -> Imported:
    return import_video(path, 0, f"dog/{path.name}", "dog/data/a", tmp_path / "d", options, Annotations())


def test_time_goes_on_in_joined_files(tmp_path: Path) -> None:
    images = shots([25])
    path = joined(tmp_path / "a.ts", images, images)  # the picture tells nothing of the second part
    reader = VideoReader(path)
    times = [frame.time for frame in reader]
    assert times == pytest.approx(np.arange(50) / 25)
    assert reader.restarts == [25]
    video = imported(path, tmp_path, Options(fps=25, short_side=0))
    assert [len(frames) for frames in video.shots.values()] == [25, 25]
    assert len(video.notes) == 1
    assert "time stamps go backwards at frame 25; time continues there" in video.notes[0]


@pytest.mark.parametrize(
    ("stamps", "times", "restarts"),
    [
        ([5.0, 5.1, 5.2], [0, 0.1, 0.2], []),
        ([0.0, 0.1, 10.0, 0.0, 0.1], [0, 0.1, 10, 10.1, 10.2], [3]),
        ([0.0, 3.0, 1.0, 1.1, 0.0], [0, 3, 3.1, 3.2, 3.3], [2, 4]),
        ([0.0, 0.3, 0.1, 0.2, 0.4], [0, 0.3, 0.3, 0.3, 0.4], []),  # disorder inside one recording
        ([None, None, None], [0, 0.1, 0.2], []),
        ([0.0, None, 0.2], [0, 0.1, 0.2], []),
        (
            [95443.7, 95443.8, 0.0, 0.1],
            [0, 0.1, 0.2, 0.3],
            [2],
        ),  # a counter of 33 bits at 90 kHz that is full
    ],
)
def test_times_never_go_backwards(stamps: list, times: list[float], restarts: list[int]) -> None:
    clock, told, found = _Clock(0.1), [], []
    for i, stamp in enumerate(stamps):
        if clock.tell(stamp):
            found.append(i)
        told.append(clock.now)
    assert told == pytest.approx(times)
    assert found == restarts


def test_pixels_that_are_not_square_stay_as_stored_and_are_said(tmp_path: Path) -> None:
    path = encode_clip(tmp_path / "a.mp4", numbered(4), aspect=Fraction(16, 11))
    video = imported(path, tmp_path)
    assert [size for frames in video.shots.values() for size in frames.values()] == [[64, 48]] * 4
    (note,) = video.notes
    assert "pixels are not square (16:11)" in note
    assert "in stored pixels, 64x48, which players show as 93x48" in note


def test_natural_order() -> None:
    names = ["1.jpg", "2.jpg", "10.jpg", "11.jpg", "a1b2", "a1b10", "a2b1"]
    assert sorted(set(names), key=natural_key) == names
    assert sorted(["01", "1", "001"], key=natural_key) == ["001", "01", "1"]  # one order, whatever came first


def test_frames_come_in_the_order_of_their_numbers_without_litter(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "park", [f"{i}.png" for i in (1, 2, 10, 11)])
    for name in ("._1.png", ".hidden.jpg", "Thumbs.db", ".DS_Store"):
        (folder / name).write_bytes(b"litter")
    reader = VideoReader(folder)
    assert [frame.name for frame in reader] == ["1", "2", "10", "11"]
    assert reader.damaged == 0
    assert imported(folder, tmp_path).notes == []


def test_what_lies_in_a_class_is_taken_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "dog"
    suffixes = ("3gp", "flv", "mts", "m4v", "wmv", "ogv", "vob", "MP4")
    gifs(folder, [f"a{i}.{suffix}" for i, suffix in enumerate(suffixes)])
    gifs(folder / "holiday" / "day 2", ["b2.mp4", "b10.mp4"])
    pictures(folder / "frames", ["1.png"])
    pictures(folder / "frames" / "more", ["1.png"])
    pictures(folder / "mixed", ["cover.jpg"])
    gifs(folder / "mixed", ["c.mp4"])
    pictures(folder / "__MACOSX", ["x.png"])
    (folder / "frames" / "x.heic").write_bytes(b"?")
    (folder / "talk.srt").write_text("hi")
    (folder / "labels.json").write_text("{}")
    (folder / "._a0.3gp").write_bytes(b"?")
    (folder / "again").symlink_to(folder)
    notes: list[str] = []
    found = [path.relative_to(folder).as_posix() for path in find_videos(folder, notes)]
    assert found == [
        *(f"a{i}.{suffix}" for i, suffix in enumerate(suffixes)),
        "frames",
        "holiday/day 2/b2.mp4",
        "holiday/day 2/b10.mp4",
        "mixed/c.mp4",
    ]
    assert sorted(note.replace(f"{folder}", "dog") for note in notes) == [
        "dog/frames/more: left out, since frames is a folder of frames; put it beside",
        "dog/frames: left out files .heic: 1 (not a picture format)",
        "dog/mixed: left out pictures: 1 (the frames of a video need a folder of their own, without video files)",
        "dog: left out files .srt: 1 (not a video format)",
    ]


def test_every_kind_is_said_by_the_command(tmp_path: Path) -> None:
    gifs(tmp_path / "src" / "dog", ["a.mp4", "b.flv"])
    gifs(tmp_path / "src" / "dog" / "trip", ["a.mp4"])
    pictures(tmp_path / "src" / "cat", ["1.png", "2.png"])
    gifs(tmp_path / "src", ["lost.mp4"])
    boxes = tmp_path / "b.csv"
    boxes.write_text("video,frame,x0,y0,x1,y1\ndog/trip/a.mp4,1,1,1,9,9\ndog/b,0,2,2,9,9\n")
    flags = [
        "--src",
        tmp_path / "src",
        "--dst",
        tmp_path / "d",
        "--metadata",
        tmp_path / "f",
        "--boxes",
        boxes,
    ]
    done = run(*flags, "--fps", 0)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    said = [line.replace(str(tmp_path), "") for line in done.stdout.splitlines() if line.startswith("Note: ")]
    assert said == [
        "Note: /src/cat: left out pictures: 2 (the frames of a video need a folder of their own, without video files)",
        "Note: /src/cat: no video in it; left out",
        "Note: /src/lost.mp4: left out; put it into the folder of its class",
    ]
    rows = list(csv.reader((tmp_path / "f" / "videos.csv").open()))
    assert rows == [
        ["folder", "video"],
        ["dog/data/a", "dog/a.mp4"],
        ["dog/data/b", "dog/b.flv"],
        ["dog/data/trip_a", "dog/trip/a.mp4"],
    ]
    found = {**read_split(tmp_path / "d", tmp_path / "f", "test").boxes}
    found.update(read_split(tmp_path / "d", tmp_path / "f", "val").boxes)
    assert {name.split("/")[2]: box.tolist() for name, box in found.items()} == {
        "trip_a": [[1, 1, 9, 9]],
        "b": [[2, 2, 9, 9]],
    }


@pytest.mark.parametrize("letter", ["x", "é", "犬", "😀"])
def test_long_titles_become_short_folders(letter: str) -> None:
    taken: set[str] = set()
    title = Path(letter * 300)
    names = [folder_name(title, True, taken) for _ in range(12)]
    assert len(set(names)) == 12
    assert all(len(name.encode()) <= 100 for name in names)
    if letter != "😀":  # no letter: each becomes _
        assert set(names[0]) == {letter}
        assert len(names[0].encode()) > 96
    assert names[11].endswith("-12")


def test_titles_of_195_bytes_are_imported_and_kept_in_a_table(tmp_path: Path) -> None:
    titles = [f"{'Ein Hund im Park ' * 11} teil {i}.mp4" for i in range(3)]
    assert len(titles[0]) > 195
    gifs(tmp_path / "src" / "dog", titles)
    import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST)
    rows = dict(list(csv.reader((tmp_path / "f" / "videos.csv").open()))[1:])
    assert sorted(rows.values()) == [f"dog/{title}" for title in titles]
    for folder in rows:
        assert (tmp_path / "d" / folder).is_dir()
        assert len(Path(folder).name) <= 100
    ids = [i for split in ("val", "test") for i in read_split(tmp_path / "d", tmp_path / "f", split).ids]
    assert max(len(i.encode()) for i in ids) + len(".pt") <= 255


def test_a_class_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    gifs(tmp_path / "src" / ("dog" * 40), ["a.mp4"])
    with pytest.raises(UserError, match="a class's name may have 100 bytes; rename the folder"):
        import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST)


# Boxes. The layouts are those that the programs' documentation shows.

BOX = [16, 12, 32, 36]  # in a frame of 64 x 48; as YOLO says it: 0.375 0.5 0.25 0.5
YOLO = "0 0.375 0.5 0.25 0.5\n"


def coco(name: str, **more: object) -> str:
    image = {"id": 1, "file_name": name, "width": 64, "height": 48}
    found = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [16, 12, 16, 24]}
    return json.dumps({**more, "images": [image], "annotations": [found]})


def voc(path: str, name: str) -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), BOX, strict=True))
    return (
        f"<annotation><folder>park</folder><filename>{name}</filename><path>{path}</path>"
        f"<size><width>64</width><height>48</height><depth>3</depth></size>"
        f"<object><name>dog</name><bndbox>{corners}</bndbox></object></annotation>"
    )


LABEL_STUDIO = {"info": {"year": 2026, "contributor": "Label Studio", "url": ""}}
EXPORTS: dict[str, dict[str, str]] = {
    "CVAT, COCO 1.0, one for each video": {
        "dog/park/annotations/instances_default.json": coco("frame_000012.PNG"),
    },
    "CVAT, COCO 1.0, one for all pictures": {
        "annotations/instances_default.json": coco("dog/park/000012.png"),
    },
    "CVAT, YOLO 1.1": {
        "dog/park/obj.data": "classes = 1\nnames = obj.names\ntrain = train.txt\n",
        "dog/park/obj.names": "dog\n",
        "dog/park/train.txt": "data/obj_train_data/frame_000012.png\n",
        "dog/park/obj_train_data/frame_000012.txt": YOLO,
    },
    "CVAT, Ultralytics YOLO": {
        "data.yaml": "names:\n  0: dog\n",
        "train.txt": "images/train/dog/park/000012.png\n",
        "labels/train/dog/park/000012.txt": YOLO,
    },
    "Label Studio, YOLO": {
        "dog/park/classes.txt": "dog\n",
        "dog/park/notes.json": json.dumps({"categories": [{"id": 0, "name": "dog"}], **LABEL_STUDIO}),
        "dog/park/labels/90fbb0c7-frame_000012.txt": YOLO,
    },
    "Label Studio, COCO": {
        "dog/park/result.json": coco("images\\1/90fbb0c7-frame_000012.png", **LABEL_STUDIO),
    },
    "Label Studio, COCO, local files": {
        "result.json": coco("/data/local-files/?d=dog%2Fpark/000012.png", **LABEL_STUDIO),
    },
    "labelImg, YOLO": {"dog/park/000012.txt": YOLO, "dog/park/classes.txt": "dog\nhorse\n"},
    "labelImg, VOC, beside the pictures": {
        "dog/park/000012.xml": voc("/home/me/videos/dog/park/000012.png", "000012.png"),
    },
    "labelImg, VOC, in one folder, from Windows": {
        "saved/000012.xml": voc("C:\\videos\\dog\\park\\000012.png", "000012.png"),
    },
    "COCO with backslashes": {"b.json": coco("videos\\dog\\park\\000012.jpg")},
    "YOLO unpacked from Windows": {"labels\\dog\\park\\000012.txt": YOLO},
}


@pytest.mark.parametrize("kind", EXPORTS)
@pytest.mark.parametrize("video", ["dog/park.mp4", "dog/park"])
def test_exports_of_labelling_programs(tmp_path: Path, kind: str, video: str) -> None:
    for name, text in EXPORTS[kind].items():
        path = tmp_path / "boxes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    annotations = read_annotations(tmp_path / "boxes")
    annotations.know_videos([video, "dog/lake.mp4", "horse/park.mp4"])
    ((frame, boxes),) = annotations.of_video(video).items()
    assert frame == "12"
    ((box, relative),) = boxes
    assert np.allclose(np.multiply(box, (64, 48, 64, 48) if relative else 1), BOX)
    lists = [name for name in EXPORTS[kind] if name.endswith(("train.txt", "classes.txt", "notes.json"))]
    assert len(annotations.notes) == len(lists)
    for name, note in zip(sorted(lists), sorted(annotations.notes), strict=True):
        assert name in note
        assert note.endswith("; left out")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        (
            "annotations.xml",
            "<annotations><version>1.1</version></annotations>",
            "export it as COCO 1.0 or YOLO 1.1",
        ),
        ("a.xml", "<svg/>", "not a Pascal VOC file"),
        ("x/a.xml", "<annotation>", "not readable XML"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "DOCTYPE or ENTITY"),
        ("dog/a/1.xml", voc("", "1.png").replace("12", "x"), "object 1: expected four numbers"),
        ("export.zip", "PK", "unpack"),
        ("readme.txt", "Boxes of dogs", "a list of classes or files"),
        ("other.json", '{"a": 1}', "not a COCO file"),
        ("other.csv", "a,b\n1,2\n", "lacks 'video'"),
    ],
)
def test_other_files_are_named_with_the_reason(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / "boxes" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for given in (tmp_path / "boxes", path):
        with pytest.raises(
            UserError, match=says if given != path or path.suffix != ".txt" else "come from"
        ) as caught:
            read_annotations(given)
        assert "\n" not in str(caught.value)
        assert name.split("/")[-1].partition(".")[2 if path.suffix == ".zip" else 0] in str(caught.value)


def test_boxes_without_a_video_say_what_to_do(tmp_path: Path) -> None:
    gifs(tmp_path / "src" / "dog", ["a.mp4", "b.mp4", "c.mp4"])
    (tmp_path / "b.json").write_text(coco("frame_000000.PNG"))
    annotations = read_annotations(tmp_path / "b.json")
    with pytest.raises(
        UserError, match=r"names no video; put it into folders <class>/<video>/ and give the folder"
    ):
        import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST, annotations)


def test_videos_of_one_name_in_two_folders(tmp_path: Path) -> None:
    annotations = Annotations()
    for video in ("dog/a.mp4", "dog/trip/a", "x/dog/trip/a.mp4", "dog/b"):
        annotations.add(video, "1", [1, 1, 2, 2], relative=False)
    annotations.know_videos(["dog/a.mp4", "dog/trip/a.mp4", "dog/trip/b.mp4"])
    assert annotations.names_of("dog/a.mp4") == ["dog/a.mp4"]
    assert annotations.names_of("dog/trip/a.mp4") == ["dog/trip/a", "x/dog/trip/a.mp4"]
    assert annotations.names_of("dog/trip/b.mp4") == ["dog/b"]
    annotations.add("dog/a", "1", [1, 1, 2, 2], relative=False)
    with pytest.raises(UserError, match=r"'dog/a': could belong to dog/a\.mp4 or dog/trip/a\.mp4"):
        annotations.know_videos(["dog/a.mp4", "dog/trip/a.mp4"])


def test_pictures_of_every_kind_in_a_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "park"
    folder.mkdir()
    values = np.linspace(0, 65535, 24 * 32).astype(np.uint16).reshape(24, 32)
    Image.fromarray(values).save(folder / "1.png")
    Image.fromarray((values / 65535).astype(np.float32)).save(folder / "2.tif")
    Image.fromarray((values >> 8).astype(np.uint8)).save(folder / "3.png")
    sixteen, floats, eight = (frame.image.astype(int) for frame in VideoReader(folder))
    assert np.array_equal(sixteen, eight)
    assert np.abs(floats - eight).max() <= 1
