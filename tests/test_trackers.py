"""--log_to: what each tracker gets, on resuming too, and that a tracker never ends a training."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlib.configure.table import FLAGS
from dlib.learning.trackers import TRACKERS, open_event_log
from dlib.utils.errors import UserError
from dlib.utils.logging import EventLog
from helpers.paths import ROOT
from helpers.programs import start
from helpers.workplace import Workplace


def write_run(log: EventLog) -> None:
    log.write("start", config={"a": 1})
    for step in (1, 2, 3):
        log.write("step", epoch=1, step=step, loss=step / 2, terms={"a": 0.25}, on=True)
    log.write("validation", epoch=1, step=3, report={"headline": 40.0, "per_class": None})
    log.write("test", criterion="best_localization", report={"headline": 50.0, "curves": {"x": [1.0]}})
    log.write("end", seconds=3.0)


def rows(folder: Path) -> list[tuple[str, str, int, float]]:
    with (folder / "metrics.csv").open(newline="") as stream:
        head, *lines = csv.reader(stream)
    assert head == ["name", "axis", "x", "value"]
    return [(name, axis, int(x), float(value)) for name, axis, x, value in lines]


def test_csv_has_a_line_for_each_number(tmp_path: Path) -> None:
    write_run(open_event_log(tmp_path / "log.jsonl", "csv"))
    found = rows(tmp_path)
    assert [row for row in found if row[0] == "step/loss"] == [
        ("step/loss", "step", step, step / 2) for step in (1, 2, 3)
    ]
    assert ("validation/report/headline", "epoch", 1, 40.0) in found
    assert [row for row in found if row[0].startswith("test/")] == [
        ("test/best_localization/headline", "epoch", 1, 50.0)
    ]
    assert not any(name.endswith("/on") for name, *_ in found)


def test_csv_of_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    write_run(open_event_log(tmp_path / "log.jsonl", "csv"))
    resumed = open_event_log(tmp_path / "log.jsonl", "csv")
    resumed.forget_after(2, validated=False)
    assert [x for name, _, x, _ in rows(tmp_path) if name == "step/loss"] == [1, 2]
    resumed.write("step", epoch=1, step=3, loss=9.0)
    assert [(x, v) for name, _, x, v in rows(tmp_path) if name == "step/loss"] == [
        (1, 0.5),
        (2, 1.0),
        (3, 9.0),
    ]


class Recorder:
    """Stands in for wandb and mlflow; keeps all calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.info = SimpleNamespace(run_id="run-7")

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append((name, args, more))
            return self

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, more) for called, args, more in self.calls if called == name]


@pytest.fixture
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setitem(sys.modules, request.param, made)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("package", ["wandb"], indirect=True)
def test_wandb_gets_numbers_with_their_axis_and_one_run_for_a_folder(
    package: Recorder, tmp_path: Path
) -> None:
    for _ in range(2):
        write_run(open_event_log(tmp_path / "log.jsonl", "wandb", config={"MYSEED": "3"}))
    (_, first), (_, second) = package.of("init")
    assert first["id"] == second["id"]
    assert (first["resume"], first["config"]) == ("allow", {"MYSEED": "3"})
    logged = [args[0] for args, _ in package.of("log")]
    assert {"step/loss": 0.5, "step/terms/a": 0.25, "step/epoch": 1.0, "step/step": 1.0, "step": 1} in logged
    assert {"test/best_localization/headline": 50.0, "epoch": 1} in logged
    axes = {args[0]: more.get("step_metric") for args, more in package.of("define_metric")}
    assert (axes["step/*"], axes["validation/*"], axes["epoch"]) == ("step", "epoch", None)
    assert len(package.of("finish")) == 2


@pytest.mark.parametrize("package", ["mlflow"], indirect=True)
def test_mlflow_gets_numbers_and_resumes_its_run(package: Recorder, tmp_path: Path) -> None:
    log = open_event_log(tmp_path / "log.jsonl", "mlflow", config={"MYSEED": "3"})
    log.write("epoch", epoch=2, step=5, train={"a:b": 1.0})
    log.write("end", seconds=1.0)
    ((numbers,), more) = package.of("log_metrics")[0]
    assert (numbers["epoch/train/a_b"], more) == (1.0, {"step": 2})
    assert package.of("log_params") == [(({"MYSEED": "3"},), {})]
    open_event_log(tmp_path / "log.jsonl", "mlflow", config={"MYSEED": "3"})
    assert package.of("start_run")[1] == ((), {"run_id": "run-7"})
    assert len(package.of("log_params")) == 1
    assert len(package.of("end_run")) == 1


@pytest.mark.parametrize("package", ["wandb"], indirect=True)
def test_a_tracker_that_fails_later_is_left_out(
    package: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("dlib.learning.trackers.logger.warning", said.append)
    log = open_event_log(tmp_path / "log.jsonl", "wandb")

    def fails(numbers: dict[str, float]) -> None:
        raise ConnectionError("no\nnetwork")

    package.log = fails  # type: ignore[method-assign]
    write_run(log)
    assert said == ["wandb gets no more numbers (ConnectionError: no network); log.jsonl has them all"]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 7


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_is_one_line_before_the_training(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"--log_to {name}: needs the package {name}: pip install {name}"):
        open_event_log(tmp_path / "log.jsonl", name)
    assert type(open_event_log(None, name)) is EventLog  # other processes write nowhere


def test_the_flag_offers_all_trackers() -> None:
    assert FLAGS["log_to"].choices == ("", *TRACKERS)


def test_no_tracker_is_imported_unless_asked_for() -> None:
    program = "import sys, dlib.learning.experiment; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"wandb", "mlflow", "tensorboard", "matplotlib"} & set(done.stdout.split())


def test_a_run_with_csv(workplace: Workplace) -> None:
    code, _, error = start(workplace.flags(log_to="csv", max_epochs=1))
    assert code == 0, error
    found = rows(workplace.experiment())
    assert any(name == "validation/report/headline" for name, *_ in found)
    assert any(name == "test/best_localization/headline" for name, *_ in found)
