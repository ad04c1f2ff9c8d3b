"""Flags that all tasks with a decoder share, and checks of flags that several of them have under different names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlib.configure.constants import METHODS, SEED_IGNORE
from dlib.configure.flag import flag
from dlib.configure.literals import Backend
from dlib.utils.errors import UsageError

if TYPE_CHECKING:
    from dlib.configure.table import Flags


@dataclass(frozen=True)
class DecoderFlags:
    """All tasks with a decoder: CAMs for the seeds, CRF filters."""

    seg_ignore_idx: int = flag(SEED_IGNORE, "label of pixels without a seed; any number except 0 and 1")
    seed_refine_sigma_xy: float = flag(
        0.0,
        "width in pixels of a bilateral filter that fits CAMs to the frame's edges before seeding; 0: off",
        ge=0,
    )
    seed_refine_sigma_rgb: float = flag(
        30.0, "width of that filter in colour levels (0..255); smaller: it keeps weaker edges", ge=0.01
    )
    seed_cam_method: str = flag(
        "", "CAM method that makes the CAMs for the seeds; empty: the one of --method", choices=("", *METHODS)
    )
    seed_maps: str | None = flag(
        None,
        "folder of another program's maps of all train frames, by frame id, that give the seeds instead of the "
        "classifier's CAMs (doc/maps.md)",
    )
    crf_backend: Backend = flag(
        "auto", "filters in C++ (cpp, CPU only) or in PyTorch (torch); auto: cpp on the CPU, torch elsewhere"
    )


@dataclass(frozen=True)
class BarrierFlags:
    """Extended log-barrier (ELB) of the size terms."""

    elb_init_t: float = flag(1.0, "barrier parameter t at the start; larger: a harder limit", gt=0)
    elb_max_t: float = flag(10.0, "largest t", gt=0)
    elb_mulcoef: float = flag(1.01, "factor on t after every epoch; 1: t never changes", ge=1)


def falling_heat(cfg: Flags, start: str, end: str, switch: str) -> Iterator[str]:
    """Warnings of a temperature that falls from the flag ``start`` to the flag ``end`` until the epoch of ``switch``.

    Raises UsageError if it would rise.
    """
    first, last = getattr(cfg, start), getattr(cfg, end)
    if last > first:
        raise UsageError(f"--{end} {last}: must not be larger than --{start} {first}")
    if last > 0 and getattr(cfg, switch) == -1:
        yield f"--{end} has no effect without --{switch}: {start} then never falls"


def unused_region(cfg: Flags, method: str, use: str) -> Iterator[str]:
    """A warning if the flag ``method`` chooses a region, but the flag ``use`` says that seeds ignore it."""
    if getattr(cfg, method) != "roi_all" and not getattr(cfg, use):
        yield f"--{method} {getattr(cfg, method)} has no effect on seeds: --{use} is False"


def split_shots(cfg: Flags, frames: int, given: str) -> Iterator[str]:
    """A warning if the ``frames`` that the flag ``given`` draws from a shot do not fit into a minibatch."""
    if frames > cfg.batch_size:
        yield (
            f"{given} is more than --batch_size {cfg.batch_size}:"
            " the frames of a shot are split over several minibatches"
        )
