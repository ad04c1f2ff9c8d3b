"""The loss terms that the flags switch on."""

from __future__ import annotations

from dlib.configure.config import Config
from dlib.configure.terms import TermSettings
from dlib.losses import ELB, BarrierTerm, Term, TotalLoss
from dlib.losses.colocam import ClassCrossEntropy
from dlib.utils.lazy import load_object


def build_losses(cfg: Config) -> TotalLoss:
    """The task's terms that are on, in the order of their table; the barrier terms share one ELB.

    If the encoder is trained too, its cross entropy is added.
    """
    barrier = ELB(cfg.elb_init_t, cfg.elb_max_t, cfg.elb_mulcoef)
    smoothing = cfg.std_label_smooth_e if cfg.std_label_smooth else 0.0
    terms: list[Term] = [] if cfg.freeze_cl else [ClassCrossEntropy(smoothing)]
    terms += [_build_term(settings, barrier) for settings in cfg.active_terms()]
    return TotalLoss(terms)


def _build_term(settings: TermSettings, barrier: ELB) -> Term:
    kind: type[Term] = load_object(settings.row.loss)
    options = settings.options | ({"elb": barrier} if issubclass(kind, BarrierTerm) else {})
    return kind(
        name=settings.row.name,
        weight=settings.weight,
        start_epoch=settings.start_epoch,
        end_epoch=settings.end_epoch,
        **options,
    )
