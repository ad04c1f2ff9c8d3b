"""The table of loss terms: one row gives a term's flags (switch, λ, epochs), their checks, its class and its title.

A new term is a class in ``dlib/losses/`` and a row here. Its other flags are fields of a group in ``flags_*.py``.
Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from dlib.configure.constants import COLOCAM, F_CL, TCAM
from dlib.configure.flag import flag


@dataclass(frozen=True)
class TermRow:
    """One loss term; ``options``: the class's other arguments, each with the flag of the same type that gives it."""

    name: str  # the switch --NAME, and the term in losses and logs
    title: str  # in the report
    help: str  # what the switch does
    loss: str  # its class, a dlib.losses.Term, as module:Class
    weight_flag: str  # of λ
    weight: float = 1.0  # the default of λ
    start_flag: str | None = None  # of the first epoch; None: on from the start
    end_flag: str | None = None  # of the last epoch; None: on to the end
    options: Mapping[str, str] = field(default_factory=dict)
    group: str = "SizeFlags"  # of flags, which has the term's flags
    task: str = COLOCAM  # that has the term


@dataclass(frozen=True)
class TermSettings:
    """What the flags say about one term: see ``Config.term``."""

    row: TermRow
    on: bool  # whether it is part of the loss
    weight: float  # λ
    start_epoch: int  # epochs count from 1
    end_epoch: int  # the last one; -1: no end
    options: dict[str, Any]  # the class's other arguments


def _row(name: str, like: TermRow | None = None, **fields: Any) -> TermRow:
    """The term ``name``, whose flags are NAME_lambda, NAME_start_ep and NAME_end_ep unless ``fields`` say otherwise.

    Args:
        like: a term of another task that gives all other fields.
    """
    flags = {"weight_flag": f"{name}_lambda", "start_flag": f"{name}_start_ep", "end_flag": f"{name}_end_ep"}
    values = {"name": name, **flags, **fields}
    return replace(like, **values) if like else TermRow(**values)


def _crf_options(flags: str) -> dict[str, str]:
    """Options of a dense CRF, from the flags whose names begin with ``flags``."""
    return {
        "sigma_rgb": f"{flags}_sigma_rgb",
        "sigma_xy": f"{flags}_sigma_xy",
        "scale_factor": f"{flags}_scale",
        "backend": "crf_backend",
    }


# In the order in which the losses are added up.
_ROWS = (
    _row(
        "sl_clc",
        title="Seeds",
        help="seeds: train the maps on pixels that CAMs mark as foreground or background",
        loss="dlib.losses.colocam:SelfLearning",
        options={"ignore_index": "seg_ignore_idx", "balance": "sl_clc_balance"},
        group="SeedFlags",
    ),
    _row(
        "soft_cam_clc",
        title="Soft CAM",
        help="soft CAM: the maps follow the CAM in every pixel, with or without seeds",
        loss="dlib.losses.colocam:SoftCam",
        group="SeedFlags",
    ),
    _row(
        "crf_clc",
        title="Dense CRF",
        help="dense CRF: pixels of a frame that are near in place and colour get the same label",
        loss="dlib.losses.colocam:ConRanField",
        weight=2e-09,
        options=_crf_options("crf_clc"),
        group="CrfFlags",
    ),
    _row(
        "rgb_jcrf_clc",
        title="Joint colour CRF",
        help="joint colour CRF: pixels of like colour in the frames of a shot get the same label",
        loss="dlib.losses.colocam:RgbJointConRanField",
        weight=2e-09,
        options={
            "sigma_rgb": "rgb_jcrf_clc_sigma_rgb",
            "scale_factor": "rgb_jcrf_clc_scale",
            "lambda_style": "rgb_jcrf_clc_lambda_style",
            "input_data": "rgb_jcrf_clc_input_data",
            "input_re_dim": "rgb_jcrf_clc_input_re_dim",
            "backend": "crf_backend",
            "seed_agreement": "rgb_jcrf_clc_seed_agreement",
            "warmup_epochs": "rgb_jcrf_clc_warmup_ep",
        },
        group="JointCrfFlags",
    ),
    _row(
        "max_sizepos_clc",
        title="Size prior",
        help="size prior: neither foreground nor background may vanish from a map",
        loss="dlib.losses.sizes:MaxSizePositive",
    ),
    _row(
        "min_entropy_clc",
        title="Entropy",
        help="entropy: every pixel is clearly foreground or background",
        loss="dlib.losses.colocam:Entropy",
    ),
    _row(
        "size_bg_g_fg_clc",
        title="Background larger",
        help="the background is larger than the foreground",
        loss="dlib.losses.sizes:BgSizeGreaterFg",
    ),
    _row(
        "sizefg_tmp_clc",
        title="Foreground size",
        help="the foreground is as large as the CAM's region of interest (ROI)",
        loss="dlib.losses.sizes:FgSize",
        options={"eps": "sizefg_tmp_clc_eps"},
    ),
    _row(
        "empty_out_bb_clc",
        title="Empty outside ROI",
        help="no foreground outside the bounding box of the CAM's region of interest (ROI)",
        loss="dlib.losses.sizes:EmptyOutsideBbox",
    ),
)
_COLOCAM: dict[str, TermRow] = {row.name: row for row in _ROWS}


def _tcam(name: str, like: str, group: str = "TcamTermFlags", **fields: Any) -> TermRow:
    return _row(name, _COLOCAM[like], group=group, task=TCAM, **fields)


def _fcam(name: str, like: str, **fields: Any) -> TermRow:
    return _row(name, _COLOCAM[like], group="FcamFlags", task=F_CL, **fields)


# Terms of other tasks that are like one of CoLo-CAM's, under other names.
_OTHERS = (
    _tcam("sl_tc", "sl_clc", "TcamSeedFlags", options={"ignore_index": "seg_ignore_idx"}),
    _tcam("soft_cam_tc", "soft_cam_clc"),
    _tcam("crf_tc", "crf_clc", options=_crf_options("crf_tc")),
    _tcam(
        "rgb_jcrf_tc",
        "rgb_jcrf_clc",
        options={
            "sigma_rgb": "rgb_jcrf_tc_sigma_rgb",
            "scale_factor": "rgb_jcrf_tc_scale",
            "backend": "crf_backend",
        },
    ),
    _tcam("max_sizepos_tc", "max_sizepos_clc"),
    _tcam("size_bg_g_fg_tc", "size_bg_g_fg_clc"),
    _tcam("sizefg_tmp_tc", "sizefg_tmp_clc", options={"eps": "sizefg_tmp_tc_eps"}),
    _tcam("empty_out_bb_tc", "empty_out_bb_clc"),
    _fcam(
        "sl_fc",
        "sl_clc",
        start_flag="sl_start_ep",
        end_flag="sl_end_ep",
        options={"ignore_index": "seg_ignore_idx"},
    ),
    _fcam("soft_cam_fc", "soft_cam_clc"),
    _fcam(
        "crf_fc",
        "crf_clc",
        weight_flag="crf_lambda",
        start_flag="crf_start_ep",
        end_flag="crf_end_ep",
        options=_crf_options("crf"),
    ),
    _fcam("max_sizepos_fc", "max_sizepos_clc"),
    _fcam("entropy_fc", "min_entropy_clc", start_flag=None, end_flag=None),
)
TERMS: dict[str, TermRow] = {row.name: row for row in (*_ROWS, *_OTHERS)}

# Losses without a switch: the only loss of a classifier, and that of an encoder that is trained with the maps.
_OTHER_TITLES = {"classification": "Classification", "class": "Classification"}


def term_title(name: str) -> str:
    """Title of the term that logs call ``name``; the name itself where there is no such term."""
    return TERMS[name].title if name in TERMS else _OTHER_TITLES.get(name, name)


def terms_of(task: str) -> list[TermRow]:
    """The terms of a task."""
    return [row for row in TERMS.values() if row.task == task]


_Group = TypeVar("_Group", bound=type)


def with_terms(group: _Group) -> _Group:
    """Class decorator below ``@dataclass``: adds the flags of the terms whose row names ``group``.

    They become the first fields. Each term's flags are followed by the declared fields whose names begin with its name.
    """
    declared = dict(group.__annotations__)
    ordered: dict[str, Any] = {}
    for row in TERMS.values():
        if row.group == group.__name__:
            for name, (kind, field_) in _flags_of_row(row).items():
                ordered[name] = kind
                setattr(group, name, field_)
            ordered |= {name: kind for name, kind in declared.items() if name.startswith(f"{row.name}_")}
    group.__annotations__ = ordered | declared
    return group


def _flags_of_row(row: TermRow) -> dict[str, tuple[type, Any]]:
    """The flags that a row makes, as dataclass fields with their types."""
    flags: dict[str, tuple[type, Any]] = {
        row.name: (bool, flag(False, row.help)),
        row.weight_flag: (
            float,
            flag(row.weight, "weight λ of this term in the loss; larger: it counts more", ge=0),
        ),
    }
    if row.start_flag:
        flags[row.start_flag] = (
            int,
            flag(0, "first epoch in which this term is on; epochs count from 1", ge=0),
        )
    if row.end_flag:
        flags[row.end_flag] = (int, flag(-1, "last epoch in which this term is on; -1: no end", ge=-1))
    return flags
