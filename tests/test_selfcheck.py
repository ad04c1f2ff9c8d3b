"""The self check: what it compares, what it says of a machine that differs, and its records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dlib.selfcheck import agreement, speed
from dlib.selfcheck.__main__ import main
from dlib.selfcheck.agreement import Check, run_checks
from dlib.selfcheck.record import table
from dlib.selfcheck.setting import Size

CPU = torch.device("cpu")
RECORDS = Path(__file__).parents[1] / "doc" / "records"


@pytest.mark.slow
def test_the_cpu_agrees_with_itself() -> None:
    checks = list(run_checks(CPU))
    assert len(checks) == 12
    assert [check.name for check in checks if not check.passed] == []


def test_a_filter_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = agreement.bilateral_filter

    def wrong(*given: torch.Tensor, backend: str, **more: object) -> torch.Tensor:
        found = right(*given, backend=backend, **more)  # type: ignore[arg-type]
        return found * 1.001 if backend == "torch" else found

    monkeypatch.setattr(agreement, "bilateral_filter", wrong)
    assert agreement.filters(CPU, 100.0) == pytest.approx(1e-3, rel=0.01)
    assert agreement.filters(CPU, None) < 1e-5


def test_an_error_in_a_check_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: torch.device) -> float:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(agreement, "seeds", broken)
    monkeypatch.setattr(agreement, "TASKS", {})
    monkeypatch.setattr(agreement, "METHODS", ())
    found = {check.name: check for check in run_checks(CPU)}
    check = found["seeds (share of pixels that differ)"]
    assert not check.passed
    assert check.note == "RuntimeError no kernel image is available"


def test_the_command_writes_a_record_and_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        agreement, "run_checks", lambda device: iter([Check("one", 0.5, 0.1), Check("two", 0.0, 0.0)])
    )
    monkeypatch.setattr(speed, "PROCESSOR", Size("resnet18", 2, 32, 1))
    out = tmp_path / "records" / "this.json"
    out.parent.mkdir()
    assert main(["--out", str(out), "--device", "cpu"]) == 1
    shown = capsys.readouterr()
    assert "error: 1 of 2 results differ on this machine: one" in shown.err
    assert "| one | 0.5 | 0.1 | **differs** |" in shown.out
    record = json.loads(out.read_text())
    assert {step["name"] for step in record["steps"]} == {"STD_CL", "CoLo-CAM"}
    assert all(sum(step["shares"].values()) == pytest.approx(100) for step in record["steps"])
    assert main(["--table", str(out.parent)]) == 0
    line = capsys.readouterr().out.splitlines()[2]
    assert line.endswith("| differs: one |")
    (out.parent / "bad.json").write_text("{}")
    assert main(["--table", str(out.parent)]) == 1
    assert "bad.json is no record of dlib.selfcheck" in capsys.readouterr().err


@pytest.mark.skipif(not RECORDS.is_dir(), reason="no records")
def test_the_table_of_machines_is_made_from_the_records() -> None:
    from dlib.selfcheck.record import read_records

    assert table(read_records(RECORDS)) in (RECORDS.parent / "performance.md").read_text(encoding="utf-8")
