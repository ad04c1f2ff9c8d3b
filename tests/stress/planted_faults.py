"""40 faults planted by hand in the C++ core of the filters: do the filters' tests notice each?

    python -m tests.stress.planted_faults                  # all
    python -m tests.stress.planted_faults 7 12 -k batch    # some, by number, with some of the tests

Both extensions are built once, in a temporary folder, with all faults in them: each place has the right and the
wrong code, and CRF_FAULT=7 in the environment chooses the wrong one of fault 7. For each fault a forked process then
runs the filters' tests up to the first failure. Exits with 1 if a fault is not noticed that is not expected to be.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from setuptools import Distribution

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
    trace,
)

CRF = "dlib/crf/crfwrapper"
TESTS = [f"tests/test_crf_{name}.py" for name in ("lattice", "properties", "arguments", "losses", "fuzz")]


class Fault(NamedTuple):
    """``right`` becomes ``wrong``: both are expressions, or both are statements (with their semicolon)."""

    file: str
    right: str
    wrong: str
    harmless: str = ""  # why no test is expected to notice it


FAULTS = (
    Fault("plan.hpp", "std::sqrt(2.0 / 3.0) * (d + 1)", "std::sqrt(2.0 / 3.0) * d"),
    Fault("plan.hpp", "s.spatial && i < 2", "s.spatial && i < 1"),
    Fault("plan.hpp", "(i + 1.0) * (i + 2.0)", "(i + 1.0) * (i + 1.0)"),
    Fault("plan.hpp", "!(bound < 1e6)", "bound >= 1e6"),
    Fault("plan.hpp", "std::ceil(bound) + 4.0 * (d + 1)", "std::ceil(bound) / 2"),
    Fault("plan.hpp", "tail.least - i * factor * below.most", "tail.least - i * factor * below.least"),
    Fault("plan.hpp", "size > 0x1p53", "size > 0x1p200"),
    Fault(
        "plan.hpp",
        "step[rest] + point_sum - static_cast<std::uint64_t>(d + 1) * factor",
        "step[rest] + point_sum - static_cast<std::uint64_t>(d) * factor",
    ),
    Fault(
        "plan.hpp",
        "std::floor(elevated[at(i)].least / (d + 1)) - 3",
        "std::floor(elevated[at(i)].least / (d + 1)) + 3",
    ),
    Fault(
        "plan.hpp",
        "low_size * digit < 0x1p32",
        "low_size * digit < 0x1p40",
        "the factors wrap around 2^32 and act as a hash: only an image made for it has two points of one key",
    ),
    Fault("plan.hpp", "if (fits) return;", "if (fits || true) return;"),
    Fault("lattice.hpp", "for (std::uint32_t key : met_) numbers_[key] = -1;", ";"),
    Fault("lattice.hpp", "low | static_cast<std::uint64_t>(high) << 32", "std::uint64_t{low}"),
    Fault("key_table.hpp", "keys_[static_cast<std::size_t>(id)] == key", "id >= 0"),
    Fault(
        "key_table.hpp",
        "2 * keys_.size() > slots_.size()",
        "keys_.size() >= slots_.size()",
        "a fuller table only takes longer to search, and it is never completely full",
    ),
    Fault(
        "key_table.hpp",
        "for (int old = 0; old <= id; ++old) place(old);",
        "for (int old = 0; old < id; ++old) place(old);",
    ),
    Fault("filter.hpp", "pixels / runs * i + std::min(i, pixels % runs)", "pixels / runs * i"),
    Fault("filter.hpp", "std::max<std::ptrdiff_t>(1, 64 / frames_size(frames))", "64 / frames_size(frames)"),
    Fault("filter.hpp", "pixels / runs + (i < pixels % runs ? 1 : 0)", "pixels / runs"),
    Fault("filter.hpp", "if (!std::isfinite(of_values.largest)) mine[planes] = of_values;", ";"),
    Fault("filter.hpp", "range.least = std::min(range.least, -static_cast<double>(of_run.largest));", ";"),
    Fault("filter.hpp", "to[k] += from[k]", "to[k] = from[k]"),
    Fault(
        "filter.hpp",
        "lattice.blurred.assign(lattice.values.size(), 0);",
        "lattice.blurred.resize(lattice.values.size());",
    ),
    Fault(
        "filter.hpp",
        "static_cast<int>(std::int64_t{n} * (i + 1) / parts)",
        "static_cast<int>(std::int64_t{n} / parts * (i + 1))",
    ),
    Fault("filter.hpp", "after[other] = vertex + 1;", "after[other] = vertex;"),
    Fault("filter.hpp", "1.0f / (1.0f + std::exp2(-static_cast<float>(plan.d)))", "1.0f"),
    Fault("filter.hpp", "0.5f * (a[k] + b[k])", "0.5f * a[k]"),
    Fault("filter.hpp", "std::numeric_limits<float>::max() / 2", "std::numeric_limits<float>::infinity()"),
    Fault(
        "filter.hpp",
        "for (std::size_t i = whole; i < groups.size(); ++i) filter(i, threads);",
        "for (std::size_t i = whole + 1; i < groups.size(); ++i) filter(i, threads);",
    ),
    Fault("kernels.inc", "if (++x == width) x = 0, ++y;", "++x;"),
    Fault(
        "kernels.inc",
        "lane < end - first ? lane : end - first - 1",
        "lane < end - first ? lane : 0",
        "lanes past the end have no pixel, and no result is read from them",
    ),
    Fault(
        "kernels.inc",
        "cut - (__builtin_convertvector(cut, vfloat) < v)",
        "cut - (__builtin_convertvector(cut, vfloat) <= v)",
        "a tie lies between two simplices: the ranks bring the pixel back, or its weight in the other corner is 0",
    ),
    Fault("kernels.inc", "e[i] < e[j]", "e[i] <= e[j]"),
    Fault("kernels.inc", "(rank[i] > d) - (rank[i] < 0)", "(rank[i] > d) - (rank[i] <= 0)"),
    Fault("kernels.inc", "(lowest - highest) * down + 1.0f", "(lowest - highest) * down"),
    Fault(
        "kernels.inc", "(127 + D * kBits) - block.rank[i] * kBits", "(127 + D * kBits) - block.rank[i] * D"
    ),
    Fault(
        "kernels.inc",
        "plan.point_sum - static_cast<std::uint64_t>(d + 1) * factor_of_rank[d - r]",
        "plan.point_sum - static_cast<std::uint64_t>(d + 1) * factor_of_rank[r]",
    ),
    Fault("kernels.inc", "total = std::max(total, bits & 0x7FFFFFFF);", "total = std::max(total, bits);"),
    Fault("arguments.hpp", "PyBUF_C_CONTIGUOUS | PyBUF_FORMAT", "PyBUF_STRIDES | PyBUF_FORMAT"),
    Fault("arguments.hpp", "values.size() < pixels || values.size() % pixels != 0", "values.size() < pixels"),
)
SWITCH = """#pragma once
#include <cstdlib>
// Which planted fault is on.
inline int planted_fault() {
  static const int number = std::getenv("CRF_FAULT") == nullptr ? 0 : std::atoi(std::getenv("CRF_FAULT"));
  return number;
}
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", type=int, nargs="*")
    parser.add_argument("-k", default="", help="pytest's expression that chooses tests")
    args = parser.parse_args()
    numbers = args.numbers or list(range(1, len(FAULTS) + 1))
    os.chdir(HERE)
    fast_random_cases()
    folder = Path(tempfile.mkdtemp(prefix="planted"))
    try:
        build(folder)
        os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{HERE}"
        forked(
            lambda: pytest.main(
                [*collect_flags(folder), f"--override-ini=pythonpath={folder} . tests", *TESTS, "-k", args.k],
                [_EachFault(folder, numbers)],
            )
        )
        survivors = json.loads((folder / "survivors.json").read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for number in survivors:
        fault = FAULTS[number - 1]
        print(
            f"{number}: {fault.file}: {fault.right}  ->  {fault.wrong}  {fault.harmless or '(not noticed)'}"
        )
    print(f"{len(numbers)} faults, {len(numbers) - len(survivors)} noticed")
    return int(any(not FAULTS[number - 1].harmless for number in survivors))


def build(folder: Path) -> None:
    """Both extensions with all faults, in ``folder``."""
    core = shutil.copytree(CRF, folder / CRF) / "core"
    (core / "planted_fault.hpp").write_text(SWITCH)
    for file in sorted({fault.file for fault in FAULTS}):
        text = (core / file).read_text()
        for number, fault in enumerate(FAULTS, 1):
            if fault.file == file:
                if fault.right not in text:
                    sys.exit(f"error: {file} has no {fault.right!r}: bring the list of faults up to date")
                text = text.replace(fault.right, both(number, fault))
        if file.endswith(".hpp"):
            text = text.replace("#pragma once\n", '#pragma once\n#include "planted_fault.hpp"\n', 1)
        (core / file).write_text(text)
    tools = runpy.run_path(f"{CRF}/build_filters.py")
    tools["UNIX"].extend(["-O1", "-w"])  # the last level counts; the added branches give warnings
    os.chdir(folder)
    modules = [tools["extension"](name, CRF) for name in tools["NAMES"]]
    command = tools["BuildExt"](Distribution({"name": "planted", "ext_modules": modules}))
    command.build_lib, command.build_temp = str(folder), str(folder / "build")
    command.ensure_finalized()
    command.run()
    os.chdir(HERE)


def both(number: int, fault: Fault) -> str:
    """The code of a place that does the right thing unless its fault is chosen."""
    if fault.right.endswith(";"):
        return f"if (planted_fault() == {number}) {{ {fault.wrong} }} else {{ {fault.right} }}"
    return f"(planted_fault() == {number} ? ({fault.wrong}) : ({fault.right}))"


class _EachFault:
    """Replaces pytest's loop: times every test once, then runs the fastest first for each fault."""

    def __init__(self, folder: Path, numbers: list[int]) -> None:
        self.folder, self.numbers = folder, numbers

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        times = self.folder / "times.json"
        forked(lambda: times.write_text(json.dumps(trace(session.items, [], 5))))
        seconds = {test: seen["seconds"] for test, seen in json.loads(times.read_text()).items()}
        items = sorted((i for i in session.items if seconds[i.nodeid] < 5), key=lambda i: seconds[i.nodeid])
        total = sum(seconds[item.nodeid] for item in items)
        jobs = [(number, self._job(number, items), total) for number in self.numbers]
        survivors = []
        for number in run_jobs(jobs, 2):
            survivors.append(number)
            print(f"{number} is not noticed", flush=True)
        (self.folder / "survivors.json").write_text(json.dumps(sorted(survivors)))
        return True

    def _job(self, number: int, items: list[Any]) -> Callable[[], int]:
        def job() -> int:
            os.environ["CRF_FAULT"] = str(number)
            return KILLED if any(failed(item, after) for item, after in pairs(items)) else SURVIVED

        return job


if __name__ == "__main__":
    sys.exit(main())
