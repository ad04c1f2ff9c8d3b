"""Which maps are better on validation: those that a run trains, or those of the classifier that it builds on.

With few videos the trained decoder can be worse. ``dlib.localizer`` then uses the classifier, which is kept in the
experiment's folder. It draws boxes without thresholds, so these are compared.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from dlib.configure.config import Config
from dlib.configure.constants import BEST_LOCALIZATION, CLASSIFIER_FOLDER, STD_CL
from dlib.learning.best import write_best_model
from dlib.learning.results import Results, write_thresholds
from dlib.models import MapMaker
from dlib.utils.logging import logger
from dlib.utils.text import percent
from dlib.visualization.measured import BOX_RULE, headline_by


def keep_better(folder: Path, cfg: Config, classes: list[str], maker: MapMaker, results: Results) -> None:
    """Say which is better on validation, and keep the classifier of ``maker`` in ``folder`` if it is that.

    On a tie, or if nothing can be compared, the trained maps count as better.

    Args:
        results: with the validations of both.
    """
    validation = results.content["classifier_val"]
    own = headline_by(results.content["val"][BEST_LOCALIZATION], BOX_RULE)
    other = headline_by(validation, BOX_RULE)
    kept = folder / CLASSIFIER_FOLDER
    wins = own is not None and other is not None and other > own
    results.content["better_on_validation"] = "classifier" if wins else cfg.task
    shutil.rmtree(kept, ignore_errors=True)  # of a run that was started again
    if own is None or other is None:
        logger.info(f"{cfg.task} and its classifier cannot be compared without boxes of validation frames")
        return
    if wins:
        write_best_model(kept / "0_best_model.pth", maker, cfg, STD_CL, classes)
        write_thresholds(kept, BEST_LOCALIZATION, validation)
    winner = "the classifier" if wins else cfg.task
    equal = "not worse than its classifier" if other == own else "better"
    logger.info(
        f"on validation {winner} is {equal}: CorLoc without thresholds {percent(own)} of {cfg.task}, {percent(other)} "
        f"of its classifier's {maker.method}; colocam localize uses {winner} by default"
    )
