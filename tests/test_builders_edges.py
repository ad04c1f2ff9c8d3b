"""The builders on what is unusual: odd .mat files, endless ranges, bombs, links, names that are no text."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlib.datasets import _video_ds_ytov1_0 as v1
from dlib.datasets import _video_ds_ytov2_2 as v2
from dlib.datasets.build.builder import place_files
from dlib.datasets.build.folds import Item, image_size, write_folds
from dlib.datasets.build.matfiles import read_frame_boxes, read_sticks
from dlib.datasets.build.matprocess import MatProcess
from dlib.datasets.index import build_index
from dlib.utils.errors import UserError
from helpers.paths import ROOT
from helpers.pictures import bomb, pictures
from helpers.random_cases import cases
from helpers.small_datasets import write_faulty_dataset
from helpers.youtube_objects import v1_tree, v2_tree

BOX = np.array([[1.0, 2.0, 30.0, 40.0]])


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """The call's result; a failed test if it takes longer. A loop without end cannot be stopped, only left."""
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, f"no end after {seconds} s"
    if outcome[0][1] is not None:
        raise outcome[0][1]
    return outcome[0][0]


def cells(*values: Any) -> np.ndarray:
    row = np.empty((1, len(values)), object)
    row[0, :] = list(values)
    return row


def pairs(*values: tuple[Any, Any]) -> np.ndarray:
    table = np.empty((len(values), 2), object)
    for i, (left, right) in enumerate(values):
        table[i, 0], table[i, 1] = left, right
    return table


VALUES: dict[str, Any] = {
    "sparse": scipy.sparse.csc_matrix(BOX),
    "sparse of one": scipy.sparse.csc_matrix(np.ones((1, 1))),
    "sparse in a cell": cells(scipy.sparse.csc_matrix(BOX)),
    "struct": {"a": BOX, "b": 2.0},
    "struct of one": {"a": BOX},
    "struct in a cell": cells({"a": BOX}),
    "structs": np.array([[(1.0, 2.0)] * 4], dtype=[("a", float), ("b", float)]),
    "string": "cat",
    "string of four": "1234",
    "strings": cells("1", "2", "3", "4"),
    "four strings in a cell": cells(np.array([["1", "2", "3", "4"]])),
    "cells in cells": cells(cells(cells(BOX))),
    "cells of different depth": cells(BOX, cells(BOX, BOX)),
    "empty double": np.zeros((0, 0)),
    "empty rows": np.zeros((0, 4)),
    "empty columns": np.zeros((1, 0)),
    "empty cells": np.empty((0, 0), object),
    "empty pairs": np.empty((0, 2), object),
    "empty in a cell": cells(np.zeros((0, 0))),
    "complex": BOX + 1j,
    "complex in a cell": cells(BOX + 1j),
    "one number": np.array(7.0),
    "one number in a cell": cells(7.0),
    "not a number": np.full((1, 4), np.nan),
    "infinite in a cell": cells(np.array([[1, 2, np.inf, 4]])),
    "boolean": np.ones((1, 4), bool),
    "three dimensions": np.ones((2, 2, 4)),
    "whole numbers": cells(np.array([[1, 2, 30, 40]], np.uint16)),
    "column": cells(BOX.T),
    "four cells of one number": cells(cells(1.0, 2.0, 30.0, 40.0)),
    "pair": pairs(("cat00000001", BOX)),
    "pair without text": pairs((1.0, BOX)),
    "pair of sparse": pairs((scipy.sparse.csc_matrix(BOX), scipy.sparse.csc_matrix(BOX))),
    "pair with text for a box": pairs(("cat00000001", "none")),
}
STICKS = {  # those of which boxes are read; all others must be refused
    "cells in cells": [[1, 2, 30, 40]],
    "empty double": [],
    "empty rows": [],
    "empty columns": [],
    "empty cells": [],
    "empty pairs": [],
    "empty in a cell": [],
    "boolean": [[1, 1, 1, 1]],
    "three dimensions": [[1, 1, 1, 1]] * 4,
    "whole numbers": [[1, 2, 30, 40]],
    "column": [[1, 2, 30, 40]],
    "four cells of one number": [[1, 2, 30, 40]],
}
FRAMES = {"empty double", "empty rows", "empty columns", "empty cells", "empty pairs", "empty in a cell"}


@pytest.mark.parametrize("kind", VALUES)
def test_odd_sticks_are_boxes_or_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f_sticks.mat"
    scipy.io.savemat(path, {"coor": VALUES[kind]})
    if kind in STICKS:
        assert within(20, lambda: read_sticks(path)) == STICKS[kind]
        return
    with pytest.raises(UserError, match=r"f_sticks\.mat: ") as caught:
        within(20, lambda: read_sticks(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", VALUES)
def test_odd_frame_boxes_are_boxes_or_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "bb.mat"
    scipy.io.savemat(path, {"bb": VALUES[kind]})
    if kind == "pair":
        assert read_frame_boxes(path, "bb") == [("cat00000001", [[1, 2, 30, 40]])]
    elif kind in FRAMES:
        assert read_frame_boxes(path, "bb") == []
    else:
        with pytest.raises(UserError, match=r"bb\.mat: ") as caught:
            within(20, lambda: read_frame_boxes(path, "bb"))
        assert "\n" not in str(caught.value)


LEAVES = st.sampled_from(
    [value for kind, value in VALUES.items() if "cell" not in kind and "pair" not in kind]
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: cells(*values)),
        st.tuples(inner, inner).map(lambda pair: pairs(pair)),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)


def test_a_reader_that_crashed_is_named_and_started_again(tmp_path: Path) -> None:
    path = tmp_path / "boxes.mat"
    scipy.io.savemat(path, {"coor": cells(BOX)})
    reader = MatProcess()
    assert list(reader.load(path)) == list(scipy.io.loadmat(path))
    assert reader._process is not None
    reader._process.kill()
    with pytest.raises(ValueError, match="crashes the reader"):
        reader.load(path)
    assert list(reader.load(path)) == list(scipy.io.loadmat(path))
    reader.close()
    with pytest.raises(ValueError, match="No such file"):
        reader.load(tmp_path / "none.mat")
    reader.close()


def test_a_script_without_a_main_guard_reads_boxes(tmp_path: Path) -> None:
    """A process of `multiprocessing` would run the script again, and again fail to start one."""
    scipy.io.savemat(tmp_path / "f_sticks.mat", {"coor": cells(BOX)})
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from dlib.datasets.build.matfiles import read_sticks\n"
        "print('boxes', read_sticks(Path('f_sticks.mat')))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("boxes [[1.0, 2.0, 30.0, 40.0]]\n", "")


@settings(max_examples=cases(80), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=NESTED)
def test_any_structure_ends(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "any.mat"
    scipy.io.savemat(path, {"x": value, "coor": value})
    for read in (lambda: read_sticks(path), lambda: read_frame_boxes(path, "x")):
        outcome = str(path)
        try:
            within(20, read)
        except UserError as error:
            outcome = str(error)
        assert str(path) in outcome
        assert "\n" not in outcome


def ranges(path: Path, *rows: tuple[float, float, float]) -> Path:
    scipy.io.savemat(path / "Ranges" / "ranges_cat.mat", {"ranges": np.array(rows, np.float64)})
    return path


def test_ranges_are_as_long_as_the_frames(tmp_path: Path) -> None:
    v2_tree(tmp_path, "cat", True)
    whole = dict.fromkeys(range(1, 81), 0)
    assert within(20, lambda: v2.read_frames(ranges(tmp_path, (1, 1e10, 1)), "cat")).shot_of == whole
    assert within(20, lambda: v2.read_frames(ranges(tmp_path, (-1e300, 1e300, 1)), "cat")).shot_of == whole
    found = v2.read_frames(ranges(tmp_path, (3, 5, 1), (5, 7, 2), (9, 8, 3), (200, 300, 4)), "cat").shot_of
    assert found == {3: 0, 4: 0, 5: 1, 6: 1, 7: 1}


@pytest.mark.parametrize("video", [-1, 1e12, -1e300])
def test_ranges_with_impossible_videos(tmp_path: Path, video: float) -> None:
    v2_tree(tmp_path, "cat", True)
    with pytest.raises(UserError, match=r"ranges_cat\.mat: .*video"):
        v2.read_frames(ranges(tmp_path, (1, 5, 1), (6, 9, video)), "cat")


@pytest.mark.parametrize("side", [8100, 20_000, 60_000])
def test_bombs_among_the_frames_are_named(tmp_path: Path, side: int) -> None:
    v1_tree(tmp_path / "o", "cat", 1, 1, 1)
    frame = tmp_path / "o/cat/data/0003/shots/001/frame0001.jpg"
    frame.write_bytes(bomb(side))
    with pytest.raises(UserError, match=r"frame0001\.jpg: .*64000000"):
        v1.build(tmp_path / "o", tmp_path / "d", False, 1)


def test_headers_of_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(UserError, match=r"a\.jpg: .*formats"):
        image_size(path)


@pytest.mark.parametrize("copy", [False, True])
def test_frames_that_are_symbolic_links_become_files(tmp_path: Path, copy: bool) -> None:
    pictures(tmp_path / "disk", ["a.jpg", "b.jpg"])
    source, target = tmp_path / "o", tmp_path / "data" / "shot"
    source.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (source / name).symlink_to(Path("..", "disk", name))
    jobs = [(source / name, target / name) for name in ("a.jpg", "b.jpg")]
    place_files(jobs, copy=copy)
    assert not any(path.is_symlink() for path in target.iterdir())
    assert (target / "a.jpg").read_bytes() == (tmp_path / "disk" / "a.jpg").read_bytes()
    assert os.path.samefile(target / "a.jpg", tmp_path / "disk" / "a.jpg") != copy
    assert build_index(tmp_path / "data", ["shot"]).frame_names(0) == ["a.jpg", "b.jpg"]
    before = [path.stat() for path in target.iterdir()]
    place_files(jobs, copy=copy)
    assert [path.stat() for path in target.iterdir()] == before
    (target / "a.jpg").unlink()
    (target / "a.jpg").symlink_to(tmp_path / "disk" / "a.jpg")  # as an earlier version left it
    (target / "b.jpg").unlink()
    (target / "b.jpg").symlink_to(tmp_path / "nowhere")
    place_files(jobs, copy=copy)
    assert not any(path.is_symlink() for path in target.iterdir())


def test_names_that_are_no_text_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"ca\xfft")
    with pytest.raises(UserError, match=r"'ca\\udcfft' is not plain"):
        write_folds(tmp_path / "f", [name], {"train": [Item("a/b", 0)]})
    with pytest.raises(UserError, match=r"'ca\\udcfft/b' is not plain"):
        write_folds(tmp_path / "f", ["cat"], {"train": [Item(f"{name}/b", 0)]})
    with pytest.raises(UserError, match=r"'a\\nb' is not plain"):
        write_folds(tmp_path / "f", ["cat"], {"train": [Item("a\nb", 0)]})
    assert not (tmp_path / "f").exists()
    write_folds(tmp_path / "f", ["Kätzchen, 猫"], {"train": [Item("Kätzchen, 猫/b c", 0)]})


def not_utf8_v1(folder: Path) -> list[str]:
    v1_tree(folder / "o", "cat", 1, 1, 1)
    os.rename(folder / "o/cat", os.fsencode(folder / "o") + b"/c\xfft")
    return ["_video_ds_ytov1_0", "--src", str(folder / "o"), "--dst", str(folder / "d")]


def not_utf8_import(folder: Path) -> list[str]:
    for i in range(3):
        pictures(folder / "o/cat" / f"v{i}", ["a.png", "b.png"])
    os.rename(folder / "o/cat", os.fsencode(folder / "o") + b"/c\xfft")
    return ["import_videos", "--src", str(folder / "o"), "--dst", str(folder / "d")]


def inspect(folder: Path, *more: str) -> list[str]:
    write_faulty_dataset(folder)
    roots = ["--data_root", str(folder / "data"), "--metadata_root", str(folder / "folds")]
    return ["inspect", "--dataset", "set", *roots, *more]


def a_file(folder: Path) -> str:
    (folder / "file").write_text("x")
    return str(folder / "file")


def import_to(folder: Path, *more: str) -> list[str]:
    pictures(folder / "o/cat/v", ["a.png"])
    return ["import_videos", "--src", str(folder / "o"), *more]


def v1_to(folder: Path, *more: str) -> list[str]:
    v1_tree(folder / "o", "cat", 1, 1, 1)
    return ["_video_ds_ytov1_0", "--src", str(folder / "o"), *more]


DOWNLOAD = ["download", "YouTube-Objects-v1.0", "--classes", "cat", "--retries", "0"]
MISTAKES: dict[str, tuple[int, str, Callable[[Path], list[str]]]] = {
    "url": (2, "--url 'foo'", lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--url", "foo"]),
    "url of no host": (2, "--url", lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--url", "http:///a"]),
    "url with port": (2, "--url", lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--url", "http://a:b/"]),
    "url with dots": (
        2,
        "--url",
        lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--url", "http://a..b/"],
    ),
    "url with space": (
        2,
        "--url",
        lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--url", "http://a /b"],
    ),
    "retries": (2, "--retries -1", lambda f: [*DOWNLOAD, "--data_root", str(f / "r"), "--retries", "-1"]),
    "data_root": (
        1,
        "--data_root",
        lambda f: [*DOWNLOAD, "--data_root", a_file(f), "--url", "http://127.0.0.1:9"],
    ),
    "metadata of download": (
        1,
        "--metadata",
        lambda f: [*DOWNLOAD, "--data_root", str(f), "--metadata", f"{a_file(f)}/x"],
    ),
    "metadata": (1, "--metadata", lambda f: v1_to(f, "--dst", str(f / "d"), "--metadata", a_file(f))),
    "dst": (1, "--dst", lambda f: v1_to(f, "--dst", a_file(f), "--metadata", str(f / "m"))),
    "metadata of import": (
        1,
        "--metadata",
        lambda f: import_to(f, "--dst", str(f / "d"), "--metadata", a_file(f)),
    ),
    "dst of import": (1, "--dst", lambda f: import_to(f, "--dst", f"{a_file(f)}/d")),
    "dst of synthetic": (1, "--dst", lambda f: ["synthetic", "--dst", a_file(f)]),
    "out": (1, "--out", lambda f: inspect(f, "--out", a_file(f))),
    "per_shot": (2, "--per_shot -1", lambda f: inspect(f, "--per_shot", "-1", "--out", str(f / "out"))),
    "too long a name": (1, "too long", lambda f: inspect(f, "--out", str(f / ("x" * 300)))),
    "class of v1.0": (1, r"'c\udcfft'", not_utf8_v1),
    "class of own videos": (1, r"'c\udcfft'", not_utf8_import),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_line(tmp_path: Path, mistake: str) -> None:
    code, says, command = MISTAKES[mistake]
    module, *flags = command(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", f"dlib.datasets.{module}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    lines = [line for line in done.stderr.split("\n") if line]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert not (tmp_path / "d").exists()
