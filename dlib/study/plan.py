"""The runs of a study file, all checked before the first run starts."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dlib.configure.config import Config, command_line_values, compose_yaml, convert
from dlib.configure.constants import COLOCAM, METHODS, STD_CL, TASKS, method_name
from dlib.configure.flag import flags_of, shorten
from dlib.configure.table import FLAGS, GROUPS_OF_MAP_TASKS
from dlib.utils.errors import UsageError

Flags = dict[str, Any]

_KEYS = ("base", "classifier", "seeds", "variants", "grid")
# The study sets these itself.
_OWN = {
    "MYSEED",
    "exp_id",
    "exps_root",
    "cams_root",
    "debug_subfolder",
    "fd_exp",
    "split",
    "config",
    "dry_run",
}
# Flags that must be the same for a variant and the classifier that it builds on.
_SHARED = ("dataset", "encoder_name", "method", "spatial_pooling", "box_v2_metric", "support_background")
_NOT_OF_CLASSIFIERS = {flag.name for group in GROUPS_OF_MAP_TASKS for flag in flags_of(group)}
_NOT_OF_CLASSIFIERS |= {"task", "arch", "freeze_cl", "freeze_decoder_bn", "eval_only"}
# The result of a study is a table; pictures of each run would cost time.
_DEFAULTS: Flags = {"vizu_n": 0, "report": False}


@dataclass(frozen=True)
class Variant:
    """One row of the table. ``classifier`` names the classifier that it builds on; empty: none."""

    name: str
    flags: Flags
    classifier: str = ""

    @property
    def evaluates_only(self) -> bool:
        """Whether it only reads its classifier's CAMs out with its own method, without training."""
        return bool(self.flags.get("eval_only"))


@dataclass(frozen=True)
class Study:
    """Variants × seeds, and the classifiers that they share, by name."""

    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    classifiers: dict[str, Variant]


def read_study(path: Path, more: Sequence[str] = (), only: Sequence[str] = ()) -> Study:
    """The study in a YAML file.

    Args:
        more: flags of the command line, which win over all flags of the file.
        only: names of the variants to keep; none: all.
    Raises UsageError with file and line for unknown keys, unknown flags and wrong values, and with the variant's
    name for flags that do not fit each other.
    """
    sections = _mapping(compose_yaml(path, str(path)), path, _KEYS)
    base, own = (_flags(sections.get(key), path) for key in ("base", "classifier"))
    forced, has_classifier = command_line_values(more), "classifier" in sections
    for name in forced:
        _refuse_own(name)
    named = {name: _flags(node, path) for name, node in _mapping(sections.get("variants"), path).items()}
    if not named and "grid" not in sections:
        raise UsageError(f"{path}: needs 'variants', 'grid' or both")
    only = [name if name in named else method_name(name) for name in only]
    if unknown := [name for name in only if name not in named]:
        raise UsageError(f"{path}: no variant {unknown[0]!r}; it has {', '.join(named)}")
    named = {name: flags for name, flags in named.items() if name in only or not only}
    variants, classifiers = [], dict[str, Variant]()
    for (name, flags), point in itertools.product(
        (named or {"": {}}).items(), _grid(sections.get("grid"), path)
    ):
        title = " ".join([name] * bool(name) + [f"{flag}={value}" for flag, value in point.items()])
        changed = {**flags, **point, **forced}
        complete, needed = {**_DEFAULTS, **base, **changed}, ""
        if complete.get("eval_only"):
            complete = _of_classifier(complete) | {"eval_only": True}
        complete.setdefault("task", COLOCAM if has_classifier and not complete.get("eval_only") else STD_CL)
        if has_classifier and (TASKS[complete["task"]].builds_on_classifier or complete.get("eval_only")):
            needed, settings = _classifier({**_DEFAULTS, **base, **own, **forced}, changed, complete)
            classifiers[needed] = Variant(needed, settings)
            _check(settings, f"{path}: {needed} of {title!r}")
        _check(complete | ({"fd_exp": needed} if complete.get("eval_only") else {}), f"{path}: {title!r}")
        variants.append(Variant(title, complete, needed))
    return Study(_seeds(sections.get("seeds"), path), tuple(variants), classifiers)


def folder_name(title: str) -> str:
    """A name for files: at most 50 plain characters, different for different titles."""
    plain = re.sub(r"[^A-Za-z0-9._=+-]+", "_", title)
    if plain == title and len(plain) <= 50 and not plain.startswith("."):
        return plain
    return f"{plain[:40].lstrip('.')}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"


def _classifier(settings: Flags, changed: Flags, complete: Flags) -> tuple[str, Flags]:
    """Name and flags of the classifier for a variant; variants that only read it out share one per pooling head."""
    settings = _of_classifier(settings) | {"task": STD_CL}
    needed = {name: changed[name] for name in _SHARED if name in changed}
    method, wanted = (flags.get("method", FLAGS["method"].default) for flags in (settings, complete))
    if complete.get("eval_only") and METHODS[method].pooling == METHODS[wanted].pooling:
        needed.pop("method", None)
    needed = {
        name: value for name, value in needed.items() if settings.get(name, FLAGS[name].default) != value
    }
    return "-".join(["classifier", *(str(value) for value in needed.values())]), {**settings, **needed}


def _of_classifier(flags: Flags) -> Flags:
    return {name: value for name, value in flags.items() if name not in _NOT_OF_CLASSIFIERS}


def _check(flags: Flags, what: str) -> None:
    try:
        Config.from_values(flags)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None


def _mapping(node: yaml.Node | None, path: Path, allowed: Sequence[str] = ()) -> dict[str, yaml.Node]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return {}
    if not isinstance(node, yaml.MappingNode):
        raise UsageError(f"{_at(node, path)}expected lines of the form 'name: …'")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = str(key.value)
        if name in found or (allowed and name not in allowed):
            wrong = "is here twice" if name in found else f"is unknown; expected one of {', '.join(allowed)}"
            raise UsageError(f"{_at(key, path)}key {shorten(name)!r} {wrong}")
        found[name] = value
    return found


def _flags(node: yaml.Node | None, path: Path) -> Flags:
    return {name: _value(name, value, path) for name, value in _mapping(node, path).items()}


def _grid(node: yaml.Node | None, path: Path) -> list[Flags]:
    """Every point of the grid; one empty point where there is no grid."""
    axes = []
    for name, values in _mapping(node, path).items():
        if not isinstance(values, yaml.SequenceNode) or not values.value:
            raise UsageError(
                f"{_at(values, path)}--{shorten(name)}: expected a list of values, such as [1, 2]"
            )
        axes.append([(name, _value(name, value, path)) for value in values.value])
    return [dict(point) for point in itertools.product(*axes)]


def _value(name: str, node: yaml.Node, path: Path) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        raise UsageError(f"{_at(node, path)}--{shorten(name)}: expected one value")
    _refuse_own(name, _at(node, path))
    return convert(name, node.value, _at(node, path))


def _refuse_own(name: str, source: str = "") -> None:
    if name in _OWN:
        raise UsageError(f"{source}--{name}: the study sets it itself; leave it out")


def _seeds(node: yaml.Node | None, path: Path) -> tuple[int, ...]:
    if node is None:
        return (0,)
    texts = [str(item.value) for item in node.value] if isinstance(node, yaml.SequenceNode) else []
    if not texts or len(set(texts)) < len(texts) or not all(re.fullmatch("[0-9]{1,18}", t) for t in texts):
        raise UsageError(f"{_at(node, path)}seeds: expected different integers >= 0, such as [0, 1, 2]")
    return tuple(int(text) for text in texts)


def _at(node: yaml.Node, path: Path) -> str:
    return f"{path}, line {node.start_mark.line + 1}: "
