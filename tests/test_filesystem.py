"""File systems that lack a call: no locks, no links, no flushing of folders, no permissions, no times."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlib.learning.folder import ExperimentFolder
from dlib.utils import filesystem
from dlib.utils.errors import UserError
from dlib.utils.files import write_text
from dlib.utils.filesystem import free_bytes, link_folder, link_or_copy, reason, try_lock
from helpers.programs import start
from helpers.workplace import Workplace


@pytest.fixture(autouse=True)
def nothing_said_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "_said", set())


def failing(number: int) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_no_locks_is_said_once_and_no_obstacle(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filesystem.fcntl, "flock", failing(number))
    folder = ExperimentFolder(tmp_path / "exp")
    for _ in range(2):
        folder.lock()
        folder.unlock()
    (said,) = caplog.messages
    assert "cannot be locked" in said
    assert os.strerror(number) in said


def test_a_held_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem.fcntl, "flock", failing(errno.EAGAIN))
    with pytest.raises(UserError, match="another run"):
        ExperimentFolder(tmp_path / "exp").lock()


def test_a_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filesystem, "fcntl", None)  # Windows
    with (tmp_path / ".lock").open("ab") as first, (tmp_path / ".lock").open("ab") as second:
        assert try_lock(first.fileno(), tmp_path / ".lock")
        assert try_lock(second.fileno(), tmp_path / ".lock")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF])
def test_no_flushing_is_said_once(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(filesystem.os, "fsync", failing(number))
    for text in ("one", "two"):
        write_text(tmp_path / "a", text)
    assert (tmp_path / "a").read_text() == "two"
    (said,) = caplog.messages
    assert "cannot be flushed" in said


def test_a_folder_that_cannot_be_opened_is_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = os.open
    monkeypatch.setattr(
        filesystem.os,
        "open",
        lambda path, *more: failing(errno.EACCES)() if Path(path).is_dir() else original(path, *more),
    )
    write_text(tmp_path / "a", "x")
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "; free some space"), (errno.EDQUOT, "; free some space"), (errno.EIO, "")],
)
def test_a_failed_flush_of_a_file_is_an_error(
    tmp_path: Path, number: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(filesystem.os, "fsync", failing(number))
    with pytest.raises(UserError) as caught:
        write_text(tmp_path / "a", "new")
    assert str(caught.value) == f"cannot write {tmp_path / 'a'}: {os.strerror(number)}{remedy}"
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_only_what_a_user_can_do_is_advised() -> None:
    assert reason(OSError(errno.EACCES, "Permission denied")).endswith("; check its permissions")
    assert reason(OSError(errno.EROFS, "Read-only file system")).endswith("; check its permissions")
    assert reason(OSError(errno.EINVAL, "Invalid argument")) == "Invalid argument"
    assert reason(RuntimeError("two\nlines")) == "two"
    wrapped = RuntimeError("zip writer failed")  # as torch.save raises it while it handles the other one
    wrapped.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert reason(wrapped) == "No space left on device; free some space"


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_no_links_means_copies_with_their_times(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    os.utime(source, (5, 5))
    target.write_bytes(b"old")
    monkeypatch.setattr(filesystem.os, "link", failing(number))
    link_or_copy(source, target)
    assert (target.read_bytes(), target.stat().st_mtime) == (b"x", 5)
    monkeypatch.setattr(filesystem.os, "utime", failing(errno.EPERM))
    link_or_copy(source, target)
    assert target.read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_a_full_disk_is_not_taken_for_one_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(filesystem.os, "link", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        link_or_copy(tmp_path / "a", tmp_path / "b")


def test_no_symbolic_links_means_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    link_folder(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").is_symlink()
    monkeypatch.setattr(Path, "symlink_to", failing(errno.EPERM))  # Windows without the privilege
    for _ in range(2):
        link_folder(tmp_path / "a", tmp_path / "b")
        assert not (tmp_path / "b").is_symlink()
        assert (tmp_path / "b" / "file").read_text() == "x"


def test_unknown_free_space_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_bytes(tmp_path) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.2)
    monkeypatch.setattr(filesystem.shutil, "disk_usage", failing(errno.ENOSYS))
    assert free_bytes(tmp_path) is None
    monkeypatch.setattr(filesystem.shutil, "disk_usage", lambda _: SimpleNamespace(free=0, total=0))
    assert free_bytes(tmp_path) is None
    monkeypatch.setattr(filesystem.shutil, "disk_usage", lambda _: SimpleNamespace(free=0, total=9))
    assert free_bytes(tmp_path) == 0


def test_a_run_on_a_file_system_that_has_next_to_nothing(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def of_files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            failing(errno.EINVAL)()
        fsync(descriptor)

    monkeypatch.setattr(filesystem.fcntl, "flock", failing(errno.ENOSYS))
    monkeypatch.setattr(filesystem.os, "fsync", of_files_only)
    monkeypatch.setattr(filesystem.os, "link", failing(errno.EPERM))
    monkeypatch.setattr(filesystem.os, "utime", failing(errno.EPERM))
    monkeypatch.setattr(Path, "chmod", failing(errno.EPERM))
    code, _, error = start(workplace.flags(max_epochs=1))
    assert code == 0, error
    assert error.count("cannot be locked (Function not implemented)") == 1
    assert error.count("cannot be flushed to the disk (Invalid argument)") == 1
    assert (workplace.experiment() / "passed.txt").exists()
    logging.getLogger("dlib").handlers.clear()
