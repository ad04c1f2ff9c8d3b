"""Would the tests notice? Small changes of the code ("mutants"), each run against the tests of its own room.

    python -m tests.stress.mutation                                      # 40 mutants of every module
    python -m tests.stress.mutation --module dlib/cams/roi.py --sample 0 # all mutants of one
    python -m tests.stress.mutation --module dlib/cams/roi.py --line 73  # those of one line
    python -m tests.stress.mutation --room crf --only-file tests/test_crf_losses.py

No file changes. A room's tests are collected and traced once; each mutant is then a forked process in which the
functions have the mutant's code, and which runs the tests that reach its line, the fastest first, up to the first
failure. Mutants outside of functions (constants, defaults) and of Triton's kernels are imported anew instead.
Tests that train a whole run are left out, as are those slower than ``--longest``: a room's small tests must notice.
Survivors are printed with their line. Those that change no behaviour are named in doc/robustness.md. POSIX only.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import importlib.abc
import importlib.util
import json
import linecache
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

from tests.stress.forks import (
    HERE,
    KILLED,
    SURVIVED,
    collect_flags,
    failed,
    fast_random_cases,
    forked,
    pairs,
    run_jobs,
    start_fork,
    trace,
)
from tests.stress.mutants import Mutant, codes_of, mutants_of

Job = tuple[tuple[str, Mutant], Callable[[], int], float]
# Each room: its modules, and the tests that belong to it.
ROOMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "losses": (("dlib/losses/*.py",), ("tests/test_losses_*.py",)),
    "cams": (
        ("dlib/cams/*.py",),
        (
            "tests/test_cams_*.py",
            "tests/test_fcam_region.py",
            "tests/test_map_refine.py",
            "tests/test_tcam_*.py",
        ),
    ),
    "metrics": (("dlib/metrics/*.py",), ("tests/test_metrics_*.py", "tests/test_localization_result.py")),
    "crf": (("dlib/crf/*.py",), ("tests/test_crf_*.py",)),
    "datasets": (
        ("dlib/datasets/sampling.py", "dlib/datasets/loaders.py"),
        ("tests/test_datasets_sampling.py", "tests/test_datasets_loaders.py", "tests/test_min_steps.py"),
    ),
}
# Fixtures of tests that train a whole run.
WHOLE_RUNS = {"trained", "promoted", "workplace", "run_main"}
NAMES_OF_KERNELS = "triton"  # Triton compiles the source itself


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--room", choices=ROOMS, help="one room instead of all")
    parser.add_argument("--module", nargs="+", help="these files instead of all")
    parser.add_argument("--line", type=int, nargs="+", help="only mutants of these lines")
    parser.add_argument("--only-file", nargs="+", help="these test files instead of the room's")
    parser.add_argument("--sample", type=int, default=40, help="mutants of each module, 0 for all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--longest", type=float, default=2, help="CPU seconds of the slowest test that is used"
    )
    parser.add_argument(
        "--traces", help="file that keeps what a room's tests reach; only new tests are traced"
    )
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args(arguments)
    os.chdir(HERE)
    fast_random_cases()
    for name, (modules, tests) in ROOMS.items():
        files = [str(path.relative_to(HERE)) for glob in modules for path in sorted(HERE.glob(glob))]
        chosen = [file for file in files if args.module is None or file in args.module]
        if chosen and args.room in (None, name):
            found = [str(path) for glob in args.only_file or tests for path in sorted(HERE.glob(glob))]
            Room(chosen, files, found, args).work()
    return 0


class Room:
    """The mutants of some modules and the tests that must notice them."""

    def __init__(
        self, modules: list[str], traced: list[str], tests: list[str], args: argparse.Namespace
    ) -> None:
        self.traced, self.tests, self.args = traced, tests, args
        self.trees = {module: ast.parse((HERE / module).read_text()) for module in modules}
        self.mutants = {module: self._drawn(module, tree) for module, tree in self.trees.items()}
        self.folder = Path(tempfile.mkdtemp(prefix="mutation"))

    def _drawn(self, module: str, tree: ast.Module) -> list[Mutant]:
        mutants = [
            mutant for mutant in mutants_of(tree) if not self.args.line or mutant.lines[0] in self.args.line
        ]
        if self.args.sample and len(mutants) > self.args.sample:
            mutants = random.Random(f"{self.args.seed} {module}").sample(mutants, self.args.sample)
        return sorted(mutants, key=lambda mutant: mutant.lines)

    def work(self) -> None:
        try:
            # A process that has collected the tests makes the mutants of functions, this one all others.
            forked(lambda: self._pytest([_InFunctions(self)]))
            traced = self.folder / "traced.json"
            if not traced.exists():
                sys.exit("error: the tests could not be collected, or fail without a mutant")
            reached = json.loads(traced.read_text())
            survivors = json.loads((self.folder / "survivors.json").read_text())
            self._imported(reached, survivors)
            for module, mutants in self.mutants.items():
                if mutants:
                    killed = len(mutants) - len(survivors[module])
                    print(f"{module}: {len(mutants)} mutants, {killed} killed", flush=True)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _pytest(self, plugins: list[Any]) -> int:
        return int(pytest.main([*collect_flags(self.folder), *self.tests], plugins))

    def _imported(self, reached: dict[str, Any], survivors: dict[str, list[str]]) -> None:
        jobs = []
        for module, tree in self.trees.items():
            ids = [
                test
                for test, seen in reached.items()
                if module in seen["lines"] and seen["seconds"] <= self.args.longest
            ]
            ids.sort(key=lambda test: reached[test]["seconds"])
            mutants = [mutant for mutant in self.mutants[module] if not in_place(module, tree, mutant)]
            for mutant in [*mutants, *[unchanged(tree)][: len(mutants)]]:
                seconds = sum(reached[test]["seconds"] for test in ids)
                jobs.append(((module, mutant), self._import_job(module, tree, mutant, ids), 10 + seconds))
        self.collect(jobs, survivors)

    def collect(self, jobs: list[Job], survivors: dict[str, list[str]]) -> None:
        """Runs the jobs; adds the survivors. The code without a change must survive, or the run means nothing."""
        names = []
        for module, mutant in run_jobs(jobs, self.args.processes):
            names.append((module, mutant))
            if mutant.old is not mutant.new:
                print(f"    {module}:{mutant}", flush=True)
                survivors[module].append(str(mutant))
        controls = [name for name, _, _ in jobs if name[1].old is name[1].new]
        if not set(controls) <= set(names):
            print("error: the tests fail when nothing is changed, or ran out of memory", flush=True)

    def _import_job(self, module: str, tree: ast.Module, mutant: Mutant, ids: list[str]) -> Callable[[], int]:
        def job() -> int:
            with mutant.applied():
                Finder.install(module, ast.unparse(tree))
            return KILLED if self._pytest([_Chosen(ids)]) else SURVIVED

        return job


def name_of(module: str) -> str:
    return module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def unchanged(tree: ast.Module) -> Mutant:
    return Mutant(tree, "body", 0, tree.body[0], tree.body[0], (1, 1), True)


def in_place(module: str, tree: ast.Module, mutant: Mutant) -> bool:
    """Whether the functions that exist can be given the mutant's code: it must have the same free variables."""
    if not mutant.in_function or NAMES_OF_KERNELS in module:
        return False
    before = free_variables(tree)
    with mutant.applied():
        return free_variables(tree) == before


def free_variables(tree: ast.Module) -> list[tuple[str, ...]]:
    return [code.co_freevars for code in codes_of(compile(tree, "module", "exec", dont_inherit=True))]


class _InFunctions:
    """Replaces pytest's loop: traces every test once, then runs the mutants of functions in forked processes."""

    def __init__(self, room: Room) -> None:
        self.room = room

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = [item for item in session.items if not WHOLE_RUNS & set(getattr(item, "fixturenames", ()))]
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        traced = self.room.folder / "traced.json"
        start = time.monotonic()
        known = self._known()
        fresh = [item for item in items if item.nodeid not in known]
        found = self._trace(fresh)
        if found is None:
            return True
        traced.write_text(json.dumps(known | found))
        reached = json.loads(traced.read_text())
        if self.room.args.traces:
            shutil.copy(traced, self.room.args.traces)
        print(f"{len(fresh)} tests traced in {time.monotonic() - start:.0f} s", flush=True)
        jobs, survivors = [], {module: [] for module in self.room.trees}
        for module, tree in self.room.trees.items():
            if NAMES_OF_KERNELS not in module:
                importlib.import_module(name_of(module))  # also what is imported only when it is used
            functions = functions_of(HERE / module)
            for mutant in self.room.mutants[module]:
                if not in_place(module, tree, mutant):
                    continue
                chosen = [item for item in items if self._reaches(reached, item.nodeid, module, mutant)]
                chosen.sort(key=lambda item: reached[item.nodeid]["seconds"])
                if not chosen:
                    print(f"    {module}:{mutant}  (no test gets there)", flush=True)
                    survivors[module].append(str(mutant))
                    continue
                job = self._job(module, tree, mutant, functions, chosen)
                jobs.append(((module, mutant), job, sum(reached[item.nodeid]["seconds"] for item in chosen)))
            jobs.append(
                (
                    (module, unchanged(tree)),
                    self._job(module, tree, unchanged(tree), functions, items[:1]),
                    10,
                )
            )
        self.room.collect(jobs, survivors)
        (self.room.folder / "survivors.json").write_text(json.dumps(survivors))
        return True

    def _trace(self, items: list[pytest.Item]) -> dict[str, Any] | None:
        """What the tests reach, found by several processes at a time; None if one of them has ended early."""
        parts = [self.room.folder / f"part{part}.json" for part in range(self.room.args.processes)]
        pids = [
            start_fork(partial(self._write_trace, file, items[part :: len(parts)]))
            for part, file in enumerate(parts)
        ]
        for pid in pids:
            os.waitpid(pid, 0)
        if not all(file.exists() for file in parts):
            return None
        return {test: seen for file in parts for test, seen in json.loads(file.read_text()).items()}

    def _write_trace(self, file: Path, items: list[pytest.Item]) -> int:
        return file.write_text(json.dumps(trace(items, self.room.traced, self.room.args.longest)))

    def _known(self) -> dict[str, Any]:
        file = self.room.args.traces
        return json.loads(Path(file).read_text()) if file and Path(file).exists() else {}

    def _reaches(self, reached: dict[str, Any], test: str, module: str, mutant: Mutant) -> bool:
        first, last = mutant.lines
        seen = reached[test]
        lines = seen["lines"].get(module, ())
        return seen["seconds"] <= self.room.args.longest and any(first <= line <= last for line in lines)

    def _job(
        self,
        module: str,
        tree: ast.Module,
        mutant: Mutant,
        functions: list[FunctionType],
        items: list[pytest.Item],
    ) -> Callable[[], int]:
        def job() -> int:
            with mutant.applied():
                code = compile(tree, str(HERE / module), "exec", dont_inherit=True)
            new = {(part.co_qualname, part.co_firstlineno): part for part in codes_of(code)}
            for function in functions:
                part = new.get((function.__code__.co_qualname, function.__code__.co_firstlineno))
                if part is not None and part.co_freevars == function.__code__.co_freevars:
                    function.__code__ = part
            return KILLED if any(failed(item, after) for item, after in pairs(items)) else SURVIVED

        return job


class _Chosen:
    """Runs only some tests, in the given order."""

    def __init__(self, ids: list[str]) -> None:
        self.order = {test: place for place, test in enumerate(ids)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda i: self.order[i.nodeid]
        )


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source; ``inspect`` sees it too, where Triton reads its kernels."""

    def __init__(self, name: str, file: str, source: str) -> None:
        self.name, self.file, self.source = name, file, source

    @classmethod
    def install(cls, module: str, source: str) -> None:
        file = str(HERE / module)
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        sys.meta_path.insert(0, cls(name_of(module), file, source))

    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name != self.name:
            return None
        places = [os.path.dirname(self.file)] if self.file.endswith("__init__.py") else None
        return importlib.util.spec_from_file_location(
            name, self.file, loader=self, submodule_search_locations=places
        )

    def create_module(self, spec: object) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, self.file, "exec", dont_inherit=True), module.__dict__)


def functions_of(file: Path) -> list[FunctionType]:
    return [
        thing
        for thing in gc.get_objects()
        if type(thing) is FunctionType
        and isinstance(thing.__code__, CodeType)
        and thing.__code__.co_filename == str(file)
    ]


if __name__ == "__main__":
    sys.exit(main())
