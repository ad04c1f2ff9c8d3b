"""What devices differ in, besides speed."""

from __future__ import annotations

import torch


def host_waits(device: torch.device) -> bool:
    """Whether the host waits for the device when it reads a value there, or makes a shape that depends on values."""
    return device.type != "cpu"


def finish(device: torch.device) -> None:
    """Wait until the device has done all that is queued there."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
