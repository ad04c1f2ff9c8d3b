"""Does a long run grow? 300 training steps and 5 evaluations, after a warm-up, may add 20 MiB at most.

    python tests/stress/memory.py [--steps 300] [--limit 20]

Runs both tasks in this process on a tiny dataset, without data loading processes, and prints resident memory
(what is freed is given back to the system before each look). Exit code 1 when a task grows by more than the limit.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from kill_and_resume import command, prepare, promote

import dlib.learning.validation as validation
from dlib.learning.trainer import Trainer
from main import main

WARM_UP_STEPS = 60


def resident_mib() -> float:
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def watch(steps: int) -> list[tuple[str, float]]:
    """Let steps and evaluations note the memory; the list fills while a run goes on."""
    seen: list[tuple[str, float]] = []
    train, evaluate = Trainer.train_epoch, validation.evaluate

    def train_epoch(self, epoch):  # type: ignore[no-untyped-def]
        for step in train(self, epoch):
            if step == WARM_UP_STEPS or (step > WARM_UP_STEPS and step % 60 == 0):
                seen.append((f"step {step}", resident_mib()))
            yield step

    def evaluation(*args, **kwargs):  # type: ignore[no-untyped-def]
        report = evaluate(*args, **kwargs)
        if any(label.startswith("step") for label, _ in seen):
            seen.append(("evaluation", resident_mib()))
        return report

    Trainer.train_epoch, validation.evaluate = train_epoch, evaluation  # type: ignore[method-assign]
    return seen


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--limit", type=float, default=20.0, help="MiB")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="memory-"))
    prepare(folder)
    seen = watch(args.steps)
    code = 0
    for task, more in (("STD_CL", ["--batch_size", "1"]), ("CoLo-CAM", ["--batch_size", "2"])):
        place = folder / task
        flags = command(place, folder, task)
        promoted = main([*flags, "--max_epochs", "1"]) if task == "STD_CL" else 0
        if task == "STD_CL":
            promote(place, folder / "pretrained")
        epochs = (WARM_UP_STEPS + args.steps) // 12 + 1  # 12 shots: one step each
        done = main(
            [*flags, *more, "--exp_id", "long", "--max_epochs", str(epochs), "--checkpoint_save", "10000"]
        )
        grown = max(mib for _, mib in seen[1:]) - seen[0][1]
        last = seen[-1][1] - seen[0][1]
        steps = sum(label.startswith("step") for label, _ in seen[1:]) * 60
        evaluations = sum(label == "evaluation" for label, _ in seen)
        print(
            f"{task}: {steps} steps and {evaluations} evaluations after {seen[0][0]} at {seen[0][1]:.0f} MiB: "
            f"{last:+.1f} MiB at the end, {grown:+.1f} MiB at most"
        )
        if promoted or done or last > args.limit:
            code = 1
        seen.clear()
    shutil.rmtree(folder)
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
