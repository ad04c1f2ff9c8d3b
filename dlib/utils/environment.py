"""What a run ran on: versions, device, git revision."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "opencv-python-headless",
    "pillow",
    "scikit-image",
)


def describe(device: torch.device) -> dict[str, str]:
    """Versions, device and revision as flat text, for the file beside ``config.yml`` and for the report."""
    found = {"python": platform.python_version(), "system": platform.platform()}
    for package in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    found["device"] = device_name(device)
    found["threads"] = str(torch.get_num_threads())
    found["revision"] = revision()
    return found


def device_name(device: torch.device) -> str:
    """The card's name, or the CPU's with its count of cores."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {_cpu_model()} ({os.cpu_count()} cores)"


def revision() -> str:
    """The git revision of this program, with "+" when files were changed since; "unknown" outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes; 0 where the system does not say."""
    if resource is None:
        return 0
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def most_memory(device: torch.device) -> int:
    """The most memory held so far on the card, or by this process if ``device`` is the CPU, in bytes."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def _cpu_model() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()
