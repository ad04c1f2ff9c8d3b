from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from pathlib import Path

import pytest

from dlib import status
from dlib.learning.folder import ExperimentFolder
from dlib.utils.errors import UserError
from dlib.visualization.records import Experiment, duration, read_experiment, read_log, series
from helpers.report_experiment import build_experiment


def append(folder: Path, *events: dict | str) -> None:
    with (folder / "log.jsonl").open("a") as log:
        for event in events:
            log.write(event if isinstance(event, str) else json.dumps(event) + "\n")


def test_a_line_broken_by_a_kill_is_left_out(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=5, done=2)
    whole = read_experiment(folder)
    append(folder, '{"event":"epoch","epoch":3,"tra')
    assert len(read_experiment(folder).epochs) == len(whole.epochs) == 2
    append(folder, "\n", "\x00\x00\n", "[1]\n", {"event": "epoch", "epoch": 3, "step": 36})
    assert read_experiment(folder).epoch == 3


def test_a_record_after_a_resume_replaces_the_one_before(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=5, done=2)
    append(folder, {"event": "resume", "step": 12}, {"event": "step", "step": 13, "loss": 77.0})
    append(folder, {"event": "epoch", "epoch": 2, "step": 24, "train": {"loss": 55.0}})
    experiment = read_experiment(folder)
    assert len(experiment.epochs) == 2
    assert series(experiment.epochs, "epoch", "train", "loss")[1][-1] == 55.0
    assert dict(zip(*series(experiment.steps, "step", "loss"), strict=True))[13] == 77.0


def test_the_value_of_the_best_model_is_that_of_its_last_validation(tmp_path: Path) -> None:
    """With --val_fast the best weights are validated once more, seen as in test."""
    folder = build_experiment(tmp_path / "a", epochs=5, done=2)
    experiment = read_experiment(folder)
    after_epoch = experiment.best("best_localization")
    assert after_epoch
    experiment.results.pop("val", None)
    assert experiment.best_value("best_localization") == after_epoch["value"]
    experiment.results["val"] = {"best_localization": {"headline": 12.5}}
    assert experiment.best_value("best_localization") == 12.5
    assert experiment.best("best_localization") == after_epoch
    assert Experiment(tmp_path).best_value("best_localization") is None


def test_steps_are_thinned_evenly_and_other_events_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"event": "step", "step": i} for i in range(1000)]
    lines.insert(500, {"event": "warning", "message": "w"})
    path.write_text("\n".join(map(json.dumps, lines)))
    events = read_log(path, max_steps=100)
    assert [e["step"] for e in events if "step" in e] == list(range(0, 1000, 10))
    assert sum(e["event"] == "warning" for e in events) == 1


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=5, done=0)
    append(
        folder, {"event": "step", "step": 1, "loss": float("nan")}, {"event": "step", "step": 2, "loss": 3.5}
    )
    append(folder, {"event": "step", "step": 3, "loss": None}, {"event": "step", "step": 4, "loss": True})
    assert series(read_experiment(folder).steps, "step", "loss") == ([2.0], [3.5])


def test_the_first_epoch_wins_ties(tmp_path: Path) -> None:
    for epoch, value in enumerate([10.0, 40.0, 40.0, None]):
        append(
            tmp_path, {"event": "validation", "epoch": epoch, "step": epoch, "report": {"headline": value}}
        )
    best = read_experiment(tmp_path).best("best_localization")
    assert best == {"epoch": 1, "step": 1, "value": 40.0}


def test_time_left_is_from_the_epochs(tmp_path: Path) -> None:
    experiment = read_experiment(build_experiment(tmp_path / "a", epochs=10, done=4))
    assert experiment.seconds_per_epoch == 95  # the builder's clock
    assert experiment.seconds_left == 6 * 95
    first = read_experiment(build_experiment(tmp_path / "b", epochs=10, done=1))
    assert first.seconds_left == 9 * 85  # one epoch only: its own seconds


def test_durations() -> None:
    texts = [duration(s) for s in (None, 0.4, 59, 61, 3600, 90000)]
    assert texts == ["–", "0 s", "59 s", "1 min 01 s", "1 h 00 min", "1 d 1 h"]


def test_a_folder_without_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no experiment there"):
        read_experiment(tmp_path)


def test_status_lists_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_experiment(tmp_path / "debug" / "done", epochs=2, pictures=False)
    build_experiment(tmp_path / "now", epochs=10, done=4)
    old = build_experiment(tmp_path / "old", epochs=10, done=4)
    os.utime(old / "log.jsonl", (time.time() - 10_000,) * 2)
    assert status.main(["--exps_root", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "state",
        "epoch",
        "time",
        "left",
        "best",
        "CorLoc",
        "task",
        "method",
        "experiment",
    ]
    assert [line.split()[0] for line in lines] == ["passed", "running", "stopped"]
    assert [line.split()[-1] for line in lines] == ["debug/done", "now", "old"]
    assert "4/10" in lines[1]
    assert "9 min 30 s" in lines[1]


def test_the_lock_says_whether_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also of a run that writes no log for long, and of one that was killed a moment ago."""
    held, killed, prepares = (tmp_path / name for name in ("held", "killed", "prepares"))
    for folder in (held, killed):
        build_experiment(folder, epochs=10, done=4)
    os.utime(held / "log.jsonl", (time.time() - 10_000,) * 2)
    prepares.mkdir()
    (prepares / "config.yml").write_text("task: CoLo-CAM\nmax_epochs: 3\n")
    locks = [ExperimentFolder(folder) for folder in (held, killed, prepares)]
    for lock in locks:
        lock.lock()
    locks[1].unlock()
    assert status.main(["--exps_root", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(row[0], row[-1]) for row in rows] == [
        ("running", "held"),
        ("stopped", "killed"),
        ("running", "prepares"),
    ]
    for lock in (locks[0], locks[2]):
        lock.unlock()
    (killed / ".lock").write_text("process 1 on another-machine")
    assert status.state_of(read_experiment(killed), time.time()) == "running"  # its log is fresh
    assert status.state_of(read_experiment(killed), time.time() + 10_000) == "stopped"


def test_looking_at_a_lock_keeps_no_run_from_starting(tmp_path: Path) -> None:
    lock = tmp_path / "a" / ".lock"
    folder = ExperimentFolder(tmp_path / "a")
    folder.lock()
    folder.unlock()
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.03, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        folder.lock()
    folder.unlock()


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main(["--exps_root", str(tmp_path)]) == 0
    assert "no experiments yet" in capsys.readouterr().out
    assert status.main(["--exps_root", str(tmp_path / "x")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--exps_root" in error
