"""Objects that tables and packages name without importing them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def load_object(path: str) -> Any:
    """What ``module:Name`` names; the module is imported now."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def first_use(package: str, modules: Mapping[str, str], hint: str = "") -> Callable[[str], Any]:
    """A package's ``__getattr__``: imports each name on its first use, from the module of this package that has it.

    ``hint`` ends the message about a name that is in none.
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}{hint}")
        return load_object(f"{package}.{modules[name]}:{name}")

    return find
