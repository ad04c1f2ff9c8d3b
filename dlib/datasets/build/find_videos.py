"""The videos in a class's folder: video files and folders of frames, and notes on other files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dlib.datasets.names import is_litter, natural_key
from dlib.datasets.videos import PICTURE_SUFFIXES, VIDEO_SUFFIXES, is_picture

_LABEL_SUFFIXES = (".txt", ".xml", ".json", ".csv", ".yaml", ".names", ".data")  # may be beside videos


def find_videos(folder: Path, notes: list[str]) -> list[Path]:
    """Video files and folders of frames in ``folder`` and the folders in it, in natural order.

    Args:
        notes: what is left out is added here, with the reason.
    """
    return _find_videos(folder, notes, (folder.resolve(),))


def _find_videos(folder: Path, notes: list[str], above: tuple[Path, ...]) -> list[Path]:
    found: list[Path] = []
    left: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.iterdir(), key=lambda path: natural_key(path.name)):
        suffix = path.suffix.lower()
        if is_litter(path.name):
            continue
        if path.is_dir():
            here = path.resolve()
            if _is_frames(path):
                found.append(path)
                notes += _left_in_frames(path)
            elif here not in above:  # a link to a folder above would never end
                found += _find_videos(path, notes, (*above, here))
        elif suffix in VIDEO_SUFFIXES:
            found.append(path)
        elif suffix in PICTURE_SUFFIXES:
            left["pictures", "the frames of a video need a folder of their own, without video files"] += 1
        elif suffix not in _LABEL_SUFFIXES:
            left[f"files {suffix or 'without suffix'}", "not a video format"] += 1
    notes += [f"{folder}: left out {what}: {count} ({reason})" for (what, reason), count in left.items()]
    return found


def _is_frames(folder: Path) -> bool:
    names = [path for path in folder.iterdir() if not is_litter(path.name)]
    return any(map(is_picture, names)) and not any(p.suffix.lower() in VIDEO_SUFFIXES for p in names)


def _left_in_frames(folder: Path) -> list[str]:
    """Notes on files in a folder of frames that are not frames."""
    others = [p for p in folder.iterdir() if not (is_litter(p.name) or is_picture(p))]
    notes = [
        f"{path}: left out, since {folder.name} is a folder of frames; put it beside"
        for path in sorted(p for p in others if p.is_dir())
        if find_videos(path, []) or any(map(is_picture, path.iterdir()))
    ]
    kinds = Counter(p.suffix.lower() for p in others if p.is_file() and p.suffix.lower() not in _LABEL_SUFFIXES)
    return notes + [
        f"{folder}: left out files {kind or 'without suffix'}: {n} (not a picture format)" for kind, n in kinds.items()
    ]
