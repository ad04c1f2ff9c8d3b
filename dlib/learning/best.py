"""The best weights so far by localization and by classification, in the folders that a user promotes.

If no validation frame has a box, localization cannot be compared. The weights "by localization" are then those that
are best by classification, or the last ones if the task trains the maps: classification says nothing about maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlib.configure.config import Config, model_folder
from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION, CRITERIA
from dlib.learning.checkpoints import CheckpointFolder
from dlib.metrics import LocalizationReport
from dlib.models import FINISH, CamClassifier, best_model_state, write_model_settings
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

    def update(self, report: LocalizationReport, epoch: int, step: int, model: CamClassifier) -> list[str]:
        """Compare a validation with the best so far; save ``model`` where it is better.

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
                self._save(criterion, step, model)
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

    def folder(self, criterion: str) -> Path:
        return model_folder(self._folder, self._cfg, criterion)

    def weights(self, criterion: str) -> Path:
        return self._checkpoints.best_weights(criterion, int(self.records[criterion]["step"]))

    def state(self) -> dict[str, Record]:
        return {criterion: dict(record) for criterion, record in self.records.items()}

    def restore(self, state: dict[str, Record]) -> None:
        """Restore the records of a checkpoint, and the files that belong to them."""
        self.records = {criterion: dict(record) for criterion, record in state.items()}
        if not is_main():
            return
        for criterion in CRITERIA:
            if criterion in self.records:
                step = int(self.records[criterion]["step"])
                self._publish(criterion, step, self._checkpoints.best_weights(criterion, step).read_bytes())

    def _save(self, criterion: str, step: int, model: CamClassifier) -> None:
        folder = self.folder(criterion)
        path = folder / f"{step}_best_model.pth"
        save_tensors(path, best_model_state(model))
        cfg, finish = self._cfg, {flag: getattr(self._cfg, flag) for flag in FINISH}
        write_model_settings(model, folder, **model_facts(cfg, cfg.task, cfg.method, self._classes, finish))
        self._checkpoints.keep_best(path, criterion, step)
        self._remove_others(criterion, step)

    def _publish(self, criterion: str, step: int, content: bytes) -> None:
        path = self.folder(criterion) / f"{step}_best_model.pth"
        if not path.exists():
            write_atomically(path, lambda stream: stream.write(content))
        self._remove_others(criterion, step)

    def _remove_others(self, criterion: str, step: int) -> None:
        for other in self.folder(criterion).glob("*_best_model.pth"):
            if other.name != f"{step}_best_model.pth":
                other.unlink()


def model_facts(
    cfg: Config, task: str, method: str, classes: list[str], finish: Mapping[str, float]
) -> dict[str, Any]:
    """What prediction needs besides the network's settings, so that weights can be used alone.

    Args:
        finish: how the maps of the model are finished, by the flags of ``dlib.models.FINISH``.
    """
    return {
        "task": task,
        "method": method,
        "dataset": cfg.dataset,
        "classes": classes,
        "crop_size": cfg.crop_size,
        "eval_size": cfg.eval_side,
        "box_v2_metric": cfg.box_v2_metric,
        **finish,
    }
