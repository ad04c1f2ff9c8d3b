"""The flags table: all groups, in the order of the help and of the reference page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlib.configure import (
    flags_colocam,
    flags_decoder,
    flags_evaluation,
    flags_fcam,
    flags_head,
    flags_model,
    flags_run,
    flags_tcam,
)
from dlib.configure.flag import Flag, flags_of
from dlib.configure.terms import TERMS, TermSettings, terms_of

_GENERAL = {module.__name__ for module in (flags_run, flags_evaluation, flags_model, flags_head)}


@dataclass(frozen=True)
class Flags(
    flags_run.RunFlags,
    flags_run.DataFlags,
    flags_run.SamplingFlags,
    flags_model.ModelFlags,
    flags_model.MethodFlags,
    flags_head.HeadOptions,
    flags_model.OptimizerFlags,
    flags_model.ClassifierFlags,
    flags_colocam.SeedFlags,
    flags_colocam.CrfFlags,
    flags_colocam.JointCrfFlags,
    flags_colocam.SizeFlags,
    flags_tcam.TcamSeedFlags,
    flags_tcam.TcamTermFlags,
    flags_fcam.FcamFlags,
    flags_decoder.DecoderFlags,
    flags_decoder.BarrierFlags,
    flags_run.TrainingFlags,
    flags_evaluation.EvaluationFlags,
    flags_run.CheckpointFlags,
    flags_run.OutputFlags,
    flags_run.DistributedFlags,
):
    """One attribute per flag; ``term`` reads the flags that come from the rows of loss terms."""

    def term(self, name: str) -> TermSettings:
        """What the flags say about the loss term ``name``. Raises KeyError for a name without a row."""
        row = TERMS[name]
        return TermSettings(
            row=row,
            on=getattr(self, row.name),
            weight=getattr(self, row.weight_flag),
            start_epoch=getattr(self, row.start_flag) if row.start_flag else 0,
            end_epoch=getattr(self, row.end_flag) if row.end_flag else -1,
            options={argument: getattr(self, flag) for argument, flag in row.options.items()},
        )

    def active_terms(self) -> list[TermSettings]:
        """The terms of the task that are switched on, in the order of the table."""
        return [term for row in terms_of(self.task) if (term := self.term(row.name)).on]


# The flags of tasks that train maps on a classifier; the classifier itself has none of them.
GROUPS_OF_MAP_TASKS = tuple(group for group in Flags.__bases__ if group.__module__ not in _GENERAL)
FLAGS: dict[str, Flag] = {flag.name: flag for group in Flags.__bases__ for flag in flags_of(group)}


def spelled(record: Mapping[str, Any]) -> dict[str, Any]:
    """``record``, by names of flags, with the choices as this version spells them; older files may differ."""
    return {name: FLAGS[name].spelled(value) if name in FLAGS else value for name, value in record.items()}
