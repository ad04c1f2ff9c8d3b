"""Checkpoints that survive kills, full disks and bit flips, and from which a run goes on exactly.

``checkpoints/<step>_checkpoint.pth`` hold everything a run needs to continue. Beside them
``<step>_<criterion>.pth`` are links to the best weights that those checkpoints refer to.
"""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from dlib.configure.constants import CRITERIA
from dlib.utils.files import write_atomically
from dlib.utils.logging import logger

FORMAT = "colocam-checkpoint-1"


def save_tensors(path: Path, value: Any) -> None:
    """``torch.save`` to a file that is either whole or absent. Raises UserError when the disk is full."""
    write_atomically(path, lambda stream: torch.save(value, stream))


def load_tensors(path: Path) -> Any:
    """Content of a file by ``torch.save``, on the CPU, after checking its checksums; runs no code from it.

    Raises ValueError saying what is wrong with the file: empty, truncated, changed bits, not by ``torch.save``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"its part {broken} fails the checksum")
        return torch.load(path, map_location="cpu", weights_only=True)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{error}".lower()) from error
    except Exception as error:
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error


class CheckpointFolder:
    """The checkpoints of one experiment; only the main process writes."""

    def __init__(self, folder: Path, keep: int, experiment: str) -> None:
        self.folder = folder
        self._keep = max(keep, 1)
        self._marks = {"format": FORMAT, "experiment": experiment}

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write ``<step>_checkpoint.pth``, then remove what is older than the newest ``keep``."""
        save_tensors(self.folder / f"{step}_checkpoint.pth", {**self._marks, **state})
        self._prune(step)

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that is intact; damaged ones are named in the log and left where they are."""
        for step in sorted(self._steps("checkpoint"), reverse=True):
            path = self.folder / f"{step}_checkpoint.pth"
            try:
                state = self._recognized(load_tensors(path))
                missing = [name for name in self._needed_links(state) if not (self.folder / name).exists()]
                if missing:
                    raise ValueError(f"its best weights {missing[0]} are missing")
                return path, state
            except ValueError as error:
                logger.warning(f"checkpoint {path} cannot be used ({error}); trying the one before it")
        return None

    def keep_best(self, best_model: Path, criterion: str, step: int) -> None:
        """Hold on to a best-weights file for as long as a kept checkpoint refers to it."""
        link = self.folder / f"{step}_{criterion}.pth"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            os.link(best_model, link)
        except OSError:
            # File systems without hard links get a copy.
            shutil.copyfile(best_model, link)

    def best_weights(self, criterion: str, step: int) -> Path:
        return self.folder / f"{step}_{criterion}.pth"

    def _recognized(self, state: Any) -> dict[str, Any]:
        """``state`` if it is a checkpoint of this experiment, else ValueError."""
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise ValueError("it is not a checkpoint of this program")
        if state.get("experiment") != self._marks["experiment"]:
            raise ValueError(f"it belongs to the experiment {state.get('experiment')}")
        best = state.get("best")
        if not isinstance(best, dict) or not all(
            isinstance(r, dict) and isinstance(r.get("step"), int) for r in best.values()
        ):
            raise ValueError("it does not say which weights were best")
        return state

    def _needed_links(self, state: dict[str, Any]) -> Iterator[str]:
        for criterion, record in state["best"].items():
            yield f"{record['step']}_{criterion}.pth"

    def _steps(self, kind: str) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (re.fullmatch(rf"(\d+)_{kind}\.pth", path.name) for path in self.folder.iterdir())
        return sorted(int(match.group(1)) for match in names if match)

    def _prune(self, newest: int) -> None:
        # Files beyond the one just written are foreign or damaged: not ours to delete, and no reason to delete ours.
        steps = [step for step in self._steps("checkpoint") if step <= newest]
        kept = steps[-self._keep :]
        for old in steps[: -self._keep]:
            (self.folder / f"{old}_checkpoint.pth").unlink()
        for criterion in CRITERIA:
            links = self._steps(criterion)
            # Best scores only ever get better: the one a checkpoint refers to is the last up to its own step.
            needed = {max((link for link in links if link <= step), default=-1) for step in kept}
            for link in links[:-1]:
                if link not in needed:
                    (self.folder / f"{link}_{criterion}.pth").unlink()
