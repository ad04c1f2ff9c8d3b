"""Files of boxes as labelling programs write them: CSV, COCO JSON, YOLO text and Pascal VOC XML.

A folder may hold files of all these kinds, in subfolders of any depth. If a file does not name its video
(``<class>/<video>``), its place in the folder names it.
"""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from dlib.datasets.build.annotations import Annotations
from dlib.datasets.names import is_litter, natural_key
from dlib.utils.errors import UserError

_MAX_PIXELS = 1e7  # of a coordinate
_CVAT_XML = "the format 'CVAT for video' or 'for images' is not read; export it as COCO 1.0 or YOLO 1.1"


class _NoBoxFile(Exception):
    """A file that is not a file of boxes; the message says why it is left out."""


def read_annotations(path: Path) -> Annotations:
    """Read ``path``: a .csv, COCO .json or VOC .xml file, or a folder of such files and of YOLO .txt files.

    Files in a folder that are not files of boxes are named in the result's ``notes``.
    Raises UserError that names file and line (or entry) of what cannot be read.
    """
    annotations = Annotations()
    if path.is_dir():
        _read_folder(path, annotations)
    elif path.suffix.lower() in _READERS and path.suffix.lower() != ".txt":
        try:
            _READERS[path.suffix.lower()](path, "", annotations)
        except _NoBoxFile as error:
            raise UserError(f"{path}: {error}") from error
    else:
        remedy = "unpack it, and give the folder" if path.suffix.lower() == ".zip" else "see doc/data.md"
        raise UserError(
            f"{path}: boxes come from a .csv file, a COCO .json file, or a folder of YOLO .txt, VOC .xml or COCO "
            f"files; {remedy}"
        )
    if not annotations.boxes:
        reasons = "".join(f"; {note}" for note in annotations.notes[:3])
        raise UserError(f"{path}: no box found in it{reasons}")
    return annotations


def _read_folder(folder: Path, annotations: Annotations) -> None:
    zipped = 0
    for path in sorted(folder.rglob("*"), key=lambda path: natural_key(path.as_posix())):
        inside = path.relative_to(folder)
        if any(map(is_litter, inside.parts)) or not path.is_file():
            continue
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            zipped += path.suffix.lower() == ".zip"
            continue
        try:
            # An archive unpacked from Windows may have names with backslashes for folders.
            reader(path, PurePosixPath(inside.as_posix().replace("\\", "/")).parent.as_posix(), annotations)
        except _NoBoxFile as error:
            annotations.notes.append(f"{path}: {error}; left out")
    if zipped:
        annotations.notes.append(f"{folder}: left out files .zip: {zipped} (unpack them)")


def _read_csv(path: Path, place: str, annotations: Annotations) -> None:
    """Header ``video,frame,x0,y0,x1,y1``: pixels of the original frame, corners included."""
    needed = ("video", "frame", "x0", "y0", "x1", "y1")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing and place:
                raise _NoBoxFile(f"not a table of boxes: its header lacks {missing[0]!r}")
            if missing:
                raise UserError(f"{path}: the header lacks {missing[0]!r}; it must name {','.join(needed)}")
            for row in reader:
                box = _numbers([row[name] for name in needed[2:]], f"{path}, line {reader.line_num}")
                if not row["video"] or not row["frame"]:
                    raise UserError(f"{path}, line {reader.line_num}: video or frame is empty")
                annotations.add(row["video"], row["frame"], box, relative=False)
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"{path}: {error}") from error


def _read_coco(path: Path, place: str, annotations: Annotations) -> None:
    """``images`` with id, file_name ``<class>/<video>/<frame>.jpg``, width, height; ``annotations`` with bbox."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if place and not (isinstance(content, dict) and "images" in content and "annotations" in content):
            raise _NoBoxFile("not a COCO file with 'images' and 'annotations'")
        images = {image["id"]: image for image in content["images"]}
        entries = list(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: not a COCO file with 'images' and 'annotations' ({error!r})") from error
    for entry in entries:
        where = f"{path}, annotation {entry.get('id', '?') if isinstance(entry, dict) else entry!r}"
        try:
            image = images[entry["image_id"]]
            name = _file_name(image["file_name"])
            width, height = float(image["width"]), float(image["height"])
            if not (1 <= width < _MAX_PIXELS and 1 <= height < _MAX_PIXELS):
                raise ValueError(f"a picture of {width:g}x{height:g} pixels")
            x, y, w, h = _numbers(entry["bbox"], where)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{where}: image_id, bbox, or its image's file_name, width, height is wrong"
            ) from error
        box = [x / width, y / height, (x + w) / width, (y + h) / height]
        frame = _without_hash(name.name) if _is_label_studio(content) else name.name
        annotations.add(f"{place}/{name.parent}", frame, box, relative=True)


def _read_yolo(path: Path, place: str, annotations: Annotations) -> None:
    """``<class>/<video>/<frame>.txt``, each line: number of the class (ignored), centre x, y, width, height in 0..1."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: {error}") from error
    first = next((line for line in lines if line.strip()), "0")
    if not re.match(r"\s*[0-9]+(\.0+)?(\s|$)", first) or path.stem.lower() == "classes":
        raise _NoBoxFile(f"it begins {first.strip()[:30]!r}: a list of classes or files, not boxes")
    stem = path.stem.rpartition("\\")[2]
    frame = _without_hash(stem) if _is_label_studio_export(path.parent.parent) else stem
    for number, line in enumerate(lines, start=1):
        if line.strip():
            fields = line.split()
            if len(fields) not in (5, 6):
                raise UserError(f"{path}, line {number}: expected 5 numbers (class, x, y, width, height)")
            x, y, w, h = _numbers(fields[1:5], f"{path}, line {number}")
            box = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
            annotations.add(place, frame, box, relative=True)


def _read_voc(path: Path, place: str, annotations: Annotations) -> None:
    """``annotation`` with ``object/bndbox`` in pixels; the frame is the file's own name, the video its place.

    labelImg writes the picture's ``path`` too, which names the video if the place does not.
    """
    try:
        data = path.read_bytes()
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:  # could unfold to more than memory holds
            raise UserError(f"{path}: XML with a DOCTYPE or ENTITY is not read; remove it")
        root = ElementTree.fromstring(data)
    except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not readable XML ({error})") from error
    if root.tag == "annotations":
        raise _NoBoxFile(_CVAT_XML)
    if root.tag != "annotation":
        raise _NoBoxFile(f"not a Pascal VOC file: it begins <{root.tag[:30]}>")
    name = _file_name(root.findtext("path") or root.findtext("filename") or "")
    for number, found in enumerate(root.iterfind("object"), start=1):
        corners = [found.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
        box = _numbers(corners, f"{path}, object {number}")
        annotations.add(f"{name.parent}/{place}", path.stem.rpartition("\\")[2], box, relative=False)


_READERS: dict[str, Callable[[Path, str, Annotations], None]] = {
    ".csv": _read_csv,
    ".json": _read_coco,
    ".txt": _read_yolo,
    ".xml": _read_voc,
}


def _file_name(text: str) -> PurePosixPath:
    """The path of a picture, with slashes; also from the address that Label Studio gives to local files."""
    if not isinstance(text, str):
        raise TypeError(f"expected a file's name, got {text!r}")
    return PurePosixPath(unquote(text.partition("?d=")[2]) if "?d=" in text else text.replace("\\", "/"))


def _is_label_studio(content: Any) -> bool:
    """Whether the head of a JSON file names Label Studio, which puts 1a2b3c4d- before names of uploaded pictures."""
    info = content.get("info") if isinstance(content, dict) else None
    return isinstance(info, dict) and info.get("contributor") == "Label Studio"


@lru_cache(maxsize=64)
def _is_label_studio_export(folder: Path) -> bool:
    """Whether a YOLO export (folder ``labels``, ``classes.txt``, ``notes.json``) is Label Studio's."""
    try:
        return _is_label_studio(json.loads((folder / "notes.json").read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return False


def _without_hash(name: str) -> str:
    return re.sub(r"^[0-9a-f]{8}-(?=.)", "", name)


def _numbers(values: Any, where: str) -> list[float]:
    numbers = []
    with suppress(TypeError, ValueError, OverflowError):
        numbers = [float(value) for value in values]
    if len(numbers) != 4 or not all(abs(v) < _MAX_PIXELS for v in numbers):
        raise UserError(f"{where}: expected four numbers, got {values!r}")
    return numbers
