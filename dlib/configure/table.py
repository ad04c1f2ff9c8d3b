"""The whole flags table: every group, in the order in which help and reference page show them."""

from __future__ import annotations

from dataclasses import dataclass

from dlib.configure import flags_colocam, flags_model, flags_run
from dlib.configure.flag import Flag, flags_of


@dataclass(frozen=True)
class Flags(
    flags_run.RunFlags,
    flags_run.DataFlags,
    flags_run.SamplingFlags,
    flags_model.ModelFlags,
    flags_model.MethodFlags,
    flags_model.OptimizerFlags,
    flags_model.ClassifierFlags,
    flags_colocam.SeedFlags,
    flags_colocam.CrfFlags,
    flags_colocam.JointCrfFlags,
    flags_colocam.SizeFlags,
    flags_colocam.BarrierFlags,
    flags_run.TrainingFlags,
    flags_run.EvaluationFlags,
    flags_run.CheckpointFlags,
    flags_run.OutputFlags,
    flags_run.DistributedFlags,
):
    """One attribute per flag."""


FLAGS: dict[str, Flag] = {flag.name: flag for group in Flags.__bases__ for flag in flags_of(group)}
