"""The index of frames: right, cached, and built anew exactly where folders change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlib.cams.store import CamStore
from dlib.datasets import index as index_module
from dlib.datasets.index import ShotIndex, build_index, cache_file, check_names, out_of_order
from dlib.utils.errors import UserError
from helpers.paths import ROOT
from stress.loader_scale import make_tree, start

SHOTS = ["a/s1", "b/s 2", "a/s0"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for shot, count in zip(SHOTS, (3, 1, 12), strict=True):
        (tmp_path / shot).mkdir(parents=True)
        for i in range(count):
            (tmp_path / shot / f"é{i:02d}.jpg").write_bytes(b"")
        (tmp_path / shot / "notes.txt").write_text("")
        (tmp_path / shot / ".hidden.jpg").write_bytes(b"")
        (tmp_path / shot / "folder.jpg").mkdir()
        os.utime(tmp_path / shot, (1, 1))
    return tmp_path


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shots whose folders were listed."""
    seen: list[str] = []
    real = index_module._list_shot

    def spy(root: str, shot: str):
        seen.append(shot)
        return real(root, shot)

    monkeypatch.setattr(index_module, "_list_shot", spy)
    return seen


def names(index: ShotIndex) -> list[list[str]]:
    return [index.frame_names(s) for s in range(len(index))]


def truth(data: Path) -> list[list[str]]:
    return [sorted(p.name for p in (data / s).glob("[!.]*.jpg") if p.is_file()) for s in SHOTS]


def test_frames_in_name_order(data: Path) -> None:
    index = build_index(data, SHOTS)
    assert names(index) == truth(data)
    assert [index.count(shot) for shot in range(3)] == [3, 1, 12]
    assert index.frame_id(1, 0) == "b/s 2/é00.jpg"


def test_numbers_without_zeros_are_warned_of_once(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_names(build_index(data, SHOTS))
    assert not caplog.records
    for shot, frames in (
        ("x", ["1.jpg", "2.jpg", "10.jpg"]),
        ("y", ["f9.jpg", "f10.jpg"]),
        ("z", ["a.jpg", "bb.jpg"]),
    ):
        (data / shot).mkdir()
        for name in frames:
            (data / shot / name).write_bytes(b"")
    index = build_index(data, [*SHOTS, "x", "y", "z"])
    assert index.frame_names(3) == ["1.jpg", "10.jpg", "2.jpg"]  # name order, as published folds mean it
    check_names(index)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "shot x: frames are in name order (1, 10, 2), not in number order; 2 shots"
    )
    assert out_of_order(index) == ["x", "y"]


@pytest.mark.parametrize(("letter", "fits"), [("s", 243), ("é", 121)])
def test_names_too_long_for_the_cam_store_are_refused(tmp_path: Path, letter: str, fits: int) -> None:
    """The id with _ for /, and .pt, is one file name of at most 255 bytes there."""
    for size in (fits, fits + 1):
        shot = letter * size
        (tmp_path / shot).mkdir()
        (tmp_path / shot / "1234.jpg").write_bytes(b"")
        (tmp_path / shot / "12345.jpg").mkdir()  # no frame
    check_names(build_index(tmp_path, [letter * fits]))
    CamStore(tmp_path / "cams").write(f"{letter * fits}/1234.jpg", torch.zeros(2, 2))
    with pytest.raises(
        UserError, match=r"1234\.jpg: its CAM would need a file name of more than 255 bytes; give"
    ) as caught:
        check_names(build_index(tmp_path, [letter * fits, letter * (fits + 1)]))
    assert "\n" not in str(caught.value)


def test_only_changed_folders_are_listed_again(data: Path, tmp_path: Path, listed: list[str]) -> None:
    cache = tmp_path / "cache.npz"
    build_index(data, SHOTS, cache)
    assert sorted(listed) == sorted(SHOTS)
    listed.clear()
    assert names(build_index(data, SHOTS, cache)) == truth(data)
    assert listed == []
    (data / "b/s 2/é07.jpg").write_bytes(b"")
    (data / "a/s0/é03.jpg").unlink()
    for _ in range(2):  # changed a moment ago: not trusted yet
        listed.clear()
        assert names(build_index(data, SHOTS, cache)) == truth(data)
        assert sorted(listed) == ["a/s0", "b/s 2"]
    for shot in SHOTS:
        os.utime(data / shot, (2, 2))
    build_index(data, SHOTS, cache)
    listed.clear()
    build_index(data, SHOTS, cache)
    assert listed == []


def test_other_shots_or_folders_do_not_use_the_cache(data: Path, tmp_path: Path, listed: list[str]) -> None:
    cache = tmp_path / "cache.npz"
    build_index(data, SHOTS, cache)
    listed.clear()
    assert build_index(data, SHOTS[::-1], cache).starts.tolist() == [0, 12, 13, 16]
    assert len(listed) == 3


@pytest.mark.parametrize("keep", [0, 10, 200, -100, -1])
def test_damaged_cache_is_replaced(data: Path, tmp_path: Path, keep: int) -> None:
    cache = tmp_path / "cache.npz"
    build_index(data, SHOTS, cache)
    whole = cache.read_bytes()
    cache.write_bytes(whole[:keep])
    assert names(build_index(data, SHOTS, cache)) == truth(data)
    assert len(cache.read_bytes()) == len(whole)
    assert list(tmp_path.glob("*.tmp")) == []


def test_flipped_bytes_never_give_wrong_frames(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache.npz"
    build_index(data, SHOTS, cache)
    whole = cache.read_bytes()
    for at in range(0, len(whole), 7):
        cache.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert names(build_index(data, SHOTS, cache)) == truth(data), at


def test_unwritable_cache_costs_nothing_but_time(data: Path, tmp_path: Path) -> None:
    assert names(build_index(data, SHOTS, tmp_path / "none" / "cache.npz")) == truth(data)


def test_place_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folds" / "train"
    folder.mkdir(parents=True)
    assert cache_file(folder, tmp_path) == folder / ".frame_index.npz"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    found = cache_file(folder, tmp_path)
    assert found is not None
    assert found.parent == tmp_path / "cache" / "colo-cam"
    assert found != cache_file(folder, tmp_path / "other")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert cache_file(folder, tmp_path) is None


def test_shots_without_frames_or_folder(data: Path) -> None:
    (data / "empty").mkdir()
    for shot, text in (("empty", "'empty': no frames"), ("none", "'none': .*No such file")):
        with pytest.raises(UserError, match=text):
            build_index(data, [*SHOTS, shot])


def test_frames_may_not_link_out_of_the_data_folder(data: Path, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "x.jpg"
    outside.write_bytes(b"")
    (data / "a/s1/linked.jpg").symlink_to(data / "a/s0/é00.jpg")
    assert build_index(data, SHOTS).count(0) == 4
    (data / "a/s1/out.jpg").symlink_to(outside)
    with pytest.raises(UserError, match="link that leaves the data folder"):
        build_index(data, SHOTS)


def test_start_on_many_shots(tmp_path: Path, listed: list[str]) -> None:
    """The short form of tests/stress/loader_scale.py: a small tree, with its limits."""
    make_tree(tmp_path, shots=600, frames=20)
    cache = tmp_path / "folds" / "train" / ".frame_index.npz"
    first = start(tmp_path, workers=0)
    assert len(listed) == 600
    for shot in set(listed):
        os.utime(tmp_path / "data" / shot, (1, 1))
    start(tmp_path, workers=0)
    listed.clear()
    assert cache.is_file()
    assert cache.stat().st_size < 600 * 20 * 30
    cached = start(tmp_path, workers=0)
    assert listed == []
    assert first["start_s"] < 60
    assert cached["start_s"] < 3
    assert cached["steps"] == 600 // 16 + 1


def test_builders_need_no_torch() -> None:
    code = "import sys, dlib.datasets, dlib.datasets.metadata, dlib.datasets.index; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
