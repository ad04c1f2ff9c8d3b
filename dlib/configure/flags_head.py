"""Options of the pooling head: a group of flags, which models and heads use too."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dlib.configure.constants import POOLINGS, WGAP
from dlib.configure.flag import flag


@dataclass(frozen=True)
class HeadOptions:
    """Pooling head."""

    spatial_pooling: str = flag(
        WGAP, "classification head; default: the only one that fits --method", choices=tuple(POOLINGS)
    )
    support_background: bool = flag(
        True, "heads that make maps: one more map for the background (no effect for WGAP)"
    )
    wc_modalities: int = flag(5, "WILDCAT: maps per class, of which the mean is used", ge=1)
    wc_kmax: float = flag(0.5, "WILDCAT: share of the highest pixels that the score is made from", gt=0, le=1)
    wc_kmin: float = flag(
        0.1, "WILDCAT: share of the lowest pixels that the score is made from; 0: none", ge=0, le=1
    )
    wc_alpha: float = flag(0.6, "WILDCAT: weight of the lowest pixels in the score", ge=0)
    wc_dropout: float = flag(
        0.0, "WILDCAT: probability that a pixel of the class maps is dropped in training", ge=0, le=0.999
    )
    lse_r: float = flag(
        10.0, "LogSumExp: sharpness r; near 0: the mean of all pixels; large: their maximum", gt=0
    )

    def head_options(self) -> HeadOptions:
        """These options alone, without the other flags of a configuration."""
        return HeadOptions(**{option.name: getattr(self, option.name) for option in fields(HeadOptions)})
