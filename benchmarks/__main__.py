"""Runs all benchmarks, or the named ones, and prints one Markdown table for each.

python -m benchmarks            everything
python -m benchmarks filters    one of them
python -m benchmarks --quick    few rounds
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
from pathlib import Path

import torch

from benchmarks import MODULES, Row


def machine() -> str:
    """Processor, processors in use, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    used = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{', '.join(sorted(names)) or platform.processor()}, {used} processors, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )


def line(row: Row) -> str:
    """A row of the table."""
    words = [str(value) for key, value in row.items() if key not in ("plain_ms", "ours_ms", "ratio", "note")]
    numbers = [
        f"{row[key]:.2f}{unit}" if isinstance(row.get(key), float) else ""
        for key, unit in (("plain_ms", ""), ("ours_ms", ""), ("ratio", "×"))
    ]
    return f"| {' | '.join([', '.join(words), *numbers, str(row.get('note', ''))])} |"


def main() -> None:
    """Entry of `python -m benchmarks`."""
    there = [name for name in MODULES if importlib.util.find_spec(f"benchmarks.{name}")]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Speed against plain implementations."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(there)}; default: all")
    parser.add_argument("--quick", action="store_true", help="3 rounds of everything")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(there))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(there)}")
    print(machine())
    for name in options.names or there:
        print(f"\n## {name}\n\n| what | plain ms | ours ms | ratio | note |\n|---|--:|--:|--:|---|")
        run = importlib.import_module(f"benchmarks.{name}").run
        for row in run(rounds=3) if options.quick else run():
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
