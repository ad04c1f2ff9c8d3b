"""Losses: the extended log-barrier, the terms (`dlib.losses.colocam`, `dlib.losses.sizes`) and their weighted sum."""

from dlib.losses.base import BarrierTerm, LossInputs, LossTerm, Term, TotalLoss
from dlib.losses.elb import ELB

__all__ = ["ELB", "BarrierTerm", "LossInputs", "LossTerm", "Term", "TotalLoss"]
