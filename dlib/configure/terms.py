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
    """One loss term.

    Attributes:
        name: the switch ``--NAME``, and the term in losses and logs.
        title: the term in the report.
        help: what the switch does.
        loss: its class, a ``dlib.losses.Term``, as ``module:Class``.
        weight_flag, weight: the flag of λ and its default.
        start_flag, end_flag: the flags of the first and the last epoch; None: on in every epoch.
        options: the class's other arguments, each with the flag that gives its value; both have the same type.
        group: the group of flags that has the term's flags.
        task: the task that has the term.
    """

    name: str
    title: str
    help: str
    loss: str
    weight_flag: str
    weight: float = 1.0
    start_flag: str | None = None
    end_flag: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    group: str = "SizeFlags"
    task: str = COLOCAM


@dataclass(frozen=True)
class TermSettings:
    """What the flags say about one term: see ``Config.term``.

    Attributes:
        row: the term.
        on: whether it is part of the loss.
        weight: λ.
        start_epoch, end_epoch: first and last epoch; the first of all is 1, -1: no end.
        options: the class's other arguments.
    """

    row: TermRow
    on: bool
    weight: float
    start_epoch: int
    end_epoch: int
    options: dict[str, Any]


# In the order in which the losses are added up.
_ROWS = (
    TermRow(
        "sl_clc",
        title="Seeds",
        help="seeds: train the maps on pixels that CAMs mark as foreground or background",
        loss="dlib.losses.colocam:SelfLearning",
        weight_flag="sl_clc_lambda",
        start_flag="sl_clc_start_ep",
        end_flag="sl_clc_end_ep",
        options={"ignore_index": "seg_ignore_idx", "balance": "sl_clc_balance"},
        group="SeedFlags",
    ),
    TermRow(
        "soft_cam_clc",
        title="Soft CAM",
        help="soft CAM: the maps follow the CAM in every pixel, with or without seeds",
        loss="dlib.losses.colocam:SoftCam",
        weight_flag="soft_cam_clc_lambda",
        start_flag="soft_cam_clc_start_ep",
        end_flag="soft_cam_clc_end_ep",
        group="SeedFlags",
    ),
    TermRow(
        "crf_clc",
        title="Dense CRF",
        help="dense CRF: pixels of a frame that are near in place and colour get the same label",
        loss="dlib.losses.colocam:ConRanField",
        weight_flag="crf_clc_lambda",
        weight=2e-09,
        start_flag="crf_clc_start_ep",
        end_flag="crf_clc_end_ep",
        options={
            "sigma_rgb": "crf_clc_sigma_rgb",
            "sigma_xy": "crf_clc_sigma_xy",
            "scale_factor": "crf_clc_scale",
            "backend": "crf_backend",
        },
        group="CrfFlags",
    ),
    TermRow(
        "rgb_jcrf_clc",
        title="Joint colour CRF",
        help="joint colour CRF: pixels of like colour in the frames of a shot get the same label",
        loss="dlib.losses.colocam:RgbJointConRanField",
        weight_flag="rgb_jcrf_clc_lambda",
        weight=2e-09,
        start_flag="rgb_jcrf_clc_start_ep",
        end_flag="rgb_jcrf_clc_end_ep",
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
    TermRow(
        "max_sizepos_clc",
        title="Size prior",
        help="size prior: neither foreground nor background may vanish from a map",
        loss="dlib.losses.colocam:MaxSizePositive",
        weight_flag="max_sizepos_clc_lambda",
        start_flag="max_sizepos_clc_start_ep",
        end_flag="max_sizepos_clc_end_ep",
    ),
    TermRow(
        "min_entropy_clc",
        title="Entropy",
        help="entropy: every pixel is clearly foreground or background",
        loss="dlib.losses.colocam:Entropy",
        weight_flag="min_entropy_clc_lambda",
        start_flag="min_entropy_clc_start_ep",
        end_flag="min_entropy_clc_end_ep",
    ),
    TermRow(
        "size_bg_g_fg_clc",
        title="Background larger",
        help="the background is larger than the foreground",
        loss="dlib.losses.colocam:BgSizeGreaterFg",
        weight_flag="size_bg_g_fg_clc_lambda",
        start_flag="size_bg_g_fg_clc_start_ep",
        end_flag="size_bg_g_fg_clc_end_ep",
    ),
    TermRow(
        "sizefg_tmp_clc",
        title="Foreground size",
        help="the foreground is as large as the CAM's region of interest (ROI)",
        loss="dlib.losses.colocam:FgSize",
        weight_flag="sizefg_tmp_clc_lambda",
        start_flag="sizefg_tmp_clc_start_ep",
        end_flag="sizefg_tmp_clc_end_ep",
        options={"eps": "sizefg_tmp_clc_eps"},
    ),
    TermRow(
        "empty_out_bb_clc",
        title="Empty outside ROI",
        help="no foreground outside the bounding box of the CAM's region of interest (ROI)",
        loss="dlib.losses.colocam:EmptyOutsideBbox",
        weight_flag="empty_out_bb_clc_lambda",
        start_flag="empty_out_bb_clc_start_ep",
        end_flag="empty_out_bb_clc_end_ep",
    ),
)
_COLOCAM: dict[str, TermRow] = {row.name: row for row in _ROWS}

# Terms of other tasks that are like one of CoLo-CAM's, under other names.
_TCAM_ROWS = (
    replace(
        _COLOCAM["sl_clc"],
        name="sl_tc",
        weight_flag="sl_tc_lambda",
        start_flag="sl_tc_start_ep",
        end_flag="sl_tc_end_ep",
        options={"ignore_index": "seg_ignore_idx"},
        group="TcamSeedFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["crf_clc"],
        name="crf_tc",
        weight_flag="crf_tc_lambda",
        start_flag="crf_tc_start_ep",
        end_flag="crf_tc_end_ep",
        options={
            "sigma_rgb": "crf_tc_sigma_rgb",
            "sigma_xy": "crf_tc_sigma_xy",
            "scale_factor": "crf_tc_scale",
            "backend": "crf_backend",
        },
        group="TcamTermFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["rgb_jcrf_clc"],
        name="rgb_jcrf_tc",
        weight_flag="rgb_jcrf_tc_lambda",
        start_flag="rgb_jcrf_tc_start_ep",
        end_flag="rgb_jcrf_tc_end_ep",
        options={
            "sigma_rgb": "rgb_jcrf_tc_sigma_rgb",
            "scale_factor": "rgb_jcrf_tc_scale",
            "backend": "crf_backend",
        },
        group="TcamTermFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["max_sizepos_clc"],
        name="max_sizepos_tc",
        weight_flag="max_sizepos_tc_lambda",
        start_flag="max_sizepos_tc_start_ep",
        end_flag="max_sizepos_tc_end_ep",
        group="TcamTermFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["size_bg_g_fg_clc"],
        name="size_bg_g_fg_tc",
        weight_flag="size_bg_g_fg_tc_lambda",
        start_flag="size_bg_g_fg_tc_start_ep",
        end_flag="size_bg_g_fg_tc_end_ep",
        group="TcamTermFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["sizefg_tmp_clc"],
        name="sizefg_tmp_tc",
        weight_flag="sizefg_tmp_tc_lambda",
        start_flag="sizefg_tmp_tc_start_ep",
        end_flag="sizefg_tmp_tc_end_ep",
        options={"eps": "sizefg_tmp_tc_eps"},
        group="TcamTermFlags",
        task=TCAM,
    ),
    replace(
        _COLOCAM["empty_out_bb_clc"],
        name="empty_out_bb_tc",
        weight_flag="empty_out_bb_tc_lambda",
        start_flag="empty_out_bb_tc_start_ep",
        end_flag="empty_out_bb_tc_end_ep",
        group="TcamTermFlags",
        task=TCAM,
    ),
)
_FCAM_ROWS = (
    replace(
        _COLOCAM["sl_clc"],
        name="sl_fc",
        weight_flag="sl_fc_lambda",
        start_flag="sl_start_ep",
        end_flag="sl_end_ep",
        options={"ignore_index": "seg_ignore_idx"},
        group="FcamFlags",
        task=F_CL,
    ),
    replace(
        _COLOCAM["crf_clc"],
        name="crf_fc",
        weight_flag="crf_lambda",
        start_flag="crf_start_ep",
        end_flag="crf_end_ep",
        options={
            "sigma_rgb": "crf_sigma_rgb",
            "sigma_xy": "crf_sigma_xy",
            "scale_factor": "crf_scale",
            "backend": "crf_backend",
        },
        group="FcamFlags",
        task=F_CL,
    ),
    replace(
        _COLOCAM["max_sizepos_clc"],
        name="max_sizepos_fc",
        weight_flag="max_sizepos_fc_lambda",
        start_flag="max_sizepos_fc_start_ep",
        end_flag="max_sizepos_fc_end_ep",
        group="FcamFlags",
        task=F_CL,
    ),
    replace(
        _COLOCAM["min_entropy_clc"],
        name="entropy_fc",
        weight_flag="entropy_fc_lambda",
        start_flag=None,
        end_flag=None,
        group="FcamFlags",
        task=F_CL,
    ),
)
TERMS: dict[str, TermRow] = {row.name: row for row in (*_ROWS, *_TCAM_ROWS, *_FCAM_ROWS)}

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
        start = flag(0, "first epoch in which this term is on; epochs count from 1", ge=0)
        flags[row.start_flag] = (int, start)
    if row.end_flag:
        flags[row.end_flag] = (int, flag(-1, "last epoch in which this term is on; -1: no end", ge=-1))
    return flags
