"""Flags of F-CAM. Switch, λ and epochs of each term come from its row in ``terms.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlib.configure.flag import flag, like
from dlib.configure.flags_colocam import CrfFlags, SeedFlags
from dlib.configure.terms import with_terms
from dlib.utils.errors import UsageError

if TYPE_CHECKING:
    from dlib.configure.table import Flags

_NOT_USED = "the authors' program does not use it either"
_NO_RECONSTRUCTION = "images are not reconstructed, see im_rec"


@dataclass(frozen=True)
@with_terms
class FcamFlags:
    """F-CAM: seeds, CRF, size and entropy (sl_fc, crf_fc, max_sizepos_fc, entropy_fc)."""

    sl_min: int = like(SeedFlags, "sl_clc_min")
    sl_max: int = like(SeedFlags, "sl_clc_max")
    sl_min_p: float = like(SeedFlags, "sl_clc_min_p")
    sl_ksz: int = like(SeedFlags, "sl_clc_ksz", default=1)
    sl_block: int = like(SeedFlags, "sl_clc_block")
    sl_fg_erode_k: int = like(SeedFlags, "sl_clc_fg_erode_k")
    sl_fg_erode_iter: int = flag(
        1, "how many times the ROI is eroded, as long as something is left of it; 0: not", ge=0
    )
    sl_min_ext: int = flag(1000, "background seeds of another seeding", ge=0, no_effect=_NOT_USED)
    sl_max_ext: int = flag(1000, "foreground seeds of another seeding", ge=0, no_effect=_NOT_USED)
    crf_sigma_rgb: float = like(CrfFlags, "crf_clc_sigma_rgb")
    crf_sigma_xy: float = like(CrfFlags, "crf_clc_sigma_xy")
    crf_scale: float = like(CrfFlags, "crf_clc_scale")
    im_rec: bool = flag(False, "reconstruct the image from the maps: not supported, must be False")
    im_rec_lambda: float = flag(1.0, "weight of that term", ge=0, no_effect=_NO_RECONSTRUCTION)
    im_rec_elb: bool = flag(False, "that term under the log-barrier", no_effect=_NO_RECONSTRUCTION)


def check(cfg: Flags) -> list[str]:
    """UsageError for flags of F-CAM that cannot work."""
    if cfg.im_rec:
        raise UsageError("--im_rec True: images are not reconstructed from maps; leave the flag out")
    return []
