"""A run on a disk that fills up: one clear line, every earlier checkpoint intact, and it goes on when there is room.

    sudo python tests/stress/full_disk.py [--mib 260]

Mounts a small tmpfs (root is needed for that), runs until it is full, makes room, and starts the same command
again. Exit code 1 when something of it does not hold.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from kill_and_resume import attempt, command, prepare

from dlib.utils.tensors import load_tensors


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=260, help="size of the disk")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="full-"))
    disk, log = folder / "disk", folder / "log"
    disk.mkdir()
    prepare(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={args.mib}m", "tmpfs", str(disk)], check=True)
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(b"x" * (60 << 20))
        flags = [*command(disk, folder, "STD_CL"), "--keep_last_n_checkpoints", "9"]
        code = attempt(flags, log, None)
        lines = log.read_text().splitlines()
        errors = [line for line in lines if line.startswith("error")]
        print(f"full disk: exit code {code}: {errors}")
        kept = sorted(disk.rglob("*_checkpoint.pth"))
        intact = sum(isinstance(load_tensors(path), dict) for path in kept)
        print(f"{intact} of {len(kept)} checkpoints are intact")
        if code != 1 or len(errors) != 1 or "No space left" not in errors[0] or intact == 0:
            return 1
        if "Traceback" in log.read_text() or list(disk.rglob("*.tmp")):
            return 1
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=2g", str(disk)], check=True)
        code = attempt(flags, log, None)
        print(f"with room again: exit code {code}, resumed: {'resuming from' in log.read_text()}")
        return code
    finally:
        subprocess.run(["umount", str(disk)], check=True)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
