"""The experiment's folder: which run may write in it, and what it says about that run."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
import yaml

from dlib.configure.config import Config, saved_flags
from dlib.utils import distributed, environment
from dlib.utils.errors import UserError
from dlib.utils.files import write_text
from dlib.utils.filesystem import LOCK, reason, try_lock
from dlib.utils.logging import logger, start_logging
from dlib.utils.signals import Interrupted

_PASSED = "passed.txt"


class ExperimentFolder:
    """One experiment's folder, locked for one run at a time.

    The operating system holds the lock: it is free again when the process that holds it ends, in any way.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._made: list[Path] = []  # folders that this run has made, the innermost first

    def lock(self) -> None:
        """Claim the folder, and remove half-written files of a run that was killed.

        Raises UserError when another run holds it, or it cannot be written to.
        """
        try:
            self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise UserError(
                f"cannot write to {self.path}: {reason(error)}, or give another --exps_root"
            ) from error
        if not _lock_soon(descriptor, self.path / LOCK):
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise UserError(
                f"another run ({holder}) is writing to {self.path}: wait for it, or give another --exp_id"
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._lock = descriptor
        for half_written in self.path.rglob(".*.tmp"):
            half_written.unlink(missing_ok=True)

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove_unless_begun(self) -> None:
        """Remove the folder if this run has made it and nothing was logged or saved there: a failed start."""
        if self.path not in self._made or any(
            (self.path / name).exists() for name in ("log.jsonl", "checkpoints")
        ):
            return
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):  # a folder above that another run uses too is not empty
            for folder in self._made[1:]:
                folder.rmdir()

    @property
    def passed(self) -> bool:
        return (self.path / _PASSED).exists()

    def pass_(self, summary: str) -> None:
        """Mark the experiment as finished; the last thing that a run writes."""
        write_text(self.path / _PASSED, summary + "\n")

    def describe(self, cfg: Config, device: torch.device) -> dict[str, str]:
        """What the run is on (versions, device); written, with the flags, unless an earlier start wrote it.

        A resumed run names the flags that changed. The files keep the earlier flags until ``write`` is called: if the
        checkpoint does not fit, the user finds there the flags that it was made with.
        """
        found = environment.describe(device)
        if self._config.exists():
            self._name_changes(cfg)
        else:
            self.write(cfg, found)
        return found

    def write(self, cfg: Config, environment: dict[str, str]) -> None:
        """Write what is run (flags, command) and on what (versions, device)."""
        write_text(self._config, cfg.to_yaml())
        write_text(self.path / "code" / "cmd.sh", command_line() + "\n")
        write_text(self.path / "environment.yml", yaml.safe_dump(environment, sort_keys=False))

    @property
    def _config(self) -> Path:
        return self.path / "config.yml"

    def _name_changes(self, cfg: Config) -> None:
        before = saved_flags(self._config)
        if before is None:
            logger.warning(f"{self._config} cannot be read; it is written again")
            return
        changed = [
            f"--{name} {value} (was {before[name]})"
            for name, value in cfg.to_dict().items()
            if name in before and before[name] != value
        ]
        if changed:
            logger.warning("this experiment was started with other flags; now: " + ", ".join(changed))


def _lock_soon(descriptor: int, place: Path) -> bool:
    """Lock the file; tries again for a moment, because ``colocam status`` looks at the lock for an instant."""
    for _ in range(5):
        if try_lock(descriptor, place):
            return True
        time.sleep(0.02)
    return False


def command_line() -> str:
    """The command that started this process, quoted for a shell; under torchrun with its own part."""
    words = [sys.executable, *sys.argv]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        nodes = int(os.environ["WORLD_SIZE"]) // int(os.environ["LOCAL_WORLD_SIZE"])
        words = [
            "torchrun",
            f"--nnodes={nodes}",
            f"--nproc_per_node={os.environ['LOCAL_WORLD_SIZE']}",
            f"--master_port={os.environ['MASTER_PORT']}",
            *sys.argv,
        ]
    return shlex.join(words)


@contextmanager
def locked(folder: ExperimentFolder, cfg: Config) -> Iterator[None]:
    """Lock the folder for this run, and write the log lines to its ``log.txt`` meanwhile."""
    if not distributed.is_main():
        yield
        return
    folder.lock()
    start_logging(folder.path, True, cfg.verbose, cfg.progress)
    failed = False
    try:
        yield
    except Exception as error:
        failed = not isinstance(error, Interrupted)
        raise
    finally:
        start_logging(None, True, cfg.verbose, cfg.progress)
        folder.unlock()
        if failed:
            folder.remove_unless_begun()
