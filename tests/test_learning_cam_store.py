"""Two CoLo-CAM runs at one CAM store: who may clear it, and who holds it."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch

from dlib.cams import CamStore
from helpers.programs import start
from helpers.workplace import Workplace, colocam_flags


def hold(folder: Path) -> int:
    """Another process that holds the store, until it is killed; its id."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        CamStore(folder).hold()
        held = CamStore(folder)
        held.hold()
        os.write(tell, b"held")
        signal.pause()
    assert os.read(told, 4) == b"held"
    os.close(told)
    os.close(tell)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_store_is_shared_or_held_alone(tmp_path: Path) -> None:
    child = hold(tmp_path)
    store = CamStore(tmp_path)
    try:
        assert not store.hold_alone()
        store.hold()
    finally:
        end(child)
    assert store.hold_alone()  # the lock went with its process
    other = CamStore(tmp_path)
    assert not other.hold_alone()
    store.hold()
    other.hold()
    for held in (store, other):
        held.release()
    assert other.hold_alone()


def test_a_reader_elsewhere_has_no_part_in_the_lock(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    store.write("f", torch.ones(2, 2))
    assert store.hold_alone()
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.read("f"), torch.ones(2, 2))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert torch.equal(pool.apply(store.read, ("f",)), torch.ones(2, 2))
    copy.release()
    assert not CamStore(tmp_path).hold_alone()


def test_a_file_system_without_locks_is_used_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    store = CamStore(tmp_path)
    assert store.hold_alone()
    store.hold()


def test_a_store_in_use_is_not_cleared(promoted: Workplace) -> None:
    """Another crop size wants other CAMs; the same one goes on beside the first run."""
    flags = colocam_flags(max_epochs=0)
    assert start(promoted.flags("CoLo-CAM", **flags))[0] == 0
    (folder,) = (promoted.folder / "data_cams").iterdir()
    before = {path.name: path.read_bytes() for path in folder.glob("*.pt")}
    origin = (folder / "origin.json").read_text()
    child = hold(folder)
    try:
        other = promoted.flags("CoLo-CAM", **{**flags, "crop_size": 40, "exp_id": "other"})
        code, _, error = start(other)
        assert code == 1
        line = error.strip().splitlines()[-1]
        assert "another run is using it" in line
        assert "another --cams_root" in line
        assert {path.name: path.read_bytes() for path in folder.glob("*.pt")} == before
        assert (folder / "origin.json").read_text() == origin
        code, out, error = start(promoted.flags("CoLo-CAM", **{**flags, "exp_id": "same"}))
        assert code == 0, error
        assert f"{folder} is complete" in out
    finally:
        end(child)
    code, _, error = start(other)
    assert code == 0, error
    assert "computed again" in error
    assert json.loads((folder / "origin.json").read_text())["crop_size"] == "40"
