"""Kill runs again and again and compare what they end with to a run that never was killed.

    python tests/stress/kill_and_resume.py [--kills 20] [--seed 0] [--tasks STD_CL CoLo-CAM TCAM F_CL] [--folder DIR]

Each run is a process of its own that dies by SIGKILL: in the middle of a chosen kind of work (data loading, CAM
store, half-written checkpoint or log line, renaming, keeping the best weights, optimizer, validation, test) or
after a random time. The same command is started again until it has died ``--kills`` times and then finished.
Weights, optimizer, CAM store, results and logged metrics must then be the same bits as those of one run without
a kill. Prints one line per kill; exit code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torchvision  # noqa: F401  (1.8 s, which each forked run would need again)

import dlib.learning.checkpoints as checkpoints
import dlib.learning.pictures as pictures
import dlib.utils.tensors as tensors
from dlib.cams.store import CamStore
from dlib.datasets import _video_ds_ytov1_0 as v1
from dlib.datasets.build.folds import write_folds
from dlib.datasets.synthetic.write import Plan, generate
from dlib.datasets.video_dataset import VideoDataset
from dlib.metrics import BoxEvaluator
from dlib.utils.logging import EventLog
from main import main

DATASET, ENCODER = "tiny", "mobilenet_v2"
TEXTS = ("passed", "config_model", "performance_log", "thresholds")
VOLATILE = {
    "time",
    "seconds",
    "images_per_s",
    "shares",
    "times",
    "peak_memory_mib",
    "environment",
    "command",
    "elapsed",
    "images",
}


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, number: int) -> None:
    """Die at the ``number``-th call of ``owner.name``."""
    original, calls = getattr(owner, name), iter(range(1, 10**9))

    def called(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == number:
            die()
        return original(*args, **kwargs)

    setattr(owner, name, called)


def at_half_a_checkpoint(number: int) -> None:
    original, calls = torch.save, iter(range(1, 10**9))

    def save(value: Any, stream: Any) -> None:
        original(value, stream)
        if not isinstance(stream, Path) and next(calls) == number:
            stream.truncate(stream.tell() // 2)
            stream.flush()
            die()

    torch.save = save


def at_half_a_line(number: int) -> None:
    original, calls = EventLog.write, iter(range(1, 10**9))

    def write(self: EventLog, event: str, **values: Any) -> None:
        original(self, event, **values)
        if next(calls) == number:
            content = self._path.read_bytes()
            self._path.write_bytes(content[:-20])
            die()

    EventLog.write = write


def after(seconds: float) -> None:
    threading.Timer(seconds, die).start()


# What dies where, and how often it is called in a whole run at most (the call is drawn up to that).
PLACES: dict[str, tuple[Callable[[int], None], int]] = {
    "data loader": (lambda n: at_call(VideoDataset, "load", n), 20),
    "CAM store": (lambda n: at_call(CamStore, "write", n), 48),
    "half a checkpoint": (at_half_a_checkpoint, 12),
    "before a file is written": (lambda n: at_call(tensors, "write_atomically", n), 10),
    "rename": (lambda n: at_call(Path, "replace", n), 20),
    "best weights": (lambda n: at_call(checkpoints.CheckpointFolder, "keep_best", n), 3),
    "pruning": (lambda n: at_call(checkpoints.CheckpointFolder, "_prune", n), 6),
    "optimizer": (lambda n: at_call(torch.optim.SGD, "step", n), 6),
    "validation or test": (lambda n: at_call(BoxEvaluator, "update", n), 15),
    "half a log line": (at_half_a_line, 12),
}


def attempt(flags: list[str], log: Path, plant: Callable[[], None] | None) -> int:
    """Run main.py with ``flags`` in a forked process; its exit code, negative for a signal. No curves are drawn: they
    would need most of the time.
    """
    pictures.write_curves = lambda folder: None
    child = os.fork()
    if child == 0:
        code = 3
        with log.open("a") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            try:
                if plant:
                    plant()
                code = main(flags)
            except BaseException:
                import traceback

                traceback.print_exc()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def command(folder: Path, data: Path, task: str) -> list[str]:
    values: dict[str, Any] = {
        "task": task,
        "dataset": DATASET,
        "data_root": data / "datasets",
        "metadata_root": data / "folds",
        "exps_root": folder / "exps",
        "pretrained_root": data / "pretrained",
        "cams_root": folder / "data_cams",
        "encoder_name": ENCODER,
        "encoder_weights": None,
        "crop_size": 32,
        "resize_size": 40,
        "batch_size": 4,
        "max_epochs": 2,
        "num_workers": 0,
        "report": False,
        "vizu_n": 0,
        "checkpoint_save": 2,
        "ema_decay": 0.9,
        "opt__lr": 0.01,
    }
    if task == "CoLo-CAM":
        on = ("sl_clc", "crf_clc", "rgb_jcrf_clc", "max_sizepos_clc", "size_bg_g_fg_clc", "empty_out_bb_clc")
        values |= dict.fromkeys(on, True)
        values |= {"sample_n_from_seq": 2, "sl_clc_epoch_switch_to_sl": 2, "sl_clc_max_p": 0.7}
        values |= {"rgb_jcrf_clc_lambda": 9.0, "rgb_jcrf_clc_lambda_style": "adaptive", "batch_size": 8}
    if task == "TCAM":
        on = ("sl_tc", "crf_tc", "rgb_jcrf_tc", "max_sizepos_tc", "sizefg_tmp_tc", "size_bg_g_fg_tc")
        values |= dict.fromkeys(on, True)
        values |= {"sl_tc_knn": 1, "sl_tc_knn_mode": "before-after", "sl_tc_knn_t": 5.0, "knn_tc": 1}
        values |= {"sl_tc_max_p": 0.7, "sl_tc_epoch_switch_to_sl": 2, "batch_size": 8}
    if task == "F_CL":
        values |= dict.fromkeys(("sl_fc", "crf_fc", "max_sizepos_fc", "entropy_fc"), True)
        values |= {"sl_fg_erode_k": 3}
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if str(k).split("/")[0] not in VOLATILE}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def differences(a: Any, b: Any, where: str) -> list[str]:
    """Paths at which two trees of dicts, lists, tensors and plain values differ by a single bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [where]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [found for key in a for found in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} entries"]
        return [
            f for i, pair in enumerate(zip(a, b, strict=True)) for f in differences(*pair, f"{where}/{i}")
        ]
    return [] if a == b or (a != a and b != b) else [f"{where}: {a!r} and {b!r}"]


def content(folder: Path) -> dict[str, Any]:
    """Everything under ``folder`` that must be the same after kills, times taken out."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".pth", ".pt"):
            found[name] = without_times(torch.load(path, weights_only=True))
        elif path.name == "results.json":
            found[name] = without_times(json.loads(path.read_text()))
        elif path.name == "log.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            kept = [e for e in lines if e["event"] not in ("start", "resume", "end")]
            found[name] = without_times(kept)
        elif path.is_file() and path.name.startswith(TEXTS):
            found[name] = path.read_text()
        elif path.suffix == ".tmp" and "data_cams" not in name:
            found[name] = "left over"
    return found


def prepare(folder: Path) -> None:
    data = folder / "datasets" / DATASET
    generate(data, Plan(classes=3, videos=4, shots=2, frames=4, size=48, seed=5))
    classes, splits, _ = v1.build(data, data, True, 1)
    write_folds(folder / "folds" / DATASET, classes, splits)


def promote(folder: Path, pretrained: Path) -> None:
    for tag in folder.rglob("*-cp_best_*-boxv2_False"):
        shutil.copytree(tag, pretrained / tag.name)


def torture(
    task: str, data: Path, folder: Path, kills: int, rng: random.Random, truth: dict, took: float
) -> int:
    """Start ``task`` until it has died ``kills`` times; check every finished experiment against ``truth``."""
    died = rounds = 0
    place = folder / f"{task}-killed"
    while died < kills or rounds == 0 or (place / "exps").exists():
        plant, label = None, "nothing"
        if died < kills:
            label = rng.choice([*PLACES, "after a time"])
            if label == "after a time":
                seconds = rng.uniform(0.05, took)
                plant, label = (lambda s=seconds: after(s)), f"after {seconds:.2f}s"
            else:
                make, most = PLACES[label]
                number = rng.randint(1, most)
                plant, label = (lambda m=make, n=number: m(n)), f"{label}, call {number}"
        code = attempt(command(place, data, task), folder / f"{task}.log", plant)
        if code == -signal.SIGKILL:
            died += 1
            print(f"{task}: killed ({died}) in {label}", flush=True)
            continue
        if code != 0:
            print(f"{task}: exit code {code} with {label}; see {folder / f'{task}.log'}")
            return 1
        rounds += 1
        wrong = differences(truth, content(place), task)
        if wrong:
            print(f"{task}: {len(wrong)} differences after kills: {wrong[:5]}; kept in {folder}")
            return 1
        print(f"{task}: finished after {died} kills, every bit as without", flush=True)
        shutil.rmtree(place)
    return 0


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="+", default=["STD_CL", "CoLo-CAM"])
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="kill-", dir=args.folder))
    rng = random.Random(args.seed)
    prepare(folder)
    for task in dict.fromkeys(("STD_CL", *args.tasks)):  # the others build on the classifier
        place, begin = folder / f"{task}-whole", time.perf_counter()
        if attempt(command(place, folder, task), folder / f"{task}.log", None) != 0:
            print(f"{task} does not even run: see {folder / f'{task}.log'}")
            return 1
        took = time.perf_counter() - begin
        if task == "STD_CL":
            promote(place, folder / "pretrained")
        if task in args.tasks and torture(task, folder, folder, args.kills, rng, content(place), took):
            return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
