"""Downloading a file over an unreliable connection: resume, retries, only complete files, a checksum record."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dlib.utils.errors import UserError
from dlib.utils.files import write_json
from dlib.utils.filesystem import flush, reason

_CHUNK = 1 << 18
_HEADERS = {"User-Agent": "colo-cam-download/1", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Patience:
    """When to give up: after ``retries`` in a row without a new byte; ``backoff``·2^k seconds before each."""

    retries: int = 8
    backoff: float = 1.0
    timeout: float = 60.0


class _LineBroken(Exception):
    """The connection failed: another attempt may succeed."""


def remote_size(url: str, patience: Patience) -> int | None:
    """Size of a remote file in bytes, if the server tells it."""
    try:
        request = urllib.request.Request(url, headers=_HEADERS, method="HEAD")
        with urllib.request.urlopen(request, timeout=patience.timeout) as answer:
            length = answer.headers.get("Content-Length")
            return int(length) if length and length.isdigit() else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


def fetch(url: str, target: Path, patience: Patience) -> None:
    """Download ``url`` to ``target``; nothing is done if the file is there and agrees with its record.

    The bytes go to ``<target>.part``. After an interruption the download resumes there, if the server still has the
    same file. ``<target>.json`` records URL, size and SHA-256.
    Raises UserError if the server refuses, if there is no progress after all retries, or if the disk fails.
    """
    try:
        _fetch(url, target, patience)
    except OSError as error:
        raise UserError(f"{error.filename or target}: {reason(error)}, or choose another folder") from error


def _fetch(url: str, target: Path, patience: Patience) -> None:
    record = target.with_name(f"{target.name}.json")
    if target.is_file() and _agrees(target, record):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    failures = 0
    with tqdm(desc=target.name, unit="B", unit_scale=True, unit_divisor=1024) as bar:
        while True:
            before = _size(part)
            try:
                if _fetch_rest(url, part, patience.timeout, bar):
                    break
                problem = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 416, 429):
                    raise UserError(f"{url}: the server answers {error.code} {error.reason}") from error
                problem = f"the server answers {error.code}"
            except _LineBroken as error:
                problem = str(error)
            failures = 0 if _size(part) > before else failures + 1
            if failures > patience.retries:
                raise UserError(f"{url}: no progress after {failures} attempts ({problem}); try again later")
            time.sleep(patience.backoff * 2 ** min(failures, 6))
    facts = {"url": url, "size": _size(part), "sha256": sha256(part)}
    write_json(record, facts)
    os.replace(part, target)
    _tag_file(part).unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _agrees(target: Path, record: Path) -> bool:
    try:
        facts = json.loads(record.read_text())
        return facts["size"] == _size(target) and facts["sha256"] == sha256(target)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _fetch_rest(url: str, part: Path, timeout: float, bar: Any) -> bool:
    """One request for what is missing in ``part``. Returns: whether the file is complete now."""
    have = _size(part)
    tag_file = _tag_file(part)
    headers = dict(_HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        tag = tag_file.read_text() if tag_file.is_file() else ""
        if tag:
            headers["If-Range"] = tag
    try:
        with _line():
            answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send, or the part is too long
            whole = error.headers.get("Content-Range", "").rpartition("/")[2]
            if whole == str(have):
                return True
            part.unlink()
        raise
    with answer:
        start, total = _extent(answer)
        if start != have:  # the server sends the whole file, or the file changed
            start, have = 0, 0
            if answer.status == 206:
                part.unlink()
                return False
        tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        tag_file.write_text("" if tag.startswith("W/") else tag)
        bar.total = total
        bar.n = have
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            while block := _read(answer):
                file.write(block)
                have += len(block)
                bar.update(len(block))
            file.flush()
            flush(file.fileno(), part)
    return total is None or have == total


@contextmanager
def _line() -> Iterator[None]:
    """Separates errors of the connection from errors of the disk: Python has one class, OSError, for both."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _LineBroken(str(error) or type(error).__name__) from error


def _read(answer: Any) -> bytes:
    with _line():
        return answer.read(_CHUNK)


def _extent(answer: Any) -> tuple[int, int | None]:
    """First byte and total size of what the server sends."""
    length = answer.headers.get("Content-Length")
    if answer.status == 206:
        unit, _, extent = answer.headers.get("Content-Range", "").partition(" ")
        span, _, total = extent.partition("/")
        first = span.partition("-")[0]
        if unit == "bytes" and first.isdigit():
            return int(first), int(total) if total.isdigit() else None
        return -1, None
    return 0, int(length) if length and length.isdigit() else None
