"""Folds: what loads, and one line with file, line and reason for every fault."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlib.datasets.metadata import SplitMetadata, read_split, scaled_boxes
from dlib.utils.errors import UserError
from helpers.paths import ROOT
from helpers.random_cases import cases

FILES = {
    "image_ids.txt": "a/1.jpg\na/x,y 2.jpg\nb/3.jpg\n",
    "class_labels.txt": "a/1.jpg,0\na/x,y 2.jpg,0\nb/3.jpg,1\n",
    "image_sizes.txt": "a/1.jpg,320,240\na/x,y 2.jpg,100,50\nb/3.jpg,64,64\n",
    "localization.txt": "a/1.jpg,0,0,320,240\na/1.jpg,10.5,20,30.25,40\na/x,y 2.jpg,0,0,0,0\n",
}
CLASSES = "cat: 0\ndog: 1\n"


@pytest.fixture
def folds(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/x,y 2.jpg", "b/3.jpg"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "folds" / "val").mkdir(parents=True)
    (tmp_path / "folds" / "class_id.yaml").write_text(CLASSES)
    for name, text in FILES.items():
        (tmp_path / "folds" / "val" / name).write_text(text)
    return tmp_path / "folds"


def read(folds: Path, split: str = "val", **options):
    return read_split(folds.parent / "data", folds, split, **options)


def fault(folds: Path, **options) -> str:
    with pytest.raises(UserError) as error:
        read(folds, **options)
    text = str(error.value)
    assert "\n" not in text
    assert str(folds) in text
    return text


def test_a_whole_split(folds: Path) -> None:
    split = read(folds)
    assert split.ids == ["a/1.jpg", "a/x,y 2.jpg", "b/3.jpg"]
    assert split.labels.tolist() == [0, 0, 1]
    assert split.sizes["a/x,y 2.jpg"] == (100, 50)
    assert split.class_names == ["cat", "dog"]
    assert split.boxes["a/1.jpg"].tolist() == [[0, 0, 320, 240], [10.5, 20, 30.25, 40]]
    assert "a/x,y 2.jpg" not in split.boxes  # all zeros: unknown


def test_scaled_boxes_are_truncated(folds: Path) -> None:
    split = read(folds)
    # 10.5·224/320 = 7.35, 20·224/240 = 18.67, 30.25·224/320 = 21.175, 40·224/240 = 37.33
    assert scaled_boxes(split, "a/1.jpg", 224).tolist() == [[0, 0, 224, 224], [7, 18, 21, 37]]
    assert scaled_boxes(split, "b/3.jpg", 224).shape == (0, 4)


def test_boxes_that_partly_leave_their_frame_are_kept(folds: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(folds)
    assert not caplog.records
    text = FILES["localization.txt"].replace("0,0,320,240", "-4.9,-0.25,322.5,244.75")
    (folds / "val" / "localization.txt").write_text(text + "b/3.jpg,63,63,64.5,64\nb/3.jpg,0,0,64,64\n")
    split = read(folds)
    assert split.boxes["a/1.jpg"].tolist() == [[-4.9, -0.25, 322.5, 244.75], [10.5, 20, 30.25, 40]]
    assert split.boxes["b/3.jpg"].tolist() == [[63, 63, 64.5, 64], [0, 0, 64, 64]]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        f"{folds / 'val' / 'localization.txt'}: 2 of 4 boxes reach beyond their frame, by up to 4.9 pixels; "
        "they are kept as they are"
    )
    # -4.9·224/320 = -3.43, -0.25·224/240 = -0.23, 322.5·224/320 = 225.75, 244.75·224/240 = 228.43: int() truncates
    assert scaled_boxes(split, "a/1.jpg", 224)[0].tolist() == [-3, 0, 225, 228]


def test_windows_text_files_read_the_same(folds: Path) -> None:
    plain = read(folds)
    for name, text in FILES.items():
        (folds / "val" / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    assert read(folds).ids == plain.ids
    assert read(folds).sizes == plain.sizes


def test_train_ids_are_shots_and_need_no_sizes(folds: Path) -> None:
    train = folds / "train"
    train.mkdir()
    for name, text in (("image_ids.txt", "b\na\n"), ("class_labels.txt", "a,0\nb,1\n")):
        (train / name).write_text(text)
    for name in ("image_sizes.txt", "localization.txt"):
        (train / name).write_text("")
    split = read(folds, "train")
    assert (split.ids, split.labels.tolist()) == (["b", "a"], [1, 0])
    (train / "image_ids.txt").write_text("b\na/1.jpg\n")
    (train / "class_labels.txt").write_text("b,1\na/1.jpg,0\n")
    with pytest.raises(UserError, match=r"image_ids.txt, line 2: there is no shot folder"):
        read(folds, "train")


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("image_ids.txt", "b/3.jpg", "../3.jpg", "line 3: id '../3.jpg' leaves the data folder"),
        ("image_ids.txt", "b/3.jpg", "b/../../3.jpg", "line 3: .*leaves the data folder"),
        ("image_ids.txt", "b/3.jpg", "/etc/passwd", "line 3: .*leaves the data folder"),
        ("image_ids.txt", "b/3.jpg", "b//3.jpg", "line 3: .*not a plain relative path"),
        ("image_ids.txt", "b/3.jpg", "b/\x003.jpg", "line 3: .*not a plain relative path"),
        ("image_ids.txt", "b/3.jpg", "a/1.jpg", "line 3: 'a/1.jpg' is already in line 1"),
        ("image_ids.txt", "b/3.jpg\n", "b/3.jpg\nb/4.jpg\n", "line 4: id 'b/4.jpg' has no label"),
        ("image_ids.txt", "b/3.jpg\n", "", "class_labels.txt, line 3: id 'b/3.jpg' is not listed"),
        ("image_ids.txt", "a/1.jpg\n", "a/1.jpg\n\n", "line 2: empty line"),
        ("image_ids.txt", FILES["image_ids.txt"], "\n", "image_ids.txt: the split is empty"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg,2", "line 3: class 2 is out of range: there are 2"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg,-1", "line 3: class '-1' is not a whole number"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg,1.0", "line 3: class '1.0' is not a whole number"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg,dog", "line 3: class 'dog' is not a whole number"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg", "line 3: expected an id and 1 value"),
        ("class_labels.txt", "b/3.jpg,1", "a/1.jpg,1", "line 3: id 'a/1.jpg' has a label already"),
        ("class_labels.txt", "b/3.jpg,1", "b/3.jpg,1_0", "line 3: class '1_0' is not a whole number"),
        ("image_sizes.txt", "64,64", "64", "line 3: "),
        ("image_sizes.txt", "64,64", "0,64", "line 3: width and height"),
        ("image_sizes.txt", "64,64", "nan,64", "line 3: width and height"),
        ("image_sizes.txt", "b/3.jpg,64,64\n", "", "image_ids.txt, line 3: id 'b/3.jpg' has no size"),
        ("image_sizes.txt", "b/3.jpg", "a/1.jpg", "line 3: id 'a/1.jpg' has a size already"),
        ("localization.txt", "30.25,40", "10.5,40", "line 2: box .* is empty"),
        ("localization.txt", "30.25,40", "30.25,20", "line 2: box .* is empty"),
        ("localization.txt", "0,0,320,240", "320,0,330,240", "line 1: box .* outside its frame of 320x240"),
        ("localization.txt", "0,0,320,240", "-9,0,0,240", "line 1: box .* lies outside its frame"),
        ("localization.txt", "0,0,320,240", "0,-9,320,-1", "line 1: box .* lies outside its frame"),
        ("localization.txt", "0,0,320,240", "0,240.5,320,250", "line 1: box .* lies outside its frame"),
        ("localization.txt", "320,240", "1e8,240", "line 1: box .* more than 10,000,000 pixels beyond"),
        ("localization.txt", "320,240", "inf,240", "line 1: a box is four numbers"),
        ("localization.txt", "320,240", "nan,240", "line 1: a box is four numbers"),
        ("localization.txt", ",320,240", ",320", "line 1: "),
        ("localization.txt", "a/1.jpg,10", "c/1.jpg,10", "line 2: id 'c/1.jpg' is not listed"),
    ],
)
def test_faults_are_named(folds: Path, file: str, old: str, new: str, expected: str) -> None:
    path = folds / "val" / file
    assert old in FILES[file]
    path.write_text(FILES[file].replace(old, new))
    text = fault(folds)
    assert str(folds / "val") in text
    assert re.search(expected, text), text


@pytest.mark.parametrize("name", FILES)
def test_missing_and_foreign_files(folds: Path, name: str) -> None:
    path = folds / "val" / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1.jpg", b"1\xff.jpg"))
    assert f"{path}, line 1: not UTF-8" in fault(folds)
    path.unlink()
    assert f"{path}: no such file" in fault(folds)
    os.mkfifo(path)
    assert f"{path}: no such file" in fault(folds)


def test_missing_split_and_missing_frame(folds: Path) -> None:
    with pytest.raises(UserError, match=r"test-video-demo: no such folder"):
        read(folds, "test-video-demo")
    (folds.parent / "data" / "b" / "3.jpg").unlink()
    assert "image_ids.txt, line 3: there is no frame" in fault(folds)
    assert len(read(folds, check_files=False).ids) == 3


@pytest.mark.parametrize("link_folder", [True, False])
def test_links_may_not_leave_the_data_folder(folds: Path, link_folder: bool) -> None:
    outside = folds.parent / "outside"
    outside.mkdir()
    (outside / "3.jpg").write_bytes(b"")
    frame = folds.parent / "data" / "b" / "3.jpg"
    frame.unlink()
    if link_folder:
        frame.parent.rmdir()
        frame.parent.symlink_to(outside)
    else:
        frame.symlink_to(outside / "3.jpg")
    assert "image_ids.txt, line 3: id 'b/3.jpg' leaves the data folder through a link" in fault(folds)


def test_links_inside_the_data_folder_and_a_linked_root_are_fine(folds: Path) -> None:
    data = folds.parent / "data"
    (data / "b" / "3.jpg").unlink()
    (data / "b" / "3.jpg").symlink_to(data / "a" / "1.jpg")
    (folds.parent / "link").symlink_to(data)
    assert len(read_split(folds.parent / "link", folds, "val").ids) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat: 0\ndog: 2\n", "1 is missing"),
        ("cat: 0\ndog: 0\n", "1 is missing"),
        ("cat: 1\ndog: 2\n", "0 is missing"),
        ("cat: 0\ndog: one\n", "id of class 'dog' is not a whole number"),
        ("cat: 0\ndog: true\n", "id of class 'dog' is not a whole number"),
        ("cat: 0\nno: 1\n", "class name False is not plain text"),
        ("- cat\n- dog\n", "expected lines"),
        ("", "expected lines"),
        ("cat: [0\n", "line 2: not a YAML file"),
        ("!!python/object/apply:os.getcwd []", "line 1: not a YAML file"),
        ("a: &a [1,2]\nb: &b [*a,*a]\nc: 0", "id of class 'a' is not a whole number"),
    ],
)
def test_class_files(folds: Path, text: str, expected: str) -> None:
    (folds / "class_id.yaml").write_text(text)
    assert expected in fault(folds)


def test_class_names_without_a_class_file(folds: Path) -> None:
    (folds / "class_id.yaml").unlink()
    assert read(folds).class_names == ["0", "1"]
    youtube = folds.with_name("YouTube-Objects-v1.0")
    folds.rename(youtube)
    names = read(youtube).class_names
    assert (len(names), names[0], names[8]) == (10, "aeroplane", "motorbike")


def test_keep_per_class(folds: Path) -> None:
    split = read(folds)
    assert split.keep_per_class(0, seed=0) is split
    kept = split.keep_per_class(1, seed=0)
    assert kept.labels.tolist() == [0, 1]
    assert {split.keep_per_class(1, seed=s).ids[0] for s in range(20)} == {"a/1.jpg", "a/x,y 2.jpg"}
    assert split.keep_per_class(9, seed=3).ids == split.ids


@settings(max_examples=cases(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_split_or_one_line(folds: Path, data: st.DataObject) -> None:
    for name, text in FILES.items():
        (folds / "val" / name).write_text(text)
    name = data.draw(st.sampled_from(sorted(FILES)))
    content = bytearray(FILES[name].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folds / "val" / name).write_bytes(bytes(content))
    try:
        split = read(folds)
    except UserError as error:
        text = str(error)
    else:
        assert_sound(split)
        return
    assert len(text.splitlines()) == 1
    assert str(folds) in text


def assert_sound(split: SplitMetadata) -> None:
    assert len(split.labels) == len(split.ids) == len(set(split.ids)) > 0
    assert set(split.boxes) <= set(split.ids) == set(split.sizes)
    for frame, boxes in split.boxes.items():
        width, height = split.sizes[frame]
        assert np.isfinite(boxes).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, 2:] > 0).all()
        assert (boxes[:, :2] < [width, height]).all()


@pytest.fixture
def shared_data() -> Path:
    root = ROOT.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("no ../shared/data here")
    return root


def test_real_folds_load(shared_data: Path) -> None:
    root = shared_data
    counts = {}
    for split in ("train", "val", "test"):
        counts[split] = len(read_split(root / "real-videos", root / "folds" / "real-videos", split).ids)
    assert counts == {"train": 108, "val": 146, "test": 153}
