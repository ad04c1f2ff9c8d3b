"""The table of loss terms: what its rows make of flags, losses and the report."""

from __future__ import annotations

import importlib
import inspect
import typing
from dataclasses import dataclass, fields

import pytest

from dlib.configure.checks import config_warnings
from dlib.configure.config import Config, parse_args
from dlib.configure.flag import flag, flags_of
from dlib.configure.table import FLAGS, Flags
from dlib.configure.terms import TERMS, TermRow, term_title, terms_of, with_terms
from dlib.losses import Term
from dlib.utils.errors import UsageError
from dlib.visualization.charts import diagnosis_charts, loss_charts
from dlib.visualization.records import Experiment

# Published defaults of λ; every term starts at 0 and ends at -1. The soft_cam terms are ours.
COLOCAM = {
    "sl_clc": 1.0,
    "soft_cam_clc": 1.0,
    "crf_clc": 2e-9,
    "rgb_jcrf_clc": 2e-9,
    "max_sizepos_clc": 1.0,
    "min_entropy_clc": 1.0,
    "size_bg_g_fg_clc": 1.0,
    "sizefg_tmp_clc": 1.0,
    "empty_out_bb_clc": 1.0,
}
TCAM = {
    "sl_tc": 1.0,
    "soft_cam_tc": 1.0,
    "crf_tc": 2e-9,
    "rgb_jcrf_tc": 2e-9,
    "max_sizepos_tc": 1.0,
    "size_bg_g_fg_tc": 1.0,
    "sizefg_tmp_tc": 1.0,
    "empty_out_bb_tc": 1.0,
}
# F-CAM's terms: λ, and the flags whose names are not those of the term.
FCAM = {"sl_fc": 1.0, "soft_cam_fc": 1.0, "crf_fc": 2e-9, "max_sizepos_fc": 1.0, "entropy_fc": 1.0}
PREFIX = {"sl_fc": ("sl_fc_lambda", "sl"), "crf_fc": ("crf_lambda", "crf")}
LAMBDAS = COLOCAM | TCAM | FCAM


def loss_class(row: TermRow) -> type[Term]:
    module, name = row.loss.split(":")
    return getattr(importlib.import_module(module), name)


def test_every_row_has_its_flags_with_the_published_defaults() -> None:
    assert list(TERMS) == list(LAMBDAS)
    for name, weight in LAMBDAS.items():
        factor_name, prefix = PREFIX.get(name, (f"{name}_lambda", name))
        switch, factor = FLAGS[name], FLAGS[factor_name]
        assert (switch.kind, switch.default) == (bool, False)
        assert (factor.kind, factor.default, factor.ge) == (float, weight, 0)
        assert factor.group == switch.group
        epochs = [FLAGS.get(f"{prefix}_{end}_ep") for end in ("start", "end")]
        if name == "entropy_fc":
            assert epochs == [None, None]
            continue
        start, end = epochs
        assert (start.kind, start.default, start.ge) == (int, 0, 0)
        assert (end.kind, end.default, end.ge) == (int, -1, -1)
        assert start.group == end.group == switch.group


@pytest.mark.parametrize("name", TERMS)
def test_a_rows_options_are_arguments_of_its_class_of_the_same_type(name: str) -> None:
    row = TERMS[name]
    kind, hints = loss_class(row), typing.get_type_hints(Flags)
    assert issubclass(kind, Term)
    assert row.task != "CoLo-CAM" or kind.name == name
    taken = {
        argument: typing.get_type_hints(step.__init__)[argument]
        for step in reversed(kind.__mro__)
        if issubclass(step, Term) and "__init__" in vars(step)
        for argument in inspect.signature(step.__init__).parameters
        if argument not in ("self", "common")
    }
    assert {argument: hints[flag] for argument, flag in row.options.items()} == {
        argument: taken[argument] for argument in row.options
    }


def test_flags_of_a_row_reach_the_settings() -> None:
    words = "--sl_clc True --sl_clc_lambda 3 --sl_clc_start_ep 2 --sl_clc_end_ep 5 --seg_ignore_idx -7"
    cfg = parse_args(f"--task CoLo-CAM {words} --rgb_jcrf_clc_warmup_ep 4".split())
    term = cfg.term("sl_clc")
    assert (term.on, term.weight, term.start_epoch, term.end_epoch) == (True, 3.0, 2, 5)
    assert term.options == {"ignore_index": -7, "balance": False}
    joint = cfg.term("rgb_jcrf_clc")
    assert (joint.on, joint.weight, joint.options["warmup_epochs"]) == (False, 2e-9, 4)
    assert [active.row.name for active in cfg.active_terms()] == ["sl_clc"]
    assert Config.from_values(cfg.to_dict()) == cfg
    with pytest.raises(KeyError):
        cfg.term("cb_seed")


def test_a_term_belongs_to_its_task() -> None:
    for task, names in (("CoLo-CAM", COLOCAM), ("TCAM", TCAM), ("F_CL", FCAM)):
        assert [row.name for row in terms_of(task)] == list(names)
    assert terms_of("STD_CL") == parse_args(["--sl_clc", "True"]).active_terms() == []
    (warning,) = config_warnings(parse_args(["--crf_clc", "True"]))
    assert warning.startswith("--crf_clc True has no effect")


def test_rows_with_irregular_names_and_without_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        TERMS,
        "crf_x",
        TermRow(
            "crf_x", "CRF", "a CRF", "m:C", "xcrf_lambda", 2e-9, "xcrf_start_ep", "xcrf_end_ep", group="X"
        ),
    )
    monkeypatch.setitem(
        TERMS, "entropy_x", TermRow("entropy_x", "E", "bits", "m:C", "entropy_x_lambda", group="X")
    )

    @dataclass(frozen=True)
    @with_terms
    class X:
        """Another task's terms."""

        xcrf_scale: float = flag(1.0, "scale", gt=0)
        entropy_x_bits: bool = flag(True, "in bits")

    names = ["crf_x", "xcrf_lambda", "xcrf_start_ep", "xcrf_end_ep"]
    names += ["entropy_x", "entropy_x_lambda", "entropy_x_bits", "xcrf_scale"]
    assert [field.name for field in fields(X)] == names
    assert [made.name for made in flags_of(X)] == names
    values = X(xcrf_lambda=5.0, entropy_x=True)  # type: ignore[call-arg]
    crf, entropy = (Flags.term(values, name) for name in ("crf_x", "entropy_x"))  # type: ignore[arg-type]
    assert (crf.on, crf.weight, crf.start_epoch, crf.end_epoch) == (False, 5.0, 0, -1)
    assert (entropy.on, entropy.weight, entropy.start_epoch, entropy.end_epoch) == (True, 1.0, 0, -1)


def test_the_order_of_epochs_is_checked_by_the_names_of_the_row() -> None:
    for name, row in TERMS.items():
        _, prefix = PREFIX.get(name, ("", name))
        if name == "entropy_fc":
            continue
        wrong = f"--task {row.task} --{name} True --{prefix}_start_ep 3 --{prefix}_end_ep 2"
        with pytest.raises(UsageError, match=f"--{prefix}_end_ep 2: .*--{prefix}_start_ep 3"):
            parse_args(wrong.split())


@pytest.mark.parametrize("names", [COLOCAM, TCAM, FCAM])
def test_every_logged_term_has_a_title_of_its_own_in_the_report(names: dict[str, float], tmp_path) -> None:
    logged = [*names, "class"]
    assert len({term_title(name) for name in logged}) == len(logged)
    assert term_title("class") == term_title("classification") == "Classification"
    assert term_title("unheard_of") == "unheard_of"
    epochs = [
        {
            "epoch": epoch,
            "step": epoch,
            "train": {"terms": dict.fromkeys(logged, 1.0)},
            "diagnostics": {"grad_norms": dict.fromkeys(logged, 0.1)},
        }
        for epoch in (1, 2)
    ]
    experiment = Experiment(tmp_path, epochs=epochs)
    assert {chart.title for chart in loss_charts(experiment)} == {term_title(name) for name in logged}
    (norms,) = (chart for chart in diagnosis_charts(experiment) if chart.id == "grads")
    assert {trace["name"] for trace in norms.data} == {term_title(name) for name in logged}
    assert not {trace["name"] for trace in norms.data} & set(logged)
