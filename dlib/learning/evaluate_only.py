"""``--eval_only``: measure a finished experiment, or weights in the authors' format, once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlib.configure.config import Config
from dlib.configure.flag import flags_of
from dlib.configure.flags_run import DistributedFlags
from dlib.configure.table import FLAGS
from dlib.datasets.splits import read_frames
from dlib.learning.evaluation import evaluate
from dlib.learning.results import as_text, with_validation_thresholds
from dlib.localizer import find_weights
from dlib.models import is_of_authors_program, load_best_model, read_model_settings
from dlib.tasks import build_task
from dlib.utils import distributed
from dlib.utils.errors import UserError
from dlib.utils.files import read_json, write_json
from dlib.utils.logging import logger, start_logging
from dlib.utils.signals import StopRequest

_NEEDED = ("task", "encoder_name", "method", "crop_size")  # what weights must be described by
_MACHINE = tuple(flag.name for flag in flags_of(DistributedFlags))


def evaluate_only(cfg: Config) -> None:
    """Print the localization report of ``--fd_exp`` on ``--split`` of any dataset with the same classes.

    ``--fd_exp`` is an experiment's folder (its ``config.yml`` says what was trained, ``--eval_checkpoint_type`` says
    which weights are used), or a folder of weights alone: its ``config_model.yaml``, if there is one, and the other
    flags then describe the model. An experiment of the authors' program is read as such a folder. Flags on the command
    line win. ``eval_<dataset>_<split>_<criterion>.json`` is written into ``--fd_exp``.

    Raises UserError for missing weights or data, and for a dataset with other classes than the model's.
    """
    folder = Path(cfg.fd_exp or "")
    weights = find_weights(folder, cfg.eval_checkpoint_type)
    description = weights / "config_model.yaml"
    described = read_model_settings(description.parent) if description.exists() else {}
    _check_described(cfg, description, described)
    cfg = settings_of(cfg, folder, described)
    device = distributed.device_of_process(cfg.device, cfg.cudaid, cfg.local_rank)
    with distributed.process_group(cfg.dist_backend, cfg.local_world_size, cfg.init_method, device):
        start_logging(None, distributed.is_main(), cfg.verbose, cfg.progress)
        dataset = read_frames(cfg, cfg.split)
        validation = _validation_of(folder, cfg.eval_checkpoint_type)
        check_classes(described.get("classes"), dataset.metadata.class_names, cfg.dataset)
        task = build_task(cfg, dataset.metadata.class_names, device, initialize=False)
        load_best_model(task.model, weights, promoted=Path(cfg.pretrained_root))
        report = evaluate(task.maps, dataset, cfg, cfg.cam_curve_interval, StopRequest(device), cfg.split)
        if not distributed.is_main():
            return
        entry = with_validation_thresholds(report, validation)
        path = folder / f"eval_{cfg.dataset}_{cfg.split}_{cfg.eval_checkpoint_type}.json"
        write_json(path, entry)
        logger.info(as_text(f"{weights.name} on {cfg.dataset} {cfg.split}", entry))
        logger.info(f"written to {path}")


def _check_described(cfg: Config, path: Path, described: dict[str, Any]) -> None:
    """UserError if the description lacks a value that no flag gives either; without a description the flags count."""
    missing = [name for name in _NEEDED if described and name not in described and name not in cfg.explicit]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}: add lines such as '{missing[0]}: {FLAGS[missing[0]].default}' to it, "
            f"or give {', '.join(f'--{name}' for name in missing)}"
        )


def _validation_of(folder: Path, criterion: str) -> Any:
    """The validation entry of the experiment's ``results.json``; None without that file or that entry."""
    results = folder / "results.json"
    if not results.exists():
        return None
    try:
        return read_json(results)["val"].get(criterion)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{results}: not an experiment's results; move it away to evaluate without it"
        ) from error


def settings_of(cfg: Config, folder: Path, described: dict[str, Any]) -> Config:
    """The flags that the model was trained with; those given on the command line win over them.

    Args:
        described: content of ``config_model.yaml``; used where ``folder`` has no ``config.yml`` of this program.
    """
    given = {name: getattr(cfg, name) for name in cfg.explicit}
    given |= {"fd_exp": str(folder), "eval_only": True}
    saved = folder / "config.yml"
    if saved.exists() and not is_of_authors_program(saved):
        # Devices and processes are those of this machine, not of the one that trained.
        here = {name: getattr(cfg, name) for name in (*_MACHINE, "num_workers")}
        return Config.from_yaml(saved).replace(**here, **{n: v for n, v in given.items() if n not in here})
    known = {name: value for name, value in described.items() if name in FLAGS and name != "num_classes"}
    return Config.from_values({**known, **given}, cfg.explicit)


def check_classes(model: Any, dataset: list[str], name: str) -> None:
    """UserError unless the dataset's classes are the model's, in the same order; a model without names passes.

    Weights without a list of classes are checked by their number alone, when they are loaded.
    """
    if not isinstance(model, list) or model == dataset:
        return
    differing = sorted(set(map(str, model)) ^ set(dataset))
    reason = f"they differ in {', '.join(differing[:5])}" if differing else "their order differs"
    raise UserError(
        f"--dataset {name}: its classes are not the model's ({reason}); the model has {', '.join(map(str, model))}"
    )
