"""Options of the pooling head: a group of flags, and what models and heads take."""

from __future__ import annotations

from dataclasses import dataclass, fields

from dlib.configure.constants import POOLINGS, WGAP
from dlib.configure.flag import flag


@dataclass(frozen=True)
class HeadOptions:
    """Pooling head."""

    spatial_pooling: str = flag(
        WGAP, "classification head; follows --method when not given", choices=tuple(POOLINGS)
    )
    support_background: bool = flag(
        True, "one more class map for the background in heads that make maps (no effect for WGAP)"
    )
    wc_modalities: int = flag(5, "WILDCAT: maps per class", ge=1)
    wc_kmax: float = flag(0.5, "WILDCAT: share of highest pixels", gt=0, le=1)
    wc_kmin: float = flag(0.1, "WILDCAT: share of lowest pixels", ge=0, le=1)
    wc_alpha: float = flag(0.6, "WILDCAT: weight of the lowest pixels", ge=0)
    wc_dropout: float = flag(0.0, "WILDCAT: dropout of the highest and lowest pixels", ge=0, le=0.999)
    lse_r: float = flag(10.0, "LogSumExp: sharpness r", gt=0)

    def head_options(self) -> HeadOptions:
        """These options alone, without the other flags of a configuration."""
        return HeadOptions(**{option.name: getattr(self, option.name) for option in fields(HeadOptions)})
