"""Objects that tables name without importing them."""

from __future__ import annotations

import importlib
from typing import Any


def load_object(path: str) -> Any:
    """What ``module:Name`` names; the module is imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
