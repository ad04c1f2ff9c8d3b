"""Start-up time and memory of the data loader on a generated dataset of 700,000 frames in 15,000 shots.

    python -m tests.stress.loader_scale --folder DIR [--shots 15000] [--frames 47] [--workers 4]

Makes the tree once (hard links to a few tiny frames), then measures in fresh processes: the first start, which
lists all folders, a start from the cached index, and a start after some folders changed; and the proportional
memory (PSS) of the worker processes while they read. Exits with 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

FIRST_S, CACHED_S, MEMORY_MB = 60.0, 3.0, 500.0
LINKS_PER_FILE = 30_000  # file systems allow 65,000


def make_tree(root: Path, shots: int, frames: int) -> None:
    """A training split in ``root``: data/<shot folders> and folds/train."""
    done = root / f"made_{shots}_{frames}"
    if done.exists():
        return
    folder = root / "folds" / "train"
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"class{s % 10}/video-{s // 20:04d}/shot-{s:06d}" for s in range(shots)]
    for s, shot in enumerate(ids):
        target = root / "data" / shot
        target.mkdir(parents=True, exist_ok=True)
        for f in range(frames):
            number = s * frames + f
            source = root / f"frame{number // LINKS_PER_FILE}.jpg"
            if not source.exists():
                Image.new("RGB", (32, 24), (number % 251, 90, 60)).save(source)
            if not (target / f"{f:08d}.jpg").exists():
                os.link(source, target / f"{f:08d}.jpg")
    (folder / "image_ids.txt").write_text("".join(f"{i}\n" for i in ids))
    (folder / "class_labels.txt").write_text("".join(f"{i},{s % 10}\n" for s, i in enumerate(ids)))
    for name in ("image_sizes.txt", "localization.txt"):
        (folder / name).write_text("")
    done.touch()


def pss_mb(pid: int) -> float:
    """Proportional set size of a process, in MB; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def descendants(pid: int) -> list[int]:
    """All processes under ``pid``: the fork server and the workers."""
    below = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (int(c) for c in (task / "children").read_text().split()):
            below += [child, *descendants(child)]
    return below


def start(root: Path, workers: int) -> dict[str, float]:
    """Seconds to the dataset and to the first planned epoch, and the workers' memory if there are any."""
    from dlib.datasets.loaders import train_loader
    from dlib.datasets.metadata import read_split
    from dlib.datasets.video_dataset import VideoDataset

    begin = time.perf_counter()
    metadata = read_split(root / "data", root / "folds", "train")
    dataset = VideoDataset(
        metadata,
        root / "data",
        train=True,
        n_frames=2,
        style="before",
        frame_limit=0.6,
        crop_size=32,
        resize_size=32,
    )
    found = {"start_s": time.perf_counter() - begin}
    begin = time.perf_counter()
    loader = train_loader(dataset, 32, num_workers=workers)
    found["steps"] = float(len(loader.plan(1)))
    found["plan_s"] = time.perf_counter() - begin
    if workers:
        begin = time.perf_counter()
        for step, _ in enumerate(loader.iterate(1)):
            if step == 0:
                found["first_batch_s"] = time.perf_counter() - begin
            if step == 50:
                found["workers_mb"] = sum(pss_mb(pid) for pid in descendants(os.getpid()))
                found["main_mb"] = pss_mb(os.getpid())
                break
        loader.close()
    return found


def measure(root: Path, workers: int) -> dict[str, float]:
    """``start`` in a fresh process."""
    command = [sys.executable, "-m", "tests.stress.loader_scale", "--folder", str(root)]
    command += ["--workers", str(workers), "--start-only"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shots", type=int, default=15_000)
    parser.add_argument("--frames", type=int, default=47)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--start-only", action="store_true")
    args = parser.parse_args()
    if args.start_only:
        print(json.dumps(start(args.folder, args.workers)))
        return 0
    make_tree(args.folder, args.shots, args.frames)
    for cache in (args.folder / "folds" / "train").glob(".frame_index*"):
        cache.unlink()
    results = {"first": measure(args.folder, 0), "cached": measure(args.folder, 0)}
    for shot in sorted((args.folder / "data").glob("class0/*/*"))[:100]:
        os.utime(shot)
    results["100 changed"] = measure(args.folder, 0)
    results["with workers"] = measure(args.folder, args.workers)
    for name, found in results.items():
        print(name, {key: round(value, 2) for key, value in found.items()})
    kept = (
        results["first"]["start_s"] <= FIRST_S
        and results["cached"]["start_s"] <= CACHED_S
        and results["with workers"].get("workers_mb", 0.0) <= MEMORY_MB
    )
    print("limits kept" if kept else f"limits missed: {FIRST_S} s first, {CACHED_S} s cached, {MEMORY_MB} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
