"""Checkpoints that survive kills, full disks and bit flips, and from which a run resumes exactly.

``checkpoints/<step>_checkpoint.pth`` hold everything a run needs to continue. Beside them
``<step>_<criterion>.pth`` are links to the best weights that those checkpoints refer to.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from dlib.configure.constants import CRITERIA
from dlib.utils.errors import UserError
from dlib.utils.filesystem import link_or_copy
from dlib.utils.logging import logger
from dlib.utils.tensors import check_archive, load_tensors, not_finite, save_tensors

FORMAT = "colocam-checkpoint-1"


class CheckpointFolder:
    """The checkpoints of one experiment; only the main process writes."""

    def __init__(self, folder: Path, keep: int, experiment: str) -> None:
        self.folder = folder
        self._keep = max(keep, 1)
        self._marks = {"format": FORMAT, "experiment": experiment}
        self._links: dict[int, set[str]] = {}  # names of the best weights that each checkpoint refers to
        self._unproven: set[int] = set()  # steps of checkpoints that no finite step has followed so far

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write ``<step>_checkpoint.pth``, then remove what is older than the newest ``keep``.

        The newest proven one is kept too until the new one is proven.
        """
        save_tensors(self.folder / f"{step}_checkpoint.pth", {**self._marks, **state})
        self._links[step] = _links_of(state)
        self._unproven.add(step)
        self._prune(step)

    def prove(self) -> None:
        """A step after the newest checkpoint was finite: this proves that the network in it has not diverged."""
        if self._unproven:
            newest = max(self._unproven)
            self._unproven.clear()
            self._prune(newest)

    def set_aside_unproven(self) -> Path | None:
        """The network has diverged: returns the checkpoint to resume from, or None if there is none.

        Checkpoints that no finite step has followed may hold the diverged network. They are renamed to
        ``<step>_diverged.pth``, unless there is no other checkpoint.
        """
        steps = self._steps("checkpoint")
        if any(step not in self._unproven for step in steps):
            for step in self._unproven.intersection(steps):
                path = self.folder / f"{step}_checkpoint.pth"
                path.replace(self.folder / f"{step}_diverged.pth")
            steps = self._steps("checkpoint")
        return self.folder / f"{steps[-1]}_checkpoint.pth" if steps else None

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that is intact; damaged ones are named in the log and left where they are.

        None if there is no checkpoint yet. Raises UserError if there are some and none can be used: a silent new
        start would lose a run that may still be saved.
        """
        steps = sorted(self._steps("checkpoint"), reverse=True)
        for step in steps:
            path = self.folder / f"{step}_checkpoint.pth"
            try:
                state = self._recognized(load_tensors(path))
                links = _links_of(state)
                for name in sorted(links):
                    self._check_best(name)
                self._links[step] = links
                self._unproven = {step}
                return path, state
            except ValueError as error:
                logger.warning(f"checkpoint {path} cannot be used ({error})")
        if steps:
            raise UserError(
                f"none of the {len(steps)} checkpoints in {self.folder} can be used (each is named above with the "
                "reason): move that folder away to start again from step 0, or give another --exp_id"
            )
        return None

    def keep_best(self, best_model: Path, criterion: str, step: int) -> None:
        """Keep a best-weights file as long as a kept checkpoint refers to it."""
        link = self.best_weights(criterion, step)
        link.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(best_model, link)

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
        bad = not_finite({name: state.get(name) for name in ("model", "optimizer", "average")})
        if bad:
            raise ValueError(f"its {bad} is not finite: that network has diverged")
        return state

    def _check_best(self, name: str) -> None:
        path = self.folder / name
        if not path.exists():
            raise ValueError(f"its best weights {name} are missing")
        try:
            check_archive(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"its best weights {name} are damaged: {error}") from error

    def _links_at(self, step: int) -> set[str]:
        """The best weights that a kept checkpoint refers to; empty if it is damaged."""
        if step not in self._links:
            try:
                self._links[step] = _links_of(
                    self._recognized(load_tensors(self.folder / f"{step}_checkpoint.pth"))
                )
            except ValueError:
                self._links[step] = set()
        return self._links[step]

    def _steps(self, kind: str) -> list[int]:
        if not self.folder.is_dir():
            return []
        names = (re.fullmatch(rf"(\d+)_{kind}\.pth", path.name) for path in self.folder.iterdir())
        return sorted(int(match.group(1)) for match in names if match)

    def _prune(self, newest: int) -> None:
        # Files of later steps than the one just written are foreign or damaged: we do not delete or count them.
        steps = [step for step in self._steps("checkpoint") if step <= newest]
        proven = [step for step in steps if step not in self._unproven]
        kept = {*steps[-self._keep :], *proven[-1:]}
        for old in set(steps) - kept:
            (self.folder / f"{old}_checkpoint.pth").unlink()
        self._links = {step: self._links_at(step) for step in kept}
        needed = set().union(*self._links.values())
        for criterion in CRITERIA:
            for name in (f"{link}_{criterion}.pth" for link in self._steps(criterion)):
                # Newer ones belong to a checkpoint that is not written yet.
                if name not in needed and int(name.partition("_")[0]) <= newest:
                    (self.folder / name).unlink()


def _links_of(state: dict[str, Any]) -> set[str]:
    return {f"{record['step']}_{criterion}.pth" for criterion, record in state["best"].items()}
