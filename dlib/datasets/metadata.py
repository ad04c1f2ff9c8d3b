"""Reading and checking the folds: ids, labels, frame sizes, boxes and class names of one split."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import yaml

from dlib.configure.constants import TRAIN, YTOV1, YTOV2
from dlib.utils.errors import UserError
from dlib.utils.logging import logger

CLASS_NAMES_YTO = ("aeroplane", "bird", "boat", "car", "cat", "cow", "dog", "horse", "motorbike", "train")
IDS_FILE, LABELS_FILE = "image_ids.txt", "class_labels.txt"
SIZES_FILE, BOXES_FILE = "image_sizes.txt", "localization.txt"
CLASSES_FILE = "class_id.yaml"

_INTEGER = re.compile(r"[0-9]{1,9}")
_FARTHEST = 1e7  # pixels between a box's corner and its frame; larger numbers are not annotations
_NUMBER = re.compile(r"[+-]?([0-9]{1,12}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


@dataclass(frozen=True)
class SplitMetadata:
    """One split of a dataset, checked.

    ``boxes`` are x0, y0, x1, y1 in pixels of the stored frame, as annotated: a box may reach beyond its frame, so that
    values may be negative or larger than its size. Frames of unknown box are absent.
    """

    split: str  # train, val, test or another folder of the folds
    ids: list[str]  # shots (train) or frames, relative to the dataset's folder, in the order of the file
    labels: np.ndarray  # int64 [len(ids)]
    sizes: dict[str, tuple[int, int]]  # (width, height) of each frame; empty for train
    boxes: dict[str, np.ndarray]  # float64 [n, 4] of each frame
    class_names: list[str]  # of class 0, 1, …
    folder: Path  # where the split's files are

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the ids, labels and boxes: splits with the same fingerprint are the same lists."""
        digest = hashlib.sha256()
        for name, label in zip(self.ids, self.labels.tolist(), strict=True):
            boxes = self.boxes[name].tolist() if name in self.boxes else None
            digest.update(f"{name}\t{label}\t{boxes}\n".encode())
        return digest.hexdigest()

    def keep_per_class(self, count: int, seed: int) -> SplitMetadata:
        """At most ``count`` items of each class, drawn with ``seed``, in the old order; 0 keeps all."""
        if count == 0:
            return self
        rng = np.random.default_rng(seed & 0xFFFFFFFF)
        shuffled = rng.permutation(len(self.ids))
        picked = [shuffled[self.labels[shuffled] == c][:count] for c in range(len(self.class_names))]
        kept = np.sort(np.concatenate(picked))
        return replace(self, ids=[self.ids[i] for i in kept], labels=self.labels[kept])


def read_split(data_dir: Path, metadata_dir: Path, split: str, check_files: bool = True) -> SplitMetadata:
    """Reads ``<metadata_dir>/<split>`` and checks it.

    Args:
        data_dir: the dataset's folder, which ids are relative to.
        metadata_dir: folder of the splits and of ``class_id.yaml``.
        split: name of the split's folder; ids of ``train`` are shots, all others' are frames.
        check_files: also check that every id exists and does not leave ``data_dir`` through a link.
    One warning says how many boxes reach beyond their frame; they are kept as they are.
    Raises UserError with file, line and reason at the first fault.
    """
    folder = metadata_dir / split
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder of metadata; give the right --metadata_root or build the folds"
        )
    ids = _read_ids(folder / IDS_FILE)
    names = _class_names(data_dir, metadata_dir, split)
    labels = _read_labels(folder / LABELS_FILE, ids, len(names))
    sizes = _read_sizes(folder / SIZES_FILE, ids, required=split != TRAIN)
    boxes = _read_boxes(folder / BOXES_FILE, ids, sizes)
    if check_files:
        _check_files(data_dir, folder / IDS_FILE, ids, shots=split == TRAIN)
    return SplitMetadata(split, list(ids), labels, sizes, boxes, names, folder)


def scaled_boxes(metadata: SplitMetadata, frame_id: str, crop_size: int) -> np.ndarray:
    """Boxes int64 [n, 4] of a frame in pixels of the crop_size² input; n = 0: no known box.

    Values are truncated towards 0. A box that reaches beyond its frame does so here too.
    """
    if frame_id not in metadata.boxes:
        return np.zeros((0, 4), dtype=np.int64)
    width, height = metadata.sizes[frame_id]
    scale = np.array([width, height, width, height], dtype=np.float64)
    return (metadata.boxes[frame_id] * float(crop_size) / scale).astype(np.int64)


def box_fault(box: Sequence[float], size: tuple[int, int]) -> str | None:
    """Why no frame of ``size`` (width, height) can have the box x0, y0, x1, y1 in pixels; None: it can.

    A box may reach beyond its frame, but must have a part inside.
    """
    x0, y0, x1, y1 = box
    width, height = size
    if x1 <= x0 or y1 <= y0:
        return "is empty: x1 must be > x0 and y1 > y0"
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return f"lies outside its frame of {width}x{height} pixels"
    if max(map(abs, box)) > _FARTHEST:
        return f"reaches more than {_FARTHEST:,.0f} pixels beyond its frame of {width}x{height}"
    return None


def is_plain(name: str) -> bool:
    """Whether a file name can be used in UTF-8 text files, logs and messages of one line."""
    return len(name.splitlines()) == 1 and not any(
        c < " " or c == "\x7f" or "\ud800" <= c <= "\udfff" for c in name
    )


def _fault(path: Path, line: int, reason: str) -> UserError:
    # Quoted text may hold control characters, which would break the message into lines.
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in reason)
    return UserError(f"{path}, line {line}: {shown}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of each line; a byte order mark, CRLF and empty lines at the end are dropped."""
    if not path.is_file():
        needed = f"{IDS_FILE}, {LABELS_FILE}, {SIZES_FILE} and {BOXES_FILE}"
        raise UserError(f"{path}: no such file; every split needs {needed}")
    data = _read_bytes(path).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    for number, raw in enumerate(data.split(b"\n") if data else [], start=1):
        try:
            text = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise _fault(path, number, "not UTF-8 text") from error
        if not text.strip():
            raise _fault(path, number, "empty line")
        yield number, text


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _read_ids(path: Path) -> dict[str, int]:
    """The line of each id."""
    ids: dict[str, int] = {}
    for line, name in _lines(path):
        parts = name.split("/")
        if name.startswith("/") or ".." in parts:
            raise _fault(path, line, f"id {name!r} leaves the data folder; ids are paths relative to it")
        if any(part in ("", ".") for part in parts) or not is_plain(name):
            raise _fault(path, line, f"id {name!r} is not a plain relative path")
        if name in ids:
            raise _fault(path, line, f"{name!r} is already in line {ids[name]}")
        ids[name] = line
    if not ids:
        raise UserError(f"{path}: the split is empty; build the folds again")
    return ids


def _records(path: Path, fields: int, ids: dict[str, int]) -> Iterator[tuple[int, str, list[str]]]:
    """(line, id, last fields) of each line; the id is all text before the last fields and may hold commas."""
    for line, text in _lines(path):
        name, *values = text.rsplit(",", fields)
        if len(values) != fields or not name:
            raise _fault(
                path, line, f"expected an id and {fields} value(s) with commas between, got {text!r}"
            )
        if name not in ids:
            raise _fault(path, line, f"id {name!r} is not listed in {IDS_FILE}")
        yield line, name, [value.strip() for value in values]


def _read_labels(path: Path, ids: dict[str, int], classes: int) -> np.ndarray:
    labels: dict[str, int] = {}
    for line, name, (value,) in _records(path, 1, ids):
        if not _INTEGER.fullmatch(value):
            raise _fault(path, line, f"class {value!r} is not a whole number >= 0")
        if int(value) >= classes:
            raise _fault(path, line, f"class {value} is out of range: there are {classes} classes, from 0 on")
        if name in labels:
            raise _fault(path, line, f"id {name!r} has a label already")
        labels[name] = int(value)
    _check_complete(path, ids, labels, "label")
    return np.array([labels[name] for name in ids], dtype=np.int64)


def _check_complete(path: Path, ids: dict[str, int], found: dict, what: str) -> None:
    for name, line in ids.items():
        if name not in found:
            raise _fault(path.with_name(IDS_FILE), line, f"id {name!r} has no {what} in {path.name}")


def _read_sizes(path: Path, ids: dict[str, int], required: bool) -> dict[str, tuple[int, int]]:
    sizes: dict[str, tuple[int, int]] = {}
    for line, name, values in _records(path, 2, ids):
        if not all(_INTEGER.fullmatch(v) and int(v) > 0 for v in values):
            raise _fault(path, line, f"width and height must be whole numbers > 0, got {','.join(values)}")
        if name in sizes:
            raise _fault(path, line, f"id {name!r} has a size already")
        sizes[name] = (int(values[0]), int(values[1]))
    if required:
        _check_complete(path, ids, sizes, "size")
    return sizes


def _read_boxes(path: Path, ids: dict[str, int], sizes: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    found: dict[str, list[list[float]]] = {}
    beyond = []  # by how many pixels boxes leave their frame
    for line, name, values in _records(path, 4, ids):
        if not all(_NUMBER.fullmatch(v) for v in values):
            raise _fault(path, line, f"a box is four numbers x0,y0,x1,y1, got {','.join(values)}")
        box = [float(v) for v in values]
        if not any(box):
            continue  # box unknown
        if name not in sizes:
            raise _fault(path, line, f"id {name!r} has a box but no size in {SIZES_FILE}")
        fault = box_fault(box, sizes[name])
        if fault:
            raise _fault(path, line, f"box {','.join(values)} {fault}")
        excess = max(-box[0], -box[1], box[2] - sizes[name][0], box[3] - sizes[name][1])
        if excess > 0:
            beyond.append(excess)
        found.setdefault(name, []).append(box)
    if beyond:
        logger.warning(
            f"{path}: {len(beyond)} of {sum(map(len, found.values()))} boxes reach beyond their frame, by up to "
            f"{max(beyond):.1f} pixels; they are kept as they are"
        )
    return {name: np.array(boxes, dtype=np.float64) for name, boxes in found.items()}


def _class_names(data_dir: Path, metadata_dir: Path, split: str) -> list[str]:
    path = metadata_dir / CLASSES_FILE
    if path.is_file():
        return _read_class_file(path)
    if {data_dir.name, metadata_dir.name} & {YTOV1, YTOV2}:
        return list(CLASS_NAMES_YTO)
    return [str(c) for c in range(_count_classes(metadata_dir, split))]


def _read_class_file(path: Path) -> list[str]:
    try:
        classes = yaml.safe_load(_read_bytes(path))
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: not a YAML file of lines 'name: id'") from error
    if not isinstance(classes, dict) or not classes:
        raise UserError(f"{path}: expected lines 'name: id'")
    for name, value in classes.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise UserError(f"{path}: class name {name!r} is not plain text; put it in quotes")
        if type(value) is not int:
            raise UserError(f"{path}: the id of class {name!r} is not a whole number")
    missing = set(range(len(classes))) - set(classes.values())
    if missing:
        raise UserError(f"{path}: ids must be 0..{len(classes) - 1}, each once; {min(missing)} is missing")
    return sorted(classes, key=lambda name: classes[name])


def _count_classes(metadata_dir: Path, split: str) -> int:
    """1 + the highest class in the split and in train; used if no file names the classes."""
    highest = 0
    for folder in {TRAIN, split}:
        path = metadata_dir / folder / LABELS_FILE
        if folder == split or path.exists():
            values = [text.rsplit(",", 1)[-1].strip() for _, text in _lines(path)]
            highest = max([highest, *(int(v) for v in values if _INTEGER.fullmatch(v))])
    return highest + 1


def _check_files(data_dir: Path, path: Path, ids: dict[str, int], shots: bool) -> None:
    root = os.path.realpath(data_dir)
    inside: dict[str, bool] = {}  # whether a folder's real path lies inside the root
    for name, line in ids.items():
        full = os.path.join(root, name)
        folder = os.path.dirname(full)
        if folder not in inside:
            inside[folder] = _is_inside(folder, root)
        if not inside[folder] or (os.path.islink(full) and not _is_inside(full, root)):
            raise _fault(path, line, f"id {name!r} leaves the data folder through a link")
        if not (os.path.isdir(full) if shots else os.path.isfile(full)):
            kind = "shot folder" if shots else "frame"
            raise _fault(path, line, f"there is no {kind} {os.path.join(data_dir, name)}")


def _is_inside(path: str, root: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), root]) == root
