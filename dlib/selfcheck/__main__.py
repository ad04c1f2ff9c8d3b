"""``python -m dlib.selfcheck``: compares this machine's results with the CPU's, and measures its speed.

Takes two minutes on a card, about as long on a CPU. Prints a table to paste into an issue, and writes the same as JSON.
Exits with 1 if a result differs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dlib.commands import CommandParser, command, loading
from dlib.commands.door import say
from dlib.utils.errors import UserError
from dlib.utils.files import write_text

if TYPE_CHECKING:
    import torch

    from dlib.selfcheck.record import Record


def parser() -> CommandParser:
    p = CommandParser("selfcheck", __doc__)
    p.add_argument(
        "--device",
        choices=("auto", "cuda", "cpu"),
        default="auto",
        help="what to check (auto: a card if there is one)",
    )
    p.add_argument(
        "--out", type=Path, default=Path("selfcheck.json"), help="file of the record (selfcheck.json)"
    )
    p.add_argument("--checks_only", action="store_true", help="compare results, do not measure speed")
    p.add_argument(
        "--compile", action="store_true", help="measure torch.compile too; it needs minutes to compile"
    )
    p.add_argument("--table", type=Path, help="check nothing; print one line for each record in this folder")
    return p


@command()
def main(arguments: Sequence[str]) -> None:
    options = parser().read(arguments)
    with loading():
        from dlib.selfcheck import record
        from dlib.utils.distributed import pick_device

    if options.table is not None:
        print(record.table(record.read_records(options.table)))
        return
    device = pick_device(options.device, None)
    found = run(device, options.checks_only, options.compile)
    write_text(options.out, json.dumps(found, indent=1) + "\n")
    print(record.as_text(found))
    print(f"\nrecord: {options.out}")
    failed = [check["name"] for check in found["checks"] if not check["passed"]]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(found['checks'])} results differ on this machine: {'; '.join(failed)}"
        )


def run(device: torch.device, checks_only: bool, compiled: bool) -> Record:
    """Everything that ``device`` is asked; a line on the error stream says what is being done."""
    from dlib.selfcheck import agreement, record, speed
    from dlib.selfcheck.setting import TASKS
    from dlib.utils.reproducibility import use_deterministic_algorithms

    start = time.perf_counter()
    use_deterministic_algorithms(False)
    checks = []
    for check in agreement.run_checks(device):
        checks.append(check.to_dict())
        say(f"{check.name}: {'ok' if check.passed else 'differs'}")
    size = speed.size_for(device)
    found: Record = {
        "machine": record.machine(device),
        "checks": checks,
        "size": f"{size.encoder}, batch {size.batch}, {size.side}²",
        "steps": [],
        "crf_ms": {},
        "numbers": {},
    }
    if not checks_only:
        say("measuring speed")
        found["crf_ms"] = speed.crf_ms(device)
        found["steps"] = [asdict(step) for step in speed.step_speeds(device, compiled)]
        numbers = {f"{name}, value and gradient, ms": f"{ms:.2f}" for name, ms in found["crf_ms"].items()}
        numbers["evaluation, images/s"] = f"{speed.evaluation_images_per_s(device):.0f}"
        numbers["reading a JPEG of 480 × 360 in one thread, ms"] = f"{speed.reading_ms():.2f}"
        for name in TASKS:
            waits = speed.waits_of_a_step(device, name)
            if waits is not None:
                numbers[f"waits for the card in a step of {name}"] = str(waits)
        found["numbers"] = numbers
    found["numbers"]["seconds of this check"] = f"{time.perf_counter() - start:.0f}"
    return found


if __name__ == "__main__":
    sys.exit(main())
