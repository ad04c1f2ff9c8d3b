"""What the tests of whole runs share: a tiny dataset, a trained classifier on it, and ways to start the program."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
DATASET = "tiny"
METHOD = "LayerCAM"
THREADS = torch.get_num_threads()
ENCODER = "resnet18"

settings.register_profile("short", max_examples=25, deadline=None, derandomize=True)
settings.register_profile(
    "long",
    max_examples=10_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))


def cases(short: int) -> int:
    """How many random inputs to try: ``short``, with the long profile as many as it says."""
    return max(short, settings.default.max_examples)


@dataclass(frozen=True)
class Workplace:
    """Folders of one test's runs; all of them share the dataset."""

    folder: Path
    datasets: Path
    folds: Path

    def flags(self, task: str = "STD_CL", **changes: Any) -> list[str]:
        """A command line on the tiny dataset: two epochs at 32 pixels, without a single slow extra."""
        values: dict[str, Any] = {
            "task": task,
            "dataset": DATASET,
            "data_root": self.datasets,
            "metadata_root": self.folds,
            "exps_root": self.folder / "exps",
            "pretrained_root": self.folder / "pretrained",
            "cams_root": self.folder / "data_cams",
            "encoder_name": ENCODER,
            "encoder_weights": None,
            "method": METHOD,
            "crop_size": 32,
            "resize_size": 40,
            "batch_size": 4,
            "max_epochs": 2,
            "num_workers": 0,
            "opt__lr": 0.001,
            "exp_id": "t",
            "report": False,
            "vizu_n": 0,
            "checkpoint_save": 1000,
        }
        return [word for name, value in {**values, **changes}.items() for word in (f"--{name}", str(value))]

    def experiment(self, task: str = "STD_CL", exp_id: str = "t", seed: int = 0) -> Path:
        """Where the run with these flags writes; spelled out here, not taken from the program."""
        name = (
            f"id_{exp_id}-tsk_{task}-ds_{DATASET}-mth_{METHOD}-spooling_WGAP-sd_{seed}"
            f"-ecd_{ENCODER}-box_v2_metric_False"
        )
        return self.folder / "exps" / DATASET / ENCODER / task / METHOD / name


def colocam_flags(**changes: Any) -> dict[str, Any]:
    """Flags of CoLo-CAM with every term of the loss, sized for 32 pixels."""
    return {
        "freeze_cl": True,
        "opt__lr": 0.01,
        "sample_n_from_seq": 2,
        "sample_n_from_seq_style": "before",
        "sl_clc": True,
        "sl_clc_min": 20,
        "sl_clc_max": 20,
        "sl_clc_min_p": 0.1,
        "sl_clc_max_p": 0.7,
        "sl_clc_seed_tech": "seed_weighted",
        "sl_clc_use_roi": True,
        "sl_clc_roi_method": "largest",
        "crf_clc": True,
        "crf_clc_lambda": 2e-9,
        "rgb_jcrf_clc": True,
        "rgb_jcrf_clc_lambda": 9.0,
        "rgb_jcrf_clc_lambda_style": "adaptive",
        "max_sizepos_clc": True,
        "max_sizepos_clc_lambda": 0.01,
        "min_entropy_clc": True,
        "size_bg_g_fg_clc": True,
        "sizefg_tmp_clc": True,
        "empty_out_bb_clc": True,
        **changes,
    }


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
    generate(data, Plan(classes=3, videos=4, shots=2, frames=4, size=48, seed=5), progress=False)
    classes, splits, _ = v1.build(data, data, True, 1)
    write_folds(folder / "folds" / DATASET, classes, splits)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, tiny_data: Path) -> Workplace:
    return Workplace(tmp_path, tiny_data / "datasets", tiny_data / "folds")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Workplace:
    """A finished STD_CL run of two epochs (report and pictures on), promoted with cmds/promote.sh."""
    folder = tmp_path_factory.mktemp("trained")
    place = Workplace(folder, tiny_data / "datasets", tiny_data / "folds")
    code, _, error = start(place.flags(report=True, vizu_n=1, MYSEED=0), curves=True)
    assert code == 0, error
    promote(place)
    return place


@pytest.fixture
def promoted(tmp_path: Path, trained: Workplace) -> Workplace:
    """A workplace of its own that has the trained classifier in ``pretrained/``."""
    (tmp_path / "pretrained").symlink_to(trained.folder / "pretrained")
    return Workplace(tmp_path, trained.datasets, trained.folds)


def promote(place: Workplace) -> None:
    command = [
        "bash",
        str(ROOT / "cmds" / "promote.sh"),
        str(place.experiment()),
        str(place.folder / "pretrained"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def start(flags: list[str], curves: bool = False) -> tuple[int, str, str]:
    """Run main.py's ``main`` in this process; exit code, stdout, stderr. Curves cost seconds: only if wanted."""
    import dlib.learning.pictures as pictures
    from main import main

    out, error = io.StringIO(), io.StringIO()
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    arguments, sys.argv = sys.argv, ["main.py", *flags]
    try:
        with redirect_stdout(out), redirect_stderr(error), pytest.MonkeyPatch.context() as patch:
            if not curves:
                patch.setattr(pictures, "write_curves", lambda folder: None)
            code = main(flags)
    finally:
        sys.argv = arguments
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code, out.getvalue(), error.getvalue()


@pytest.fixture
def run_main() -> Callable[[list[str]], tuple[int, str, str]]:
    """``run_main(flags) -> (code, stdout, stderr)`` in this process."""
    return start


def environment(**more: str) -> dict[str, str]:
    """The environment of a program started by a test: one thread, nothing of a launcher around the tests."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "DATASETSH")
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def popen(flags: list[str], launcher: tuple[str, ...] = (), **more: str) -> subprocess.Popen[str]:
    """``python main.py flags`` (or ``launcher… main.py flags``) as a process of its own."""
    command = [*(launcher or (sys.executable,)), str(ROOT / "main.py"), *flags]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(**more),
    )


def torchrun(processes: int) -> tuple[str, ...]:
    return (
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=1",
        f"--nproc_per_node={processes}",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
    )


def run_process(
    flags: list[str], launcher: tuple[str, ...] = (), timeout: float = 600, **more: str
) -> tuple[int, str, str]:
    process = popen(flags, launcher, **more)
    try:
        out, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, error
