"""Checkpoints that are damaged, foreign or cannot be written; the folder's lock; the event log after a kill."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlib.learning.checkpoints import CheckpointFolder
from dlib.learning.folder import ExperimentFolder
from dlib.utils import files
from dlib.utils.errors import UserError
from dlib.utils.files import read_json, write_json, write_text
from dlib.utils.logging import EventLog, logger, start_logging, stop_logging
from dlib.utils.tensors import load_tensors, save_tensors

STATE = {"model": {"weight": torch.arange(600, dtype=torch.float32)}, "best": {}}


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """Checkpoints of steps 1, 2 and 3, of which three are kept."""
    folder = CheckpointFolder(tmp_path, 3, "this")
    for step in (1, 2, 3):
        folder.save(step, {**STATE, "step": step})
    return folder


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logger.setLevel(logging.INFO)
    logger.propagate = True
    return caplog


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.find(torch.arange(600, dtype=torch.float32).numpy().tobytes()) + 100
    content[at] ^= 4
    path.write_bytes(bytes(content))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign(path: Path) -> None:
    torch.save([1, 2, 3], path)


def of_another_run(path: Path) -> None:
    torch.save({**STATE, "format": "colocam-checkpoint-1", "experiment": "that"}, path)


def without_best(path: Path) -> None:
    torch.save({"format": "colocam-checkpoint-1", "experiment": "this"}, path)


def with_a_strange_best(path: Path) -> None:
    torch.save({"format": "colocam-checkpoint-1", "experiment": "this", "best": {"x": 3}}, path)


def text(path: Path) -> None:
    path.write_text("to be or not to be")


DAMAGES = [truncate, flip_a_bit, empty, foreign, of_another_run, without_best, with_a_strange_best, text]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_is_named_and_the_one_before_used(
    folder: CheckpointFolder, warnings: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    newest = folder.folder / "3_checkpoint.pth"
    damage(newest)
    found = folder.newest()
    assert found is not None
    assert found[0].name == "2_checkpoint.pth"
    assert found[1]["step"] == 2
    (record,) = [r for r in warnings.records if str(newest) in r.getMessage()]
    assert record.levelno == logging.WARNING
    assert "\n" not in record.getMessage()


def test_all_damaged_is_one_line_and_never_a_silent_new_start(
    folder: CheckpointFolder, tmp_path: Path
) -> None:
    assert CheckpointFolder(tmp_path / "other", 3, "this").newest() is None
    for path in folder.folder.glob("*.pth"):
        truncate(path)
    with pytest.raises(
        UserError, match=r"none of the 3 checkpoints in .*move that folder away.*--exp_id"
    ) as e:
        folder.newest()
    assert str(tmp_path) in str(e.value)
    assert "\n" not in str(e.value)


def test_checkpoint_whose_best_weights_are_gone_is_not_used(folder: CheckpointFolder) -> None:
    folder.save(4, {**STATE, "best": {"best_localization": {"epoch": 1, "step": 4, "value": 1.0}}})
    found = folder.newest()
    assert found is not None
    assert found[0].name == "3_checkpoint.pth"


def test_only_the_newest_are_kept_and_never_the_last_good_one_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 1, "this")
    (tmp_path / "9_checkpoint.pth").write_bytes(b"foreign, and newer than all of ours")
    for step in (1, 2, 3):
        folder.save(step, {**STATE, "step": step})
        assert folder.newest()[1]["step"] == step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3_checkpoint.pth", "9_checkpoint.pth"]


def test_best_weights_live_as_long_as_a_checkpoint_refers_to_them(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", 2, "this")
    best: dict[str, Any] = {}
    for step, better in ((1, True), (2, False), (3, True), (4, False), (5, False)):
        if better:
            weights = tmp_path / f"{step}_best_model.pth"
            save_tensors(weights, {"step": step})
            folder.keep_best(weights, "best_localization", step)
            best = {"best_localization": {"epoch": step, "step": step, "value": float(step)}}
        folder.save(step, {**STATE, "best": best})
        for path in folder.folder.glob("*_checkpoint.pth"):
            wanted = load_tensors(path)["best"]["best_localization"]["step"]
            assert load_tensors(folder.best_weights("best_localization", wanted)) == {"step": wanted}
    assert [path.name for path in folder.folder.glob("*_best_localization.pth")] == [
        "3_best_localization.pth"
    ]


def is_best(place: Path, checkpoints: CheckpointFolder, step: int) -> dict[str, Any]:
    """Keep weights of ``step``; the state of a checkpoint that refers to them."""
    weights = place / f"{step}_best_model.pth"
    save_tensors(weights, {"step": torch.full((900,), float(step))})
    checkpoints.keep_best(weights, "best_localization", step)
    return {**STATE, "best": {"best_localization": {"epoch": step, "step": step, "value": float(step)}}}


def test_best_weights_of_an_abandoned_branch_push_out_none_that_are_needed(tmp_path: Path) -> None:
    place = tmp_path / "checkpoints"
    first = CheckpointFolder(place, 2, "this")
    state = is_best(tmp_path, first, 100)
    for step in (100, 200):
        first.save(step, state)
    first.save(300, is_best(tmp_path, first, 300))
    truncate(place / "300_checkpoint.pth")
    again = CheckpointFolder(place, 2, "this")
    found = again.newest()
    assert found is not None
    assert found[0].name == "200_checkpoint.pth"
    for step in (300, 400, 500):  # this time they are not better
        again.save(step, state)
        found = CheckpointFolder(place, 2, "this").newest()
        assert found is not None
        assert found[0].name == f"{step}_checkpoint.pth"
    assert [path.name for path in place.glob("*_best_localization.pth")] == ["100_best_localization.pth"]


def test_best_weights_of_checkpoints_before_the_resumed_one_are_kept(tmp_path: Path) -> None:
    place = tmp_path / "checkpoints"
    first = CheckpointFolder(place, 3, "this")
    for step in (1, 2, 3):
        first.save(step, is_best(tmp_path, first, step))
    again = CheckpointFolder(place, 3, "this")
    assert again.newest() is not None
    again.save(4, is_best(tmp_path, again, 4))
    for step in (4, 3, 2):  # each can be gone back to
        found = CheckpointFolder(place, 3, "this").newest()
        assert found is not None
        assert found[0].name == f"{step}_checkpoint.pth"
        truncate(found[0])


def test_checkpoint_whose_best_weights_are_damaged_is_not_used(
    folder: CheckpointFolder, tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    folder.save(4, is_best(tmp_path, folder, 4))
    path = folder.best_weights("best_localization", 4)
    content = bytearray(path.read_bytes())
    content[content.find(torch.full((900,), 4.0).numpy().tobytes()) + 100] ^= 4
    path.write_bytes(bytes(content))
    found = folder.newest()
    assert found is not None
    assert found[0].name == "3_checkpoint.pth"
    assert "best weights 4_best_localization.pth are damaged" in warnings.text


class Full:
    """A disk on which only so many bytes fit."""

    def __init__(self, stream: Any, room: int) -> None:
        self.stream, self.room = stream, room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()


@pytest.mark.parametrize("room", [0, 1000])
def test_full_disk_is_one_line_and_leaves_earlier_checkpoints(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    before = {path: path.read_bytes() for path in folder.folder.iterdir()}
    opened = os.fdopen
    monkeypatch.setattr(files.os, "fdopen", lambda fd, mode: Full(opened(fd, mode), room))
    with pytest.raises(
        UserError, match=r"cannot write .*4_checkpoint.pth: No space left.*free some space"
    ) as found:
        folder.save(4, STATE)
    assert "\n" not in str(found.value)
    assert {path: path.read_bytes() for path in folder.folder.iterdir()} == before


def test_full_disk_at_fsync_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "old")

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(UserError, match="Input/output error"):
        write_text(tmp_path / "a.txt", "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_files_of_a_run_are_readable_by_colleagues(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_json(tmp_path / "a.json", {"x": 1})
    finally:
        os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
    assert read_json(tmp_path / "a.json") == {"x": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read .*a\.json"):
        read_json(tmp_path / "a.json")


def test_second_run_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    half_written = tmp_path / "checkpoints" / ".3_checkpoint.pth.abc.tmp"
    half_written.parent.mkdir()
    told, tell = os.pipe()
    first = os.fork()
    if first == 0:
        ExperimentFolder(tmp_path).lock()
        os.write(tell, b"locked")
        signal.pause()
    try:
        assert os.read(told, 6) == b"locked"
        half_written.write_bytes(b"the first run is writing this")
        second = ExperimentFolder(tmp_path)
        with pytest.raises(UserError, match=rf"another run \(process {first} on .*give another --exp_id"):
            second.lock()
        assert half_written.exists()
    finally:
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        os.close(told)
        os.close(tell)
    second.lock()  # the lock went with its process
    assert not half_written.exists()
    with pytest.raises(UserError, match="another run"):
        ExperimentFolder(tmp_path).lock()
    second.unlock()
    third = ExperimentFolder(tmp_path)
    third.lock()
    third.unlock()


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*give another --exps_root"):
        ExperimentFolder(tmp_path / "file" / "exp").lock()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_event_log_forgets_what_a_resumed_run_says_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = EventLog(path)
    log.write("start")
    for step in (1, 2):
        log.write("step", step=step)
    log.write("epoch", epoch=1, step=2)
    log.write("warning", epoch=1, step=2, message="the maps collapse: all")
    assert log.has_warned("the maps")
    log.write("validation", epoch=1, step=2)
    log.write("step", step=3)
    log.write("warning", step=4, message="skipped")
    log.write("test", criterion="x")
    with path.open("a") as stream:
        stream.write('null\n[1]\n{"event": "step", "st')
    log.forget_after(3, validated=True)
    kinds = [(e["event"], e.get("step")) for e in lines(path)]
    of_epoch = [("epoch", 2), ("warning", 2), ("validation", 2)]
    assert kinds == [("start", None), ("step", 1), ("step", 2), *of_epoch, ("step", 3)]
    log.forget_after(2, validated=False)
    assert [(e["event"], e.get("step")) for e in lines(path)] == [("start", None), ("step", 1), ("step", 2)]
    assert not log.has_warned("the maps")
    log.write("step", step=3)
    assert lines(path)[-1]["step"] == 3


def test_full_disk_under_the_event_log_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device"):
        EventLog(Path("/dev/full")).write("step", step=1)


def test_full_disk_under_the_text_log_never_ends_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "log.txt").symlink_to("/dev/full")
    start_logging(tmp_path, talks=True)
    try:
        logger.info("a line")
    finally:
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.stream = None
        stop_logging()
    out, error = capsys.readouterr()
    assert "a line" in out
    assert "Traceback" not in error
