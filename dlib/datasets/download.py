"""``python -m dlib.datasets.download YouTube-Objects-v1.0``: get the archives, unpack them, build the dataset.

You may interrupt it; the same command resumes.
"""

from __future__ import annotations

import shutil
import sys
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlib.commands import AGAIN, CommandParser, command
from dlib.configure.config import datasets_root
from dlib.configure.constants import YTOV1, YTOV2
from dlib.datasets import _video_ds_ytov1_0, _video_ds_ytov2_2
from dlib.datasets.build.builder import Builder, Known, build_dataset
from dlib.datasets.build.fetch import Patience, fetch, remote_size
from dlib.datasets.build.folds import FOLDS_ROOT
from dlib.datasets.build.unpack import unpack
from dlib.datasets.metadata import CLASS_NAMES_YTO
from dlib.utils.errors import UsageError, UserError
from dlib.utils.filesystem import check_folder, free_bytes

GIB = 2**30
_RATE = 5 * 2**20  # bytes per second assumed for the estimate of time
_KEEP_FREE = 2**28


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from: one archive per class and some extra ones below ``url``."""

    url: str
    extras: tuple[str, ...]
    build: Builder
    known: Known


SOURCES = {
    YTOV1: Source(
        "https://data.vision.ee.ethz.ch/cvl/youtube-objects/categories",
        (),
        _video_ds_ytov1_0.build,
        _video_ds_ytov1_0.KNOWN,
    ),
    YTOV2: Source(
        "http://calvin-vision.net/bigstuff/youtube-objectsv2",
        ("Ranges", "GroundTruth"),
        _video_ds_ytov2_2.build,
        _video_ds_ytov2_2.KNOWN,
    ),
}


def download(url: str, names: list[str], root: Path, original: Path, patience: Patience) -> None:
    """Fetch ``<url>/<name>.tar.gz`` to ``<root>`` and unpack each to ``<original>/<name>``.

    Raises UserError if the disk is too small or an archive cannot be had.
    """
    wanted = [name for name in names if not (original / name).is_dir()]
    _announce(url, wanted, root, patience)
    for name in wanted:
        archive = root / f"{name}.tar.gz"
        fetch(f"{url}/{name}.tar.gz", archive, patience)
        unpack(archive, original / name)


def _announce(url: str, names: list[str], root: Path, patience: Patience) -> None:
    """Print what will be downloaded; UserError if the disk is too small for it."""
    if not names:
        print("All archives are unpacked already.")
        return
    sizes = [remote_size(f"{url}/{name}.tar.gz", patience) for name in names]
    there = sum(
        p.stat().st_size for n in names for p in root.glob(f"{n}.tar.gz*") if p.suffix in (".gz", ".part")
    )
    total = sum(size or 0 for size in sizes)
    root.mkdir(parents=True, exist_ok=True)
    free = free_bytes(root)
    room = "not known" if free is None else f"{free / GIB:.1f} GiB"
    unknown = sum(size is None for size in sizes)
    more = f" and {unknown} archives of unknown size" if unknown else ""
    print(
        f"{len(names)} archives from {url}: {total / GIB:.1f} GiB{more}, of which {there / GIB:.1f} GiB are here. "
        f"Unpacked they take about as much again; free now: {room}. "
        f"At 5 MiB/s the rest takes {max(total - there, 0) / _RATE / 60:.0f} minutes."
    )
    need = max(2 * total - there, 0) + _KEEP_FREE
    if free is not None and free < need:
        raise UserError(
            f"{root}: {need / GIB:.1f} GiB are needed; free some space or choose another --data_root"
        )


def _checked_url(url: str) -> str:
    """The address without a slash at its end. Raises UsageError if nothing can be got from such an address."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna"))
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise UsageError(f"--url {url!r}: expected an address such as https://mirror.org/youtube-objects")
    return url.rstrip("/")


def parser() -> CommandParser:
    p = CommandParser("download", __doc__)
    p.add_argument("dataset", choices=sorted(SOURCES))
    p.add_argument("--data_root", help="where datasets lie (default: $DATASETSH, else ./datasets)")
    p.add_argument("--metadata", type=Path, help=f"folder of the folds ({FOLDS_ROOT}/<dataset>)")
    p.add_argument("--url", help="another address that has the archives")
    p.add_argument("--classes", help="only these classes, with commas between (default: all ten)")
    p.add_argument("--num_workers", type=int, default=8, help="threads of the builder (%(default)s)")
    p.add_argument("--retries", type=int, default=8, help="attempts without progress (%(default)s)")
    p.add_argument("--delete_archives", action="store_true", help="delete the archives at the end")
    return p


@command(stopped=AGAIN)
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    source = SOURCES[args.dataset]
    classes = [name.strip() for name in args.classes.split(",")] if args.classes else list(CLASS_NAMES_YTO)
    unknown = sorted(set(classes) - set(CLASS_NAMES_YTO))
    if unknown:
        raise UsageError(f"--classes: no class {unknown[0]!r}; there are {', '.join(CLASS_NAMES_YTO)}")
    if args.retries < 0:
        raise UsageError(f"--retries {args.retries}: must be 0 or more")
    root = datasets_root(args)
    folds = args.metadata or FOLDS_ROOT / args.dataset
    check_folder("--data_root", root)
    check_folder("--metadata", folds)
    archives, original = root / f"{args.dataset}-archives", root / f"{args.dataset}-original"
    url = _checked_url(args.url or source.url)
    download(url, [*classes, *source.extras], archives, original, Patience(retries=args.retries))
    build_dataset(source.build, source.known, original, root / args.dataset, folds, False, args.num_workers)
    if args.delete_archives:
        shutil.rmtree(archives, ignore_errors=True)
    print(f"The original files stay in {original}; the dataset's frames are links to the same bytes.")


if __name__ == "__main__":
    sys.exit(main())
