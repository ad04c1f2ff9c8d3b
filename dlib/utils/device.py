"""What devices differ in, besides speed."""

from __future__ import annotations

import torch


def host_waits(device: torch.device) -> bool:
    """Whether the host waits for the device when it reads a value there, or makes a shape that depends on values."""
    return device.type != "cpu"
