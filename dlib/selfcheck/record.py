"""What the self check found, as JSON and as Markdown."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dlib.utils.environment import describe
from dlib.utils.errors import UserError

Record = dict[str, Any]


def machine(device: torch.device) -> dict[str, str]:
    """Versions, processor and card, and the instruction sets that PyTorch sees."""
    found = describe(device)
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    found["processor"] = platform.machine()
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found["card memory"] = f"{card.total_memory / 2**30:.0f} GiB"
        found["compute capability"] = f"{card.major}.{card.minor}"
        found["CUDA"] = str(torch.version.cuda)
    return found


def as_text(record: Record) -> str:
    """The whole record as Markdown, for an issue."""
    lines = [
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in record["machine"].items()),
        "",
    ]
    lines += ["| check | difference | allowed | |", "|---|--:|--:|---|"]
    for check in record["checks"]:
        found = "–" if check["found"] is None else f"{check['found']:.2g}"
        verdict = "ok" if check["passed"] else "**differs**"
        note = f" {check['note']}" if check["note"] else ""
        lines.append(f"| {check['name']} | {found} | {check['allowed']:.2g} | {verdict}{note} |")
    if record["steps"]:
        lines += ["", f"{record['size']}:", ""]
        lines += [
            "| training step | ms | images/s | of a plain step | peak MiB | time |",
            "|---|--:|--:|--:|--:|---|",
        ]
        for step in record["steps"]:
            parts = ", ".join(f"{part} {share:.0f} %" for part, share in step["shares"].items())
            ratio = "" if step["ratio"] is None else f"{step['ratio']:.2f}×"
            lines.append(
                f"| {step['name']} | {step['ms']:.1f} | {step['images_per_s']:.0f} | {ratio} | "
                f"{step['peak_mib']:.0f} | {parts} |"
            )
        lines += [
            "",
            "| | |",
            "|---|--:|",
            *(f"| {name} | {value} |" for name, value in record["numbers"].items()),
        ]
    return "\n".join(lines)


def table(records: Sequence[Record]) -> str:
    """One line for each machine, for doc/performance.md."""
    lines = [
        "| machine | torch | network, batch | STD_CL images/s | CoLo-CAM images/s | of a plain step | CRF ms "
        "| checks |",
        "|---|---|---|--:|--:|--:|--:|---|",
    ]
    for record in records:
        about, steps = record["machine"], {step["name"]: step for step in record["steps"]}
        best = " --amp True" if "CoLo-CAM --amp True" in steps else ""
        classifier, method = steps.get(f"STD_CL{best}"), steps.get(f"CoLo-CAM{best}")
        if classifier is None or method is None:
            continue
        failed = [check["name"] for check in record["checks"] if not check["passed"]]
        crf = record["crf_ms"]["both CRFs"]
        verdict = "all equal" if not failed else f"differs: {', '.join(failed)}"
        lines.append(
            f"| {about['device']} | {about['torch']} | {record['size']}{best.replace(' --amp True', ', amp')} | "
            f"{classifier['images_per_s']:.0f} | {method['images_per_s']:.0f} | {method['ratio']:.2f}× | {crf:.1f} | "
            f"{verdict} |"
        )
    return "\n".join(lines)


def read_records(folder: Path) -> list[Record]:
    """The records in a folder, by file name. Raises UserError for one that cannot be read, naming it."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                {key: record[key] for key in ("machine", "checks", "size", "steps", "crf_ms", "numbers")}
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no record of dlib.selfcheck ({error})") from error
    if not found:
        raise UserError(f"{folder}: no records (*.json) here")
    return found
