"""Check a dataset before training: ``python -m dlib.datasets.inspect --dataset NAME``.

Prints counts, frame sizes, lengths of shots, sizes of boxes, unreadable frames and frames that are in two splits, and
writes a contact sheet for each class and split.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tqdm import tqdm

from dlib.commands import CommandParser, command
from dlib.configure.config import Config, dataset_dir, metadata_dir
from dlib.configure.constants import SPLITS, TRAIN
from dlib.datasets.build.builder import check_splits, read_splits
from dlib.datasets.images import read_image
from dlib.datasets.index import build_index, out_of_order
from dlib.datasets.metadata import SplitMetadata
from dlib.utils.errors import UsageError, UserError
from dlib.utils.filesystem import check_folder

Hashes = dict[str, NDArray[np.int8]]  # of frames, by name: int8 [64]
BITS = 64
MAX_DISTANCE = 6  # bits; compression and scaling change fewer bits
_THUMB, _COLUMNS, _ROWS = 160, 6, 4
_SHOWN = 10
_MIN_CONTRAST = 6.0  # gray levels; hashes of flat pictures agree by chance


def picture_hash(image: Image.Image) -> NDArray[np.int8] | None:
    """Perceptual hash (signs of the low frequencies) as -1 and 1: int8 [64]; None for a picture without contrast."""
    import imagehash

    if np.asarray(image.convert("L").resize((9, 9), Image.Resampling.BOX)).std() < _MIN_CONTRAST:
        return None
    return np.where(imagehash.phash(image).hash.ravel(), 1, -1).astype(np.int8)


def near_duplicates(a: Hashes, b: Hashes) -> list[tuple[str, str, int]]:
    """Pairs (name in a, name in b, differing bits) with at most ``MAX_DISTANCE`` differing bits; for each frame of b
    the nearest in a."""
    if not a:
        return []
    names, values, found = list(a), np.stack(list(a.values())).astype(np.float32), []
    for name, code in b.items():
        agreement = values @ code.astype(np.float32)  # [len(a)], BITS - 2 * distance
        nearest = int(agreement.argmax())
        distance = int(BITS - agreement[nearest]) // 2
        if distance <= MAX_DISTANCE:
            found.append((names[nearest], name, distance))
    return found


@dataclass
class Findings:
    """What was found in one split."""

    metadata: SplitMetadata
    frames: list[str]  # the frames that were opened
    shot_lengths: list[int]
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    unordered: list[str] = field(default_factory=list)  # shots whose numbers lack zeros
    hashes: Hashes = field(default_factory=dict)


def inspect_split(data_dir: Path, metadata: SplitMetadata, per_shot: int, workers: int) -> Findings:
    """Open a split's frames: all boxed ones, or ``per_shot`` of each train shot (0: all)."""
    frames, lengths, unordered = metadata.ids, [], []
    if metadata.split == TRAIN:
        index = build_index(data_dir, metadata.ids)
        frames, unordered = [], out_of_order(index)
        lengths = np.diff(index.starts).tolist()
        for shot, count in enumerate(lengths):
            picked = np.unique(np.linspace(0, count - 1, per_shot or count, dtype=int))
            frames += [index.frame_id(shot, int(i)) for i in picked]
    findings = Findings(metadata, frames, lengths, unordered=unordered)
    with ThreadPoolExecutor(workers) as pool:
        opened = pool.map(lambda name: _open(data_dir / name), frames)
        progress = tqdm(opened, total=len(frames), desc=metadata.split, unit="frame")
        for name, (size, code, problem) in zip(frames, progress, strict=True):
            if problem:
                findings.unreadable.append(problem)
                continue
            findings.sizes[size] += 1
            if code is not None:
                findings.hashes[name] = code
    return findings


def _open(path: Path) -> tuple[tuple[int, int], NDArray[np.int8] | None, str]:
    """Size, hash and, for an unreadable frame, what is wrong with it."""
    try:
        image = Image.fromarray(read_image(path))
    except UserError as error:
        return (0, 0), None, str(error)
    return image.size, picture_hash(image), ""


def contact_sheet(data_dir: Path, metadata: SplitMetadata, label: int) -> Image.Image | None:
    """Up to 24 frames of a class, spread over the split, with their boxes; None if none can be read."""
    ids = [name for name, its in zip(metadata.ids, metadata.labels, strict=True) if its == label]
    picked = sorted(np.random.default_rng(0).permutation(len(ids))[: _COLUMNS * _ROWS])
    tiles = []
    for name in (ids[i] for i in picked):
        if metadata.split == TRAIN:
            shot = build_index(data_dir, [name])
            name = shot.frame_id(0, shot.count(0) // 2)
        try:
            image = Image.fromarray(read_image(data_dir / name))
        except UserError:
            continue
        tiles.append(_tile(image, metadata.boxes.get(name, np.zeros((0, 4)))))
    if not tiles:
        return None
    rows = (len(tiles) + _COLUMNS - 1) // _COLUMNS
    sheet = Image.new("RGB", (min(len(tiles), _COLUMNS) * (_THUMB + 4), rows * (_THUMB + 4)), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % _COLUMNS * (_THUMB + 4) + 2, i // _COLUMNS * (_THUMB + 4) + 2))
    return sheet


def _tile(image: Image.Image, boxes: NDArray[np.float64]) -> Image.Image:
    scale = _THUMB / max(image.size)
    tile = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(tile)
    for box in boxes:
        draw.rectangle([float(v) * scale for v in box], outline=(255, 64, 0), width=2)
    return tile


def describe(findings: Findings) -> list[str]:
    """Lines of text about a split."""
    metadata = findings.metadata
    lines = [f"{metadata.split}: {len(findings.frames)} frames opened"]
    common = ", ".join(f"{w}x{h} ({n})" for (w, h), n in findings.sizes.most_common(5))
    more = f" and {len(findings.sizes) - 5} other sizes" if len(findings.sizes) > 5 else ""
    lines.append(f"  frame sizes: {common or 'none'}{more}")
    if findings.unordered:
        lines.append(
            f"  shots in name order, not by number: {len(findings.unordered)}, first {findings.unordered[0]}"
        )
    if findings.shot_lengths:
        lines.append(f"  frames per shot: {_spread(findings.shot_lengths, '{:.0f}')}")
    shares = [
        float((x1 - x0) * (y1 - y0) / (metadata.sizes[name][0] * metadata.sizes[name][1]))
        for name, boxes in metadata.boxes.items()
        for x0, y0, x1, y1 in boxes
    ]
    if shares:
        lines.append(f"  boxes, share of the frame: {_spread(shares, '{:.1%}')}")
        without = len(metadata.ids) - len(metadata.boxes)
        lines += [f"  frames without box: {without}"] if without else []
    lines.append(f"  unreadable frames: {len(findings.unreadable)}")
    lines += [f"    {problem}" for problem in findings.unreadable[:_SHOWN]]
    return lines


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return ", ".join(f"{n} {form.format(v)}" for n, v in (("least", low), ("median", middle), ("most", high)))


def _report_duplicates(findings: list[Findings]) -> None:
    for a, b in itertools.combinations(findings, 2):
        pairs = near_duplicates(a.hashes, b.hashes)
        both = f"{a.metadata.split} and {b.metadata.split}"
        print(f"{both}: {len(pairs)} frames of {b.metadata.split} look like one of {a.metadata.split}")
        for one, other, bits in pairs[:_SHOWN]:
            print(f"    {one}  {other}  ({bits} of {BITS} bits differ)")


def parser() -> CommandParser:
    p = CommandParser("inspect", __doc__)
    p.add_argument("--dataset", required=True)
    p.add_argument("--data_root", help="where datasets lie (default: $DATASETSH, else ./datasets)")
    p.add_argument("--metadata_root", default=Config().metadata_root, help="(%(default)s)")
    p.add_argument("--out", type=Path, help="folder of the contact sheets (exps/inspect-<dataset>)")
    p.add_argument(
        "--per_shot", type=int, default=3, help="frames opened of each train shot, 0: all (%(default)s)"
    )
    p.add_argument("--num_workers", type=int, default=8, help="threads (%(default)s)")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    args = parser().read(arguments)
    if args.per_shot < 0:
        raise UsageError(f"--per_shot {args.per_shot}: must be 0 (all frames) or more")
    cfg = Config(dataset=args.dataset, data_root=args.data_root, metadata_root=args.metadata_root)
    data_dir, folds = dataset_dir(cfg), metadata_dir(cfg)
    out = args.out or Path("exps") / f"inspect-{args.dataset}"
    check_folder("--out", out)
    out.mkdir(parents=True, exist_ok=True)
    splits = read_splits(data_dir, folds)
    check_splits(data_dir, splits, None, decode=False)
    import cv2

    cv2.setNumThreads(1)  # the frames themselves are read in parallel
    findings = []
    for split in SPLITS:
        metadata = splits[split]
        findings.append(inspect_split(data_dir, metadata, args.per_shot, max(args.num_workers, 1)))
        for label, name in enumerate(metadata.class_names):
            sheet = contact_sheet(data_dir, metadata, label)
            if sheet is not None:
                sheet.save(out / f"{split}-{name.replace('/', '_')}.jpg", quality=90)
    for one in findings:
        print("\n".join(describe(one)))
    _report_duplicates(findings)
    print(f"Contact sheets: {out}")


if __name__ == "__main__":
    sys.exit(main())
