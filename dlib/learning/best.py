"""The best weights so far by localization and by classification, in the folders that a user promotes.

If no validation frame has a box, localization cannot be compared. The weights "by localization" are then those that
are best by classification, or the last ones if the task trains the maps: classification says nothing about maps.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dlib.configure.config import Config, model_folder
from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION, CRITERIA
from dlib.learning.checkpoints import CheckpointFolder
from dlib.metrics import LocalizationReport
from dlib.models import MapMaker, best_model_state, write_model_settings
from dlib.utils.distributed import is_main
from dlib.utils.files import write_atomically
from dlib.utils.logging import logger
from dlib.utils.tensors import save_tensors

Record = dict[str, float]  # epoch, step, value (-1: not measured)


@dataclass
class BestModels:
    """Keeps one set of weights per criterion; the first epoch wins on ties."""

    _cfg: Config
    _folder: Path
    _checkpoints: CheckpointFolder
    _classes: list[str]
    _trains_maps: bool  # as the attribute of the task
    records: dict[str, Record] = field(default_factory=dict)

    def update(self, report: LocalizationReport, epoch: int, step: int, maker: MapMaker) -> list[str]:
        """Compare a validation with the best so far; save the model of ``maker`` where it is better.

        Epochs before ``best_start_ep`` are ignored.

        Returns the criteria by which it is better.
        """
        if epoch < self._cfg.best_start_ep:
            return []
        values = {
            BEST_LOCALIZATION: -1.0 if report.headline is None else report.headline,
            BEST_CLASSIFICATION: -1.0 if report.classification is None else report.classification,
        }
        improved = self._without_boxes(values) if report.headline is None else self._higher(values)
        for criterion in improved:
            self.records[criterion] = {"epoch": epoch, "step": step, "value": values[criterion]}
            if is_main():
                self._save(criterion, step, maker)
        return improved

    def _higher(self, values: dict[str, float]) -> list[str]:
        return [c for c in CRITERIA if c not in self.records or values[c] > self.records[c]["value"]]

    def _without_boxes(self, values: dict[str, float]) -> list[str]:
        """The criteria that improve when no validation frame has a box; the first call logs this."""
        if BEST_LOCALIZATION not in self.records:
            kept = "of the last epoch" if self._trains_maps else "that are best by classification"
            logger.warning(
                f"no validation frame has a box: the best weights by localization are those {kept}"
            )
        higher = BEST_CLASSIFICATION in self._higher(values)
        follows = [BEST_LOCALIZATION] if self._trains_maps or higher else []
        return follows + ([BEST_CLASSIFICATION] if higher else [])

    def weights(self, criterion: str) -> Path:
        return self._checkpoints.best_weights(criterion, int(self.records[criterion]["step"]))

    def state(self) -> dict[str, Record]:
        return {criterion: dict(record) for criterion, record in self.records.items()}

    def restore(self, state: dict[str, Record]) -> None:
        """Restore the records of a checkpoint, and the files that belong to them."""
        self.records = {criterion: dict(record) for criterion, record in state.items()}
        if not is_main():
            return
        for criterion, record in self.records.items():
            path = self._file(criterion, int(record["step"]))
            if not path.exists():
                with self.weights(criterion).open("rb") as kept:
                    write_atomically(path, partial(shutil.copyfileobj, kept))
            _remove_others(path)

    def _save(self, criterion: str, step: int, maker: MapMaker) -> None:
        path = self._file(criterion, step)
        write_best_model(path, maker, self._cfg, self._cfg.task, self._classes)
        self._checkpoints.keep_best(path, criterion, step)
        _remove_others(path)

    def _file(self, criterion: str, step: int) -> Path:
        return model_folder(self._folder, self._cfg, criterion) / f"{step}_best_model.pth"


def _remove_others(path: Path) -> None:
    for other in path.parent.glob("*_best_model.pth"):
        if other != path:
            other.unlink()


def write_best_model(path: Path, maker: MapMaker, cfg: Config, task: str, classes: list[str]) -> None:
    """Write the weights of ``maker``'s model and, beside them, what else prediction needs: they can be used alone."""
    save_tensors(path, best_model_state(maker.model))
    write_model_settings(
        maker.model,
        path.parent,
        task=task,
        method=maker.method,
        dataset=cfg.dataset,
        classes=classes,
        crop_size=cfg.crop_size,
        eval_size=cfg.eval_side,
        box_v2_metric=cfg.box_v2_metric,
        box_frames=cfg.box_frames,
        **maker.finish(),
    )
