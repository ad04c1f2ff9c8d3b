"""Downloads and archives where the disk is the obstacle, and archives with odd times and sizes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from dlib.datasets.build.fetch import Patience, fetch
from dlib.datasets.build.unpack import unpack
from dlib.utils.errors import UserError
from helpers.download_server import DATA, Server

QUICK = Patience(retries=3, backoff=0.001, timeout=5)


@pytest.fixture
def server(server: Server) -> Server:
    server.files["/a"] = DATA
    return server


class FullDisk:
    """A file that takes ``room`` bytes and then says that the disk is full."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        if self.room < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= len(data)
        return self.file.write(data)


def test_a_full_disk_stops_the_download_at_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def open_full(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        file = opened(path, mode, *more, **named)
        return FullDisk(file, 300_000) if path.name == "a.part" and mode != "rb" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_full)
        with pytest.raises(UserError, match=r"/a: No space left on device; free some space") as caught:
            fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert "\n" not in str(caught.value)
    assert len(server.requests) <= 1
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)  # what was written before is used
    assert (tmp_path / "a").read_bytes() == DATA
    assert server.requests[-1][2] > 0


@pytest.mark.parametrize("place", ["a.part", "a.part.tag", "a.json"])
def test_a_file_that_cannot_be_written_stops_at_once(server: Server, tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir()
    with pytest.raises(UserError, match=rf"{place}: Is a directory"):
        fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert sum(method == "GET" for method, *_ in server.requests) <= 1


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file.*: (Not a directory|File exists)"):
        fetch(f"{server.url}/a", tmp_path / "file" / "a", QUICK)
    assert not server.requests


def test_errors_of_the_line_are_still_tried_again(server: Server, tmp_path: Path) -> None:
    server.limits = [10, 0, 0, 0]
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert len(server.requests) == 5
    with pytest.raises(UserError, match=r"no progress after 2 attempts.*refused"):
        fetch("http://127.0.0.1:9/a", tmp_path / "c", Patience(1, 0.001, 1))


def archive(path: Path, sizes: dict[str, int], headers: dict[str, str] | None = None) -> Path:
    """A .tar.gz with files of zeros; ``headers`` are pax records of each."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, size in sizes.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = size, dict(headers or {})
            tar.addfile(info, io.BytesIO(bytes(size)))
    return path


@pytest.mark.parametrize("time", ["1e300", "nan", "inf", "-inf", "-1e300", "1e18", "-5.5", "12.25"])
def test_times_that_no_clock_shows(tmp_path: Path, time: str) -> None:
    path = archive(tmp_path / "cat.tar.gz", {"cat/a": 10}, {"mtime": time})
    unpack(path, tmp_path / "cat")
    assert (tmp_path / "cat" / "a").read_bytes() == bytes(10)
    if time == "12.25":
        assert (tmp_path / "cat" / "a").stat().st_mtime == 12.25


def test_more_than_the_disk_has_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three files of 1000 bytes on a disk of 2500: it shrinks as the files are written."""

    def usage(folder: Path) -> Any:
        used = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        return type("Usage", (), {"free": 2500 - used})

    monkeypatch.setattr("dlib.utils.filesystem.shutil.disk_usage", usage)
    path = archive(tmp_path / "cat.tar.gz", {f"cat/{i}": 1000 for i in range(3)})
    with pytest.raises(UserError, match=r"cat\.tar\.gz: 'cat/2' takes 1000 bytes, .* has 500 left") as caught:
        unpack(path, tmp_path / "cat")
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["cat.tar.gz"]  # the disk is not left full


def test_an_archive_that_grows_beyond_every_disk(tmp_path: Path) -> None:
    """The old format for files with holes: some bytes in the archive stand for a petabyte of zeros."""
    info = tarfile.TarInfo("cat/a")
    info.size, info.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:398] = b"%011o\0" % 0  # the only piece: at 0, of 512 bytes
    header[398:410] = b"%011o\0" % 512
    header[483:495] = b"\x80" + (10**15).to_bytes(11, "big")  # the real size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "cat.tar.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(512) + bytes(1024)))
    with pytest.raises(UserError, match=r"cat\.tar\.gz: 'cat/a' takes 1000000000000000 bytes"):
        unpack(path, tmp_path / "cat")
    assert [entry.name for entry in tmp_path.iterdir()] == ["cat.tar.gz"]


def test_a_python_without_the_data_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "cat.tar.gz", {"cat/a": 10})
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(UserError, match=r"cat\.tar\.gz: this Python cannot unpack safely; use 3\.10\.12"):
        unpack(path, tmp_path / "cat")
