"""The processes of one run: which one this is, and sums, means and objects over all of them.

In a run of one process all functions return their input, so that callers need no ``if``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from dlib.utils.cards import VARIABLE, card_of_process
from dlib.utils.errors import UsageError, UserError

T = TypeVar("T")

MEETING_TIME = timedelta(minutes=5)  # for all processes of a run to be there


def is_running() -> bool:
    """Whether this run consists of processes that talk to each other."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if is_running() else 0


def world_size() -> int:
    return dist.get_world_size() if is_running() else 1


def is_main() -> bool:
    """Whether this is the process that writes files and the messages for the user."""
    return rank() == 0


def mean_over_processes(value: Tensor) -> Tensor:
    """Mean of ``value`` (any shape, same in every process) over the processes; carries no gradient."""
    total = value.detach()
    if world_size() > 1:
        total = total.clone()
        dist.all_reduce(total)
    return total / world_size()


def largest_over_processes(value: Tensor) -> Tensor:
    """Largest of ``value`` (any shape, same in every process) over the processes."""
    largest = value.detach().clone()
    if is_running():
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest


def gather_objects(value: T) -> list[T]:
    """``value`` of every process, in the order of their ranks."""
    if not is_running():
        return [value]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast_object(value: T) -> T:
    """The main process's ``value``, in every process."""
    if not is_running():
        return value
    holder = [value]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def barrier() -> None:
    if is_running():
        dist.barrier()


def pick_device(kind: str, cudaid: str | None, local_rank: int = 0, processes: int = 1) -> torch.device:
    """The card for this process, as `card_of_process` finds it, or the CPU.

    ``kind`` is cpu, cuda or auto (cuda if there is a card). Without ``cudaid`` it is the first card that CUDA shows.
    ``processes``: how many processes of the run are on this machine.

    Raises UsageError, in every process, when the machine has fewer cards than processes need.
    """
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    visible = os.environ.get(VARIABLE)
    if not torch.cuda.is_available():
        why = "" if visible is None else f" with {VARIABLE}={visible[:200]!r}"
        raise UsageError(
            f"--device cuda: no CUDA card can be used here{why}; leave the flag out to compute on the CPU"
        )
    if cudaid is None:
        return torch.device("cuda", 0)
    count = torch.cuda.device_count()
    return torch.device("cuda", card_of_process(visible, cudaid, count, local_rank, processes))


@contextmanager
def process_group(
    backend: str, local_world_size: int, init_method: str, device: torch.device
) -> Iterator[None]:
    """Join the processes that ``torchrun`` started; does nothing without torchrun.

    Raises UsageError for a backend that this machine lacks or a ``--local_world_size`` that does not fit, and
    UserError when the processes do not find each other or another one has ended.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        if local_world_size > 1:
            raise UsageError(
                f"--local_world_size {local_world_size} needs torchrun --nproc_per_node={local_world_size}; "
                "this is a single process"
            )
        yield
        return
    started = processes_here()
    if local_world_size != started:
        raise UsageError(
            f"--local_world_size {local_world_size} does not fit: torchrun started {started} processes on this node; "
            f"give --local_world_size={started} or --nproc_per_node={local_world_size}"
        )
    if backend == "nccl" and device.type != "cuda":
        raise UsageError("--dist_backend nccl needs CUDA cards; use --dist_backend gloo on the CPU")
    if not dist.is_backend_available(backend):
        raise UsageError(f"--dist_backend {backend}: this PyTorch was built without it; use gloo")
    _meet(backend, init_method or "env://", device)
    try:
        yield
    except RuntimeError as error:
        if not _is_of_processes(error):
            raise
        raise UserError(_end_of_processes(error)) from error
    finally:
        dist.destroy_process_group()


def _meet(backend: str, init_method: str, device: torch.device) -> None:
    """Find the other processes, within ``MEETING_TIME``; PyTorch sets the limits of later waits."""
    here, of = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = init_method
    if init_method == "env://":
        place = ":".join(os.environ.get(name, f"(no {name})") for name in ("MASTER_ADDR", "MASTER_PORT"))
    try:
        store, _, _ = next(iter(dist.rendezvous(init_method, here, of, timeout=MEETING_TIME)))
        dist.init_process_group(
            backend, store=store, rank=here, world_size=of, device_id=device if backend == "nccl" else None
        )
    except (RuntimeError, ValueError) as error:
        if isinstance(error, RuntimeError) and not _is_of_processes(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"process {here} of {of} does not meet the others at {place} ({reason}): start all of them, with the same "
            "reachable --master_addr and a --master_port that no other run uses"
        ) from error


def _end_of_processes(error: RuntimeError) -> str:
    """Why the processes cannot exchange data any more."""
    if "shared memory" in str(error).lower():  # NCCL's, between the cards of one machine
        return (
            "the processes of this machine find too little shared memory in /dev/shm: give a container more, as with "
            "docker run --shm-size=2g, or set NCCL_SHM_DISABLE=1"
        )
    return "this process ends because another process of the run ended; the message of that process says why"


def _is_of_processes(error: RuntimeError) -> bool:
    """Whether the error comes from data exchange with other processes; gloo raises plain RuntimeErrors."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def device_of_process(kind: str, cudaid: str, local_rank: int) -> torch.device:
    """`pick_device` for this process; older launchers give ``local_rank``, which is used without torchrun."""
    return pick_device(kind, cudaid, int(os.environ.get("LOCAL_RANK", local_rank)), processes_here())


def processes_here() -> int:
    """How many processes of this run torchrun started on this machine; 1 without it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))
