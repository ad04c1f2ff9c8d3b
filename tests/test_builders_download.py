"""Download and unpacking against a local server that drops connections and sends parts of files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from dlib.datasets.build.fetch import Patience, fetch
from dlib.datasets.build.unpack import unpack
from dlib.datasets.download import download
from dlib.utils.errors import UserError
from helpers.download_server import DATA, Server
from helpers.paths import ROOT
from helpers.youtube_objects import v1_tree, v2_tree

QUICK = Patience(retries=3, backoff=0.001, timeout=5)


def test_dropped_connections_are_resumed_where_they_broke(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = DATA
    server.limits = [100_000, 0, 300_001, 5]
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == DATA
    assert [r[2] for r in server.requests] == [0, 100_000, 100_000, 400_001, 400_006]
    assert sum(r[3] for r in server.requests) == len(DATA)  # no byte twice
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a.json"]
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert facts["size"] == len(DATA)
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert len(server.requests) == 5  # nothing to do


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = DATA
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    (tmp_path / "a").write_bytes(DATA[:-1] + b"?")
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = DATA
    server.ranges = False
    server.limits = [100_000, 50_000]
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = DATA
    server.limits = [100_000] + [0] * 4
    with pytest.raises(UserError, match="no progress"):
        fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a.part").stat().st_size == 100_000
    assert not (tmp_path / "a").exists()
    server.files["/a"] = other = DATA[::-1]
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == other


@pytest.mark.parametrize("left", [len(DATA), len(DATA) + 10])
def test_a_part_that_is_complete_or_too_long(server: Server, tmp_path: Path, left: int) -> None:
    server.files["/a"] = DATA
    (tmp_path / "a.part").write_bytes((DATA + b"0" * 10)[:left])
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    assert (tmp_path / "a").read_bytes() == DATA


def test_errors_of_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="404"):
        fetch(f"{server.url}/none", tmp_path / "a", QUICK)
    server.files["/a"] = DATA
    server.errors = [503, 500]
    fetch(f"{server.url}/a", tmp_path / "a", QUICK)
    server.errors = [503] * 4
    with pytest.raises(UserError, match="503"):
        fetch(f"{server.url}/a", tmp_path / "b", QUICK)
    with pytest.raises(UserError, match="no progress"):
        fetch("http://127.0.0.1:9/a", tmp_path / "c", Patience(1, 0.001, 1))


def tar_of(*members: tuple[str, bytes | str, bytes]) -> bytes:
    """A .tar.gz of (name, content or link target, type)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "bad",
    [
        ("../escaped", b"x", tarfile.REGTYPE),
        ("cat/../../escaped", b"x", tarfile.REGTYPE),
        ("/tmp/escaped-by-archive", b"x", tarfile.REGTYPE),
        ("cat/link", "/etc/passwd", tarfile.SYMTYPE),
        ("cat/hard", "../../escaped", tarfile.LNKTYPE),
        ("cat/pipe", "", tarfile.FIFOTYPE),
        ("cat/device", "", tarfile.CHRTYPE),
    ],
)
def test_members_that_could_do_harm_are_refused(tmp_path: Path, bad: tuple[str, bytes | str, bytes]) -> None:
    archive = tmp_path / "in" / "cat.tar.gz"
    archive.parent.mkdir()
    archive.write_bytes(tar_of(("cat/good", b"1", tarfile.REGTYPE), bad))
    with pytest.raises(UserError, match=r"cat\.tar\.gz"):
        unpack(archive, tmp_path / "out" / "cat")
    assert not (tmp_path / "out" / "cat").exists()
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/escaped-by-archive").exists()


@pytest.mark.parametrize("prefix", ["", "cat/", "home/me/cat/", "./cat/"])
def test_unpacking_finds_the_class_folder(tmp_path: Path, prefix: str) -> None:
    archive = tmp_path / "cat.tar.gz"
    archive.write_bytes(tar_of((f"{prefix}data/0001/a.jpg", b"1", tarfile.REGTYPE)))
    unpack(archive, tmp_path / "cat")
    assert (tmp_path / "cat" / "data" / "0001" / "a.jpg").read_bytes() == b"1"
    archive.write_bytes(b"not an archive any more")
    unpack(archive, tmp_path / "cat")  # nothing happens
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cat", "cat.tar.gz"]


@pytest.mark.parametrize(
    "harm", [lambda b: b[: len(b) // 2], lambda b: b[:-6] + b"\1\2" + b[-4:], lambda b: b"no"]
)
def test_damaged_archives_are_named(tmp_path: Path, harm) -> None:
    archive = tmp_path / "cat.tar.gz"
    archive.write_bytes(harm(tar_of(("cat/a", DATA[:300_000], tarfile.REGTYPE))))
    with pytest.raises(UserError, match=r"cat\.tar\.gz: damaged"):
        unpack(archive, tmp_path / "cat")
    assert not (tmp_path / "cat").exists()


def archive_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, folder.name)
    return buffer.getvalue()


@pytest.mark.parametrize("version", ["v1.0", "v2.2"])
def test_the_script_downloads_unpacks_and_builds(server: Server, tmp_path: Path, version: str) -> None:
    source = tmp_path / "o"
    if version == "v1.0":
        v1_tree(source, "cat", 2, 1, 1)
    else:
        v2_tree(source, "cat", True)
    for folder in source.iterdir():
        server.files[f"/{folder.name}.tar.gz"] = archive_of(folder)
    server.limits = [1000, 2000]
    script = ROOT / "cmds" / f"download-YouTube-Objects-{version}.sh"
    options = ["--url", server.url, "--classes", "cat", "--data_root", str(tmp_path / "d")]
    options += ["--metadata", str(tmp_path / "folds"), "--delete_archives"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for attempt in range(2):
        done = subprocess.run(["bash", script, *options], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert "free now" in done.stdout or attempt
        assert (tmp_path / "folds" / "class_id.yaml").read_text() == "cat: 0\n"
    frames = list((tmp_path / "d" / f"YouTube-Objects-{version}").rglob("*.jpg"))
    assert len(frames) == (16 if version == "v1.0" else 70)
    assert not (tmp_path / "d" / f"YouTube-Objects-{version}-archives").exists()


def test_too_small_a_disk_is_noticed_before(server: Server, tmp_path: Path, monkeypatch, capsys) -> None:
    server.files["/cat.tar.gz"] = DATA
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr("dlib.utils.filesystem.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GiB are needed"):
        download(server.url, ["cat"], tmp_path / "r", tmp_path / "o", QUICK)
    assert "1 archives" in capsys.readouterr().out
    assert not server.requests
