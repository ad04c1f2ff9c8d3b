"""Flags and tasks of the authors' program that this one does not have; the error names the task, not a spelling."""

from __future__ import annotations

import re

from dlib.configure.constants import TASKS
from dlib.utils.errors import UsageError

_OTHER_TASKS = ("C_BOX", "SEGMENTATION")

_HERE = f"tasks here: {', '.join(TASKS)}"

# Pattern of the full flag name, and the task that the flag belongs to.
_OWNERS = {
    r"cb_\w+|scale_domain": "task C_BOX",
    r"mask_root": "task SEGMENTATION",
    r"(rgb_j)?crf_std(_\w+)?": "task of a classifier with CRF terms",
    r"cl_apply_self_attention|layers_att_tmp|std_layers_att": "task of a classifier with self-attention",
    r"slurm_path[12]|folder_pre_trained_(cl|seeder)|synch_scratch_epoch_freq": "task of copying to a cluster",
    r"proxy_training_set": "task of training on a proxy set",
}


def refuse_foreign_flag(name: str, source: str = "") -> None:
    """UsageError if ``name`` is a flag of a task that this program does not have."""
    for pattern, owner in _OWNERS.items():
        if re.fullmatch(pattern, name):
            raise UsageError(f"{source}this program has no {owner}, which --{name} belongs to ({_HERE})")


def refuse_foreign_task(task: str, source: str = "") -> None:
    """UsageError if ``task`` is one of the authors' other tasks."""
    if task.upper().replace("-", "_") in _OTHER_TASKS:
        raise UsageError(f"{source}this program has no task {task} ({_HERE})")
