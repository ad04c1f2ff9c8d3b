"""Importing a user's own videos: decoding, cuts, boxes, splits; with clips made here."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from dlib.datasets.build.annotations import boxes_of_frame
from dlib.datasets.build.box_files import read_annotations
from dlib.datasets.build.import_dataset import import_videos, split_videos
from dlib.datasets.build.import_one import Imported, Options
from dlib.datasets.cuts import CutDetector
from dlib.datasets.metadata import read_split
from dlib.datasets.videos import UnusableVideo, VideoReader
from dlib.utils.errors import UserError
from helpers.clips import encode_clip, numbered, shots

FAST = Options(fps=0, short_side=0)


def found_cuts(images: list[np.ndarray]) -> list[int]:
    detector = CutDetector()
    for image in images:
        detector.add(image)
    return detector.cuts()


@pytest.mark.parametrize("seed", range(3))
def test_cuts_are_found_where_they_are(seed: int) -> None:
    lengths = [12, 20, 7, 16, 25, 9]
    assert found_cuts(shots(lengths, seed=seed)) == np.cumsum(lengths)[:-1].tolist()


def test_motion_light_and_flashes_are_no_cuts() -> None:
    frames = shots([24])
    assert found_cuts(frames) == []
    light = [np.clip(f * (0.5 + 0.04 * i), 0, 255).astype(np.uint8) for i, f in enumerate(frames)]
    assert found_cuts(light) == []
    flash = [*frames]
    flash[11] = np.full_like(flash[11], 250)
    assert found_cuts(flash) == []
    rng = np.random.default_rng(0)
    wall = rng.integers(0, 256, (48, 60, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    pan = [np.ascontiguousarray(wall[:96, 12 * i : 12 * i + 128]) for i in range(25)]
    assert found_cuts(pan) == []


def test_short_inputs_have_no_cuts() -> None:
    assert found_cuts([]) == []
    assert found_cuts(numbered(1)) == []


def test_cuts_survive_video_compression(tmp_path: Path) -> None:
    lengths = [15, 10, 20]
    path = encode_clip(tmp_path / "a.mp4", shots(lengths))
    detector = CutDetector()
    for frame in VideoReader(path):
        detector.add(frame.image)
    assert detector.cuts() == [15, 25]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mov", "mkv"])
def test_frames_come_in_order_with_their_times(tmp_path: Path, suffix: str) -> None:
    frames = list(VideoReader(encode_clip(tmp_path / f"a.{suffix}", numbered(20))))
    assert [f.index for f in frames] == list(range(20))
    assert [round(f.time * 25) for f in frames] == list(range(20))
    levels = [f.image[:, 40:].mean() for f in frames]
    assert np.allclose(levels, 8 * np.arange(20), atol=4)


def test_gif_and_webm_and_folders_of_pictures(tmp_path: Path) -> None:
    pictures = [Image.fromarray(image) for image in numbered(6)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert len(list(VideoReader(tmp_path / "a.gif"))) == 6
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, picture in enumerate(pictures):
        picture.save(folder / f"p{i}.png")
    (folder / "p3.png").write_bytes(b"broken")
    reader = VideoReader(folder)
    assert [frame.name for frame in reader] == ["p0", "p1", "p2", "p4", "p5"]
    assert reader.damaged == 1
    assert len(list(VideoReader(encode_clip(tmp_path / "a.webm", numbered(6), codec="libvpx")))) == 6


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a rotation a, b, c, d into the track header of an mp4 file."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    a, b, c, d = (value * one for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "bright"), [((0, 1, -1, 0), "top"), ((-1, 0, 0, -1), "right"), ((0, -1, 1, 0), "bottom")]
)
def test_rotation_flags_are_obeyed(tmp_path: Path, matrix: tuple[int, int, int, int], bright: str) -> None:
    """The left half is bright as stored; turned clockwise by 90, 180, 270 degrees it is on top, right, bottom."""
    path = encode_clip(tmp_path / "a.mp4", numbered(4))
    turn(path, matrix)
    image = next(iter(VideoReader(path))).image.mean(-1)
    assert image.shape == ((48, 64) if bright == "right" else (64, 48))
    height, width = image.shape
    half = {
        "top": image[: height // 2 - 2],
        "bottom": image[height // 2 + 2 :],
        "right": image[:, width // 2 + 2 :],
    }[bright]
    assert half.mean() > 30
    assert (image.sum() - half.sum()) / image.size < 5


def test_variable_frame_rate_is_sampled_by_time(tmp_path: Path) -> None:
    times = [*range(0, 1000, 20), *range(1000, 3000, 200)]  # 50 frames in the first second, then 5 per second
    first = encode_clip(tmp_path / "src" / "cat" / "a.mkv", [np.full((48, 64, 3), 90, np.uint8)] * 60, times)
    for name in ("b", "c"):
        first.with_stem(name).write_bytes(first.read_bytes())
    import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", Options(fps=10))
    frames = sorted((tmp_path / "d").glob("cat/data/a/shots/*/*.jpg"))
    kept = [times[int(path.stem.removeprefix("frame"))] for path in frames]
    assert kept == [*range(0, 1000, 100), *range(1000, 3000, 200)]


def test_broken_and_audio_only_files(tmp_path: Path) -> None:
    whole = encode_clip(tmp_path / "whole.avi", shots([40]))
    (tmp_path / "half.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 5 < len(list(VideoReader(tmp_path / "half.avi"))) < 40
    harmed = bytearray(whole.read_bytes())
    harmed[len(harmed) // 2 : len(harmed) // 2 + 3000] = bytes(3000)
    (tmp_path / "harmed.avi").write_bytes(harmed)
    assert len(list(VideoReader(tmp_path / "harmed.avi"))) > 20
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UnusableVideo, match="cannot be opened"):
        list(VideoReader(tmp_path / "text.mp4"))
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(UnusableVideo, match="audio only"):
        list(VideoReader(tmp_path / "sound.mp4"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes with 4 and 3 usable videos; one file is broken. Only read by the tests."""
    src = tmp_path_factory.mktemp("clips") / "src"
    for i, name in enumerate(("one", "two b", "three", "four")):
        encode_clip(src / "cat" / f"{name}.mp4", shots([8, 8], seed=i))
    (src / "cat" / "broken.mov").write_bytes(b"x" * 100)
    for i in range(2):
        encode_clip(src / "dog" / f"d{i}.avi", shots([9], seed=9 + i))
    (src / "dog" / "frames").mkdir()
    for i, image in enumerate(shots([6], seed=20)):
        Image.fromarray(image).save(src / "dog" / "frames" / f"img_{i:03d}.png")
    return src


def boxes_csv(path: Path) -> Path:
    lines = ["video,frame,x0,y0,x1,y1"]
    lines += [f"cat/{n}.mp4,{k},10,5,{40 + k},30" for n in ("one", "two b") for k in (0, 9)]
    lines += ["dog/d0,3,1,2,30,31", "dog/d1.avi,4,-3,2,30,31", "dog/frames,img_002.png,5,5,20,20"]
    path.write_text("\n".join(lines) + "\n")
    return path


def load(tmp_path: Path, split: str):
    return read_split(tmp_path / "d", tmp_path / "f", split)


def test_import_writes_tree_and_folds_and_is_repeatable(source: Path, tmp_path: Path) -> None:
    annotations = read_annotations(boxes_csv(tmp_path / "b.csv"))
    notes = import_videos(source, tmp_path / "d", tmp_path / "f", FAST, annotations, seed=1, workers=2)
    assert len(notes) == 1
    assert "broken.mov" in notes[0]
    train, val, test = (load(tmp_path, s) for s in ("train", "val", "test"))
    assert train.class_names == ["cat", "dog"]
    video = lambda name: name.split("/shots/")[0]  # noqa: E731
    parts = [{video(i) for i in split.ids} for split in (train, val, test)]
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
    assert parts[0] | parts[1] | parts[2] == {
        *(f"cat/data/{n}" for n in ("one", "two_b", "three", "four")),
        *(f"dog/data/{n}" for n in ("d0", "d1", "frames")),
    }
    assert parts[1] | parts[2] >= {"cat/data/one", "cat/data/two_b"}  # the boxed ones
    assert all(i in split.boxes for split in (val, test) for i in split.ids)
    box = next(
        b for s in (val, test) for i, b in s.boxes.items() if i == "cat/data/one/shots/002/frame000009.jpg"
    )
    assert box.tolist() == [[10, 5, 49, 30]]
    before = {p: p.stat().st_mtime_ns for p in sorted(tmp_path.glob("[df]/**/*")) if p.is_file()}
    import_videos(source, tmp_path / "d", tmp_path / "f", FAST, annotations, seed=1)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert len(load(tmp_path, "test-video-demo").ids) >= 14


def test_scaling_scales_the_boxes_and_boxed_frames_are_kept(source: Path, tmp_path: Path) -> None:
    annotations = read_annotations(boxes_csv(tmp_path / "b.csv"))
    import_videos(source, tmp_path / "d", tmp_path / "f", Options(fps=1, short_side=24), annotations)
    boxes = {**load(tmp_path, "val").boxes, **load(tmp_path, "test").boxes}
    sizes = {**load(tmp_path, "val").sizes, **load(tmp_path, "test").sizes}
    name = "cat/data/one/shots/002/frame000009.jpg"
    width, height = sizes[name]
    assert (width, height) == (32, 24)  # from 64 x 48
    assert np.allclose(boxes[name], [[5, 2.5, 24.5, 15]])


def test_without_boxes_there_are_frames_to_classify(source: Path, tmp_path: Path) -> None:
    import_videos(source, tmp_path / "d", tmp_path / "f", FAST)
    assert not load(tmp_path, "test").boxes
    assert len(load(tmp_path, "test").ids) >= 8


@pytest.mark.parametrize(
    ("box", "wide", "high"), [((16, 12, 31, 35), 16, 24), ((0, 0, 63, 47), 64, 48), ((5, 7, 6, 8), 2, 2)]
)
def test_the_three_box_formats_agree(tmp_path: Path, box: tuple[int, ...], wide: int, high: int) -> None:
    """A box of ``wide`` x ``high`` pixels: CSV names its first and last pixel, COCO and YOLO its size."""
    x0, y0 = box[:2]
    frame = next(iter(VideoReader(encode_clip(tmp_path / "cat" / "v.mp4", numbered(1)))))
    csv = tmp_path / "b.csv"
    csv.write_text(f"video,frame,x0,y0,x1,y1\ncat/v.mp4,0,{','.join(map(str, box))}\n")
    coco = tmp_path / "b.json"
    image = {"id": 7, "file_name": "cat/v/frame_000000.jpg", "width": 64, "height": 48}
    found = {"id": 1, "image_id": 7, "bbox": [x0, y0, wide, high]}
    coco.write_text(json.dumps({"images": [image], "annotations": [found]}))
    yolo = tmp_path / "labels" / "cat" / "v" / "0000.txt"
    yolo.parent.mkdir(parents=True)
    yolo.write_text(f"3 {(x0 + wide / 2) / 64} {(y0 + high / 2) / 48} {wide / 64} {high / 48}\n")
    for path in (csv, coco, tmp_path / "labels"):
        annotations = read_annotations(path)
        annotations.know_videos(["cat/v.mp4"])
        boxes = boxes_of_frame(annotations.of_video("cat/v.mp4"), frame, by_index=True)
        assert np.allclose(boxes, [box])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("b.csv", "video,frame,x0,y0,x1\n", "lacks 'y1'"),
        ("b.csv", "video,frame,x0,y0,x1,y1\ncat/a,0,1,2,three,4\n", "line 2"),
        ("b.csv", "video,frame,x0,y0,x1,y1\ncat/a,0,1,2,nan,4\n", "line 2"),
        ("b.csv", "video,frame,x0,y0,x1,y1\n", "no box"),
        ("b.json", "[]", "not a COCO"),
        (
            "b.json",
            '{"images": [], "annotations": [{"id": 4, "image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            "annotation 4",
        ),
        ("b.txt", "", "come from"),
        ("yolo/cat/v/1.txt", "0 .5 .5 .1\n", "line 1"),
    ],
)
def test_box_files_with_faults_are_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_annotations(tmp_path / name.split("/")[0])
    assert path.name in str(caught.value)


def test_boxes_of_nothing_and_boxes_outside(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("video,frame,x0,y0,x1,y1\nbird/x,0,1,2,3,4\n")
    with pytest.raises(UserError, match="bird/x"):
        import_videos(source, tmp_path / "d", tmp_path / "f", FAST, read_annotations(path))
    path.write_text("video,frame,x0,y0,x1,y1\ncat/one,0,500,2,600,40\n")
    with pytest.raises(UserError, match=r"cat/one\.mp4, frame 0"):
        import_videos(source, tmp_path / "d", tmp_path / "f", FAST, read_annotations(path))


def test_boxes_partly_outside_are_kept(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    path.write_text("video,frame,x0,y0,x1,y1\ncat/one,0,-4,8,64,50.5\ncat/one,0,40,8,20,16\n")
    notes = import_videos(source, tmp_path / "d", tmp_path / "f", FAST, read_annotations(path))
    (boxes,) = {**load(tmp_path, "val").boxes, **load(tmp_path, "test").boxes}.values()
    assert boxes.tolist() == [[-4, 8, 64, 50.5], [20, 8, 40, 16]]
    assert [note for note in notes if "swapped corners" in note] == ["cat/one.mp4, frame 0: swapped corners"]


def test_too_few_videos(tmp_path: Path) -> None:
    encode_clip(tmp_path / "src" / "cat" / "a.mp4", numbered(5))
    with pytest.raises(UserError, match="at least 3"):
        import_videos(tmp_path / "src", tmp_path / "d", tmp_path / "f", FAST)
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no videos"):
        import_videos(tmp_path / "none", tmp_path / "d", tmp_path / "f", FAST)


def test_the_split_depends_on_the_seed_alone() -> None:
    videos = [Imported(0, f"cat/data/{i}", f"cat/{i}") for i in range(10)]
    names = lambda parts: {split: sorted(v.folder for v in part) for split, part in parts.items()}  # noqa: E731
    first = names(split_videos(videos, (0.2, 0.2), "0/cat"))
    assert {split: len(part) for split, part in first.items()} == {"train": 6, "val": 2, "test": 2}
    assert names(split_videos(videos[::-1], (0.2, 0.2), "0/cat")) == first
    assert any(names(split_videos(videos, (0.2, 0.2), f"{s}/cat")) != first for s in range(1, 5))
    greedy = split_videos(videos[:3], (0.9, 0.9), "0/cat")
    assert [len(greedy[split]) for split in ("train", "val", "test")] == [1, 1, 1]
