"""A study uses results that it finds in its folder only if they were made with its present flags."""

from __future__ import annotations

from pathlib import Path

from dlib.configure import flags_model, flags_run
from dlib.configure.config import Config, saved_flags
from dlib.configure.flag import flags_of
from dlib.configure.table import FLAGS
from dlib.utils.errors import UserError


def _names(*groups: type) -> set[str]:
    return {flag.name for group in groups for flag in flags_of(group)}


# Folders, how often things are saved and shown, the device: no result depends on these flags.
_ELSEWHERE = _names(flags_run.RunFlags) - {"task", "MYSEED", "deterministic"}
_ELSEWHERE |= _names(flags_run.CheckpointFlags, flags_run.OutputFlags, flags_run.DistributedFlags)
_ELSEWHERE |= {"data_root", "metadata_root", "num_workers", "eval_batch_size", "cam_chunk_size"}
_ELSEWHERE |= {"eval_only", "fd_exp", "split"}
# Flags that an evaluation does not read: its weights come from the classifier, whose flags are compared separately.
_TRAINING = _names(flags_run.SamplingFlags, flags_run.TrainingFlags, flags_model.OptimizerFlags) - {
    "amp_eval"
}
_TRAINING |= _names(flags_model.ClassifierFlags) | {"task", "arch", "MYSEED", "aug_color", "aug_scale_min"}


def is_begun(experiment: Path) -> bool:
    """Whether ``experiment`` is finished, or has a checkpoint from which it would resume."""
    return (experiment / "passed.txt").exists() or any((experiment / "checkpoints").glob("*"))


def is_evaluated(folder: Path, split: str = "*") -> bool:
    """Whether ``folder`` has the results of ``split``; by default of any."""
    return any(folder.glob(f"eval_*_{split}_*.json"))


def refuse_changed(saved: Path, wanted: Config, title: str, evaluation: bool = False, of: str = "") -> None:
    """UserError, naming flag, old and new value and the remedy, if ``saved`` was made with other flags than ``wanted``.

    Args:
        saved: all effective flags in YAML, in the folder of the results; a missing file is not compared.
        evaluation: only the flags that ``--eval_only`` reads are compared.
        of: whose flags these are, if they are not the run's own.
    """
    if not saved.exists():
        return
    before, ignored = saved_flags(saved), _ELSEWHERE | (_TRAINING if evaluation else set())
    if before is None:
        raise UserError(f"{saved}: cannot be read as flags; give another --out, or remove its folder")
    # The folds decide the number of classes unless the study gives it.
    ignored = ignored | ({"num_classes"} - wanted.explicit)
    values = wanted.to_dict()
    # Given flags first: others, such as spatial_pooling, follow from them.
    for name in sorted(set(FLAGS) - ignored, key=lambda name: name not in wanted.explicit):
        old = before.get(name, FLAGS[name].default)
        if old != values[name]:
            raise UserError(
                f"{title}: {saved.parent} was made with --{name} {old}{of}, the study says {values[name]}; give "
                "another --out, or remove that folder"
            )
