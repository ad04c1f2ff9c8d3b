"""The command line of all builders: build, count, compare with the known counts, check."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dlib.commands import AGAIN, CommandParser, command
from dlib.commands.door import Main
from dlib.configure.constants import TEST, TRAIN, VAL, VIDEO_DEMO
from dlib.datasets.build.folds import FOLDS_ROOT, Item, image_size, write_folds
from dlib.datasets.index import FRAME_SUFFIXES
from dlib.datasets.metadata import CLASS_NAMES_YTO, SplitMetadata, read_split
from dlib.utils import filesystem
from dlib.utils.errors import UserError
from dlib.utils.filesystem import check_folder

Built = tuple[list[str], dict[str, list[Item]], list[str]]  # class names, items of each split, notes
Builder = Callable[[Path, Path, bool, int], Built]
Known = Mapping[str, tuple[int, int]]  # items and boxes of each split of the complete dataset
_MAX_NOTES = 20


def place_files(
    pairs: Iterable[tuple[Path, Path]], copy: bool = False, workers: int = 8, title: str = "frames"
) -> None:
    """Link or copy each source file to its destination.

    Frames that are there already are not changed. Copies get their name only when complete, so that the call may be
    interrupted and repeated. Links are hard links (a dataset may not point out of its folder); if the file system
    cannot make them, the file is copied.
    Raises UserError naming the file that cannot be read or written.
    """
    folders: dict[Path, list[tuple[Path, Path]]] = defaultdict(list)
    for source, target in pairs:
        if source != target:
            folders[target.parent].append((source, target))
    total = sum(map(len, folders.values()))
    with (
        ThreadPoolExecutor(max(workers, 1)) as pool,
        tqdm(total=total, desc=title, unit="frame", disable=not total, smoothing=0.05) as bar,
    ):
        for count in pool.map(lambda job: _place_folder(job[0], job[1], copy), folders.items()):
            bar.update(count)


def _place_folder(folder: Path, pairs: list[tuple[Path, Path]], copy: bool) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(folder)}
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}; choose a --dst that can be written") from error
    for source, target in pairs:
        try:
            there = present.get(target.name)
            if there is None or _stamp(there) != _stamp(source.stat()):
                # A hard link to a symbolic link would be one that leaves the dataset's folder.
                original = source.resolve() if source.is_symlink() else source
                (filesystem.copy if copy else filesystem.link_or_copy)(original, target)
        except OSError as error:
            raise UserError(f"{error.filename or source}: {error.strerror}") from error
    return len(pairs)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def builder_command(
    name: str, doc: str | None, build: Builder, known: Known
) -> tuple[Callable[[], CommandParser], Main]:
    """``parser`` and ``main`` of the builder that is the command ``name``: build, or with --check only verify."""

    def parser() -> CommandParser:
        p = CommandParser(name, doc)
        p.add_argument("--src", type=Path, help="folder of the unpacked original archives")
        p.add_argument("--dst", type=Path, help="the dataset's folder; v1.0: --src itself if left out")
        p.add_argument("--metadata", type=Path, help=f"folder of the folds ({FOLDS_ROOT}/<name of --dst>)")
        p.add_argument("--copy", action="store_true", help="copy the frames instead of linking them")
        p.add_argument("--num_workers", type=int, default=min(8, 2 * (os.cpu_count() or 1)), help="threads")
        p.add_argument("--check", action="store_true", help="only verify the tree and the folds in --dst")
        return p

    @command(stopped=AGAIN)
    def main(arguments: Sequence[str]) -> None:
        args = parser().read(arguments)
        if args.src is None and not args.check:
            parser().error("--src is needed")
        if args.src is None and args.dst is None:
            parser().error("--dst is needed")
        dst = args.dst or args.src
        metadata = args.metadata or FOLDS_ROOT / dst.resolve().name
        check_folder("--dst", dst)
        check_folder("--metadata", metadata)
        if not args.check:
            build_dataset(build, known, args.src, dst, metadata, args.copy, args.num_workers)
        elif differing := check_tree(dst, metadata, known, decode=True):
            raise UserError(_difference(dst, differing))

    return parser, main


def build_dataset(
    build: Builder, known: Known, src: Path, dst: Path, metadata: Path, copy: bool, workers: int
) -> None:
    """Build the tree ``dst`` and the folds; print what was fixed, and the counts."""
    classes, splits, notes = build(src, dst, copy, max(workers, 1))
    write_folds(metadata, classes, splits)
    for note in notes[:_MAX_NOTES]:
        print(f"Fixed: {note}")
    if len(notes) > _MAX_NOTES:
        print(f"Fixed: {len(notes) - _MAX_NOTES} more")
    differing = check_tree(dst, metadata, known, decode=False)
    if differing:
        print(f"Warning: {_difference(dst, differing)}")
    print(f"Frames: {dst}\nFolds:  {metadata}")


def demo_items(
    shots: Mapping[Path, Sequence[str]], label: int, boxed: Iterable[Item], pool: ThreadPoolExecutor
) -> list[Item]:
    """Every frame of the test videos; a shot's frames have the size of its first one.

    Args:
        shots: ids of a shot's frames, by the file of the first.
        boxed: the lines of the frames with boxes.
    """
    known = {item.id: item for item in boxed}
    sizes = pool.map(image_size, shots)
    found = zip(shots.values(), sizes, strict=True)
    return [known.get(name) or Item(name, label, size) for names, size in found for name in names]


def _difference(dst: Path, splits: list[str]) -> str:
    return f"{dst}: counts differ from the known ones in {', '.join(splits)}; a source is incomplete"


def check_tree(data_dir: Path, metadata_dir: Path, known: Known | None, decode: bool) -> list[str]:
    """Read the folds, and verify folds and files with ``check_splits``."""
    return check_splits(data_dir, read_splits(data_dir, metadata_dir), known, decode)


def read_splits(data_dir: Path, metadata_dir: Path) -> dict[str, SplitMetadata]:
    """All splits that there are, by name. Raises UserError naming the first missing file or wrong line."""
    names = [TRAIN, VAL, TEST, *([VIDEO_DEMO] if (metadata_dir / VIDEO_DEMO).is_dir() else [])]
    return {name: read_split(data_dir, metadata_dir, name) for name in names}


def check_splits(
    data_dir: Path, splits: dict[str, SplitMetadata], known: Known | None, decode: bool
) -> list[str]:
    """Verify the files of the splits, and print the counts per class and split beside the known totals.

    Args:
        known: counts of the complete dataset, compared if the classes are YouTube-Objects' ten.
        decode: also open every validation and test frame (its header) and compare its size with the folds.
    Returns: names of the splits whose totals differ from the known ones.
    Raises UserError naming the first wrong file.
    """
    for name, split in splits.items():
        if name == TRAIN:
            _check_shots(data_dir, split)
        elif decode and name != VIDEO_DEMO:
            _check_sizes(data_dir, split)
    classes = splits[TRAIN].class_names
    wanted = (known or {}) if tuple(classes) == CLASS_NAMES_YTO else {}
    counts = {name: _counts(split) for name, split in splits.items()}  # each [C, 2]
    totals = {name: tuple(int(v) for v in table.sum(0)) for name, table in counts.items()}
    heads = [f"{name} shots" if name == TRAIN else f"{name} frames / boxes" for name in counts]
    rows = [["class", *heads]]
    for label, name in enumerate(classes):
        rows.append([name, *(_cell(split, *table[label]) for split, table in counts.items())])
    rows.append(["all", *(_cell(split, *total) for split, total in totals.items())])
    if wanted:
        rows.append(["known", *(_cell(name, *wanted[name]) if name in wanted else "" for name in counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        print("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    return [name for name, want in wanted.items() if want != totals[name]]


def _cell(split: str, items: int, boxes: int) -> str:
    return f"{items}" if split == TRAIN else f"{items} / {boxes}"


def _counts(split: SplitMetadata) -> np.ndarray:
    """Items and boxes of each class, [C, 2]."""
    table = np.zeros((len(split.class_names), 2), np.int64)
    for name, label in zip(split.ids, split.labels, strict=True):
        table[label] += (1, len(split.boxes.get(name, ())))
    return table


def _check_shots(data_dir: Path, split: SplitMetadata) -> None:
    for shot in split.ids:
        if not any(name.lower().endswith(FRAME_SUFFIXES) for name in os.listdir(data_dir / shot)):
            raise UserError(f"{data_dir / shot}: a train shot without frames; build the dataset again")


def _check_sizes(data_dir: Path, split: SplitMetadata) -> None:
    with ThreadPoolExecutor() as pool:
        sizes = pool.map(lambda name: image_size(data_dir / name), split.ids)
        for name, size in zip(split.ids, sizes, strict=True):
            if size != split.sizes[name]:
                raise UserError(
                    f"{data_dir / name}: is {size[0]}x{size[1]}, the folds say otherwise; build again"
                )
