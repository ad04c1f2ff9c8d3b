"""What the tests share: how many random cases they try, a tiny dataset, a trained classifier on it, a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from helpers.download_server import Server
from helpers.programs import promote, start
from helpers.workplace import DATASET, Workplace

THREADS = torch.get_num_threads()

settings.register_profile("short", max_examples=25, deadline=None, derandomize=True)
settings.register_profile(
    "long",
    max_examples=10_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: else one process ends with them while the other one has nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def the_same_bits_every_time() -> Iterator[None]:
    """A test's networks start from the same weights, and sums have the same order, whichever tests ran before it."""
    torch.manual_seed(0)
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``datasets/tiny`` and ``folds/tiny``: 3 classes, 12 train shots, 12 validation and 12 test frames."""
    from dlib.datasets import _video_ds_ytov1_0 as v1
    from dlib.datasets.build.folds import write_folds
    from dlib.datasets.synthetic.write import Plan, generate

    folder = tmp_path_factory.mktemp("tiny")
    data = folder / "datasets" / DATASET
    generate(data, Plan(classes=3, videos=4, shots=2, frames=4, size=48, seed=5))
    classes, splits, _ = v1.build(data, data, True, 1)
    write_folds(folder / "folds" / DATASET, classes, splits)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, tiny_data: Path) -> Workplace:
    return Workplace(tmp_path, tiny_data / "datasets", tiny_data / "folds")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Workplace:
    """A finished STD_CL run of two epochs (with its report, without curves), promoted with cmds/promote.sh."""
    folder = tmp_path_factory.mktemp("trained")
    place = Workplace(folder, tiny_data / "datasets", tiny_data / "folds")
    code, _, error = start(place.flags(report=True, vizu_n=1, MYSEED=0))
    assert code == 0, error
    promote(place)
    return place


@pytest.fixture
def promoted(tmp_path: Path, trained: Workplace) -> Workplace:
    """A workplace of its own that has the trained classifier in ``pretrained/``."""
    (tmp_path / "pretrained").symlink_to(trained.folder / "pretrained")
    return Workplace(tmp_path, trained.datasets, trained.folds)


@pytest.fixture
def run_main() -> Callable[[list[str]], tuple[int, str, str]]:
    """``run_main(flags) -> (code, stdout, stderr)`` in this process."""
    return start


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()
