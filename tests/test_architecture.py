"""Imports go down only, and no two modules import each other: doc/architecture.md's floors, read off the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Packages and single modules of dlib, from the lowest floor to the highest. A module imports from packages of its own
# floor and of lower ones.
FLOORS = (
    {"utils", "configure", "commands"},
    {"crf", "encoders", "poolings"},
    {"models", "cams", "losses", "datasets", "metrics"},
    {"tasks"},
    {"learning", "localizer", "visualization"},
    {
        "study",
        "compare",
        "export",
        "figure",
        "localize",
        "pipeline",
        "promote",
        "score_maps",
        "selfcheck",
        "status",
        "train",
    },
)


def modules() -> dict[str, Path]:
    """Every module of dlib by its name."""
    found = {}
    for path in sorted((ROOT / "dlib").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "crfwrapper" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def floor(module: str) -> int:
    package = module.split(".")[1]
    (level,) = (level for level, packages in enumerate(FLOORS) if package in packages)
    return level


def imports(name: str, path: Path, known: dict[str, Path], anywhere: bool) -> Iterator[str]:
    """Modules of dlib that ``name`` imports; ``anywhere``: inside functions and for types too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if anywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (member if member in known else node.module for member in members)


def test_imports_go_down_only() -> None:
    known = modules()
    upward = [
        f"{name} imports {other}"
        for name, path in known.items()
        if name != "dlib"
        for other in imports(name, path, known, anywhere=True)
        if other != "dlib" and floor(other) > floor(name)
    ]
    assert upward == []


def test_no_circles() -> None:
    known = modules()
    graph = {name: set(imports(name, path, known, anywhere=False)) - {name} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, road: tuple[str, ...]) -> None:
        assert name not in road, " -> ".join((*road[road.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*road, name))
            done.add(name)

    for name in known:
        visit(name, ())
