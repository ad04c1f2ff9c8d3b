"""Screens that lack characters, and screens that are gone."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from dlib.utils.logging import logger, progress, start_logging, stop_logging
from dlib.utils.screen import make_screen_safe
from helpers.paths import ROOT
from helpers.programs import environment


def screen(encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)


def shown(stream: io.TextIOWrapper) -> bytes:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_characters_that_a_screen_lacks_are_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = screen(encoding), screen(encoding, "backslashreplace")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    make_screen_safe()
    print("a – τ ±")
    assert shown(out) == "a – τ ±\n".encode(encoding, "replace")
    assert error.errors == "backslashreplace"  # never raises: left as it is


@pytest.mark.parametrize("errors", ["ignore", "replace"])
def test_what_a_user_asked_for_stays(errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = screen("ascii", errors)
    monkeypatch.setattr(sys, "stdout", out)
    make_screen_safe()
    assert out.errors == errors


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_no_screen_at_all(stream: io.StringIO | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    make_screen_safe()


class Gone(io.StringIO):
    """A terminal that was closed, or a pipe whose reader has ended."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", ["gone", "closed", "ascii"])
def test_lines_and_bars_go_on_without_a_screen(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> io.TextIOBase:
        if kind == "closed":
            stream = io.StringIO()
            stream.close()
            return stream
        return Gone() if kind == "gone" else screen("ascii")

    monkeypatch.setattr(sys, "stdout", broken())
    monkeypatch.setattr(sys, "stderr", broken())
    start_logging(tmp_path, talks=True, bars="true")
    try:
        assert list(progress(range(3), "τ")) == [0, 1, 2]
        logger.info("a – τ")
        logger.warning("b – τ")
    finally:
        stop_logging()
        logging.getLogger("dlib").handlers.clear()
    kept = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "a – τ" in kept
    assert "b – τ" in kept


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_is_printed_on_any_screen(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--help"],
        capture_output=True,
        env={**environment(PYTHONIOENCODING=encoding), "LC_ALL": "C"},
        cwd=ROOT,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"--batch_size" in done.stdout
