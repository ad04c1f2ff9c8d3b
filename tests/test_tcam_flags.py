"""Flags of TCAM and F-CAM: the published defaults and command lines, what is refused, what each loss flag changes."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import torch

from dlib.configure.checks import config_warnings
from dlib.configure.config import Config, experiment_dir, parse_args
from dlib.configure.table import FLAGS
from dlib.configure.terms import TERMS, terms_of
from dlib.losses import LossInputs
from dlib.tasks.decoder.losses import build_losses
from dlib.utils.errors import UsageError
from dlib.utils.timing import StepClock
from helpers.programs import start
from helpers.published_lines import published_flags
from helpers.workplace import Workplace, fcam_flags, tcam_flags

SIDE = 24

# Name and published default; the type is the default's.
TCAM: dict[str, Any] = {
    "sl_tc_knn": 0,
    "sl_tc_knn_mode": "instant",
    "sl_tc_knn_t": 0.0,
    "sl_tc_min_t": 0.0,
    "sl_tc_knn_epoch_switch_uniform": -1,
    "sl_tc_epoch_switch_to_sl": -1,
    "sl_tc_min": 10,
    "sl_tc_max": 10,
    "sl_tc_min_p": 0.2,
    "sl_tc_max_p": 0.2,
    "sl_tc_ksz": 1,
    "sl_tc_block": 1,
    "sl_tc_seed_tech": "seed_uniform",
    "sl_tc_use_roi": False,
    "sl_tc_roi_method": "roi_all",
    "sl_tc_roi_min_size": 0.05,
    "sl_tc_roi_mask": "region",
    "sl_tc_fg_erode_k": 11,
    "sl_tc_fg_erode_iter": 0,
    "crf_tc_sigma_rgb": 15.0,
    "crf_tc_sigma_xy": 100.0,
    "crf_tc_scale": 1.0,
    "rgb_jcrf_tc_sigma_rgb": 15.0,
    "rgb_jcrf_tc_scale": 1.0,
    "sizefg_tmp_tc_eps": 0.001,
    "sizefg_tmp_tc_knn": 0,
    "sizefg_tmp_tc_knn_mode": "instant",
    "knn_tc": 0,
    "tcam_pretrained_cl_ch_pt": "best_classification",
    "tcam_pretrained_seeder_ch_pt": "best_localization",
}
FCAM: dict[str, Any] = {
    "sl_min": 10,
    "sl_max": 10,
    "sl_block": 1,
    "sl_ksz": 1,
    "sl_min_p": 0.2,
    "sl_fg_erode_k": 11,
    "sl_fg_erode_iter": 1,
    "sl_min_ext": 1000,
    "sl_max_ext": 1000,
    "crf_sigma_rgb": 15.0,
    "crf_sigma_xy": 100.0,
    "crf_scale": 1.0,
    "im_rec": False,
    "im_rec_lambda": 1.0,
    "im_rec_elb": False,
}
# As F-CAM's authors publish it for CUB, whose program starts with main_wsol.py instead of main.py.
FCAM_LINE = shlex.split("""
--task F_CL --encoder_name resnet50 --arch UnetFCAM --opt__name_optimizer sgd --batch_size 32
--eval_checkpoint_type best --opt__step_size 1000 --opt__gamma 0.1 --max_epochs 50 --freeze_cl True
--support_background True --method CAM --spatial_pooling WGAP --dataset CUB --box_v2_metric False --cudaid 0
--debug_subfolder None --opt__lr 0.01 --elb_init_t 1.0 --elb_max_t 10.0 --elb_mulcoef 1.01 --sl_fc True
--sl_fc_lambda 1.0 --sl_start_ep 0 --sl_end_ep -1 --sl_min 1 --sl_max 1 --sl_ksz 3 --sl_min_p 0.1 --sl_fg_erode_k 11
--sl_fg_erode_iter 1 --crf_fc True --crf_lambda 2e-09 --crf_sigma_rgb 15.0 --crf_sigma_xy 100.0 --crf_scale 1.0
--crf_start_ep 0 --crf_end_ep -1 --max_sizepos_fc True --max_sizepos_fc_lambda 0.1 --max_sizepos_fc_start_ep 0
--max_sizepos_fc_end_ep -1 --entropy_fc False --exp_id 08_19_2021_14_09_48_915565__1492324
""")


@pytest.mark.parametrize(("name", "default"), [*TCAM.items(), *FCAM.items()])
def test_published_flag(name: str, default: object) -> None:
    assert (FLAGS[name].default, FLAGS[name].kind) == (default, type(default))


def test_published_tcam_line() -> None:
    cfg = parse_args(published_flags("TCAM"))
    assert (cfg.task, cfg.arch, cfg.method, cfg.spatial_pooling) == ("TCAM", "UnetTCAM", "CAM", "WGAP")
    assert (cfg.batch_size, cfg.max_epochs, cfg.opt__lr, cfg.opt__step_size) == (32, 100, 0.01, 15)
    assert (cfg.sl_tc_knn, cfg.sl_tc_knn_mode, cfg.sl_tc_max_p, cfg.sl_tc_min_p) == (1, "before", 0.6, 0.1)
    assert [term.row.name for term in cfg.active_terms()] == ["sl_tc", "crf_tc", "max_sizepos_tc"]
    assert list(config_warnings(cfg)) == []


def test_published_fcam_line() -> None:
    cfg = parse_args(FCAM_LINE)
    assert (cfg.task, cfg.arch, cfg.method) == ("F_CL", "UnetFCAM", "CAM")
    assert (cfg.eval_checkpoint_type, cfg.debug_subfolder) == ("best_localization", "")
    assert "None" not in experiment_dir(cfg).parts
    assert [term.row.name for term in cfg.active_terms()] == ["sl_fc", "crf_fc", "max_sizepos_fc"]
    assert cfg.term("crf_fc").weight == 2e-9
    assert list(config_warnings(cfg)) == []


def test_published_lines_reach_the_data() -> None:
    """Word for word: they lack nothing but the datasets, which are not on this machine."""
    for words, dataset in ((published_flags("TCAM"), "YouTube-Objects-v1.0"), (FCAM_LINE, "CUB")):
        code, _, error = start([*words, "--dry_run", "True", "--data_root", "/nonexistent"])
        assert code == 1
        assert error.startswith(f"error: dataset {dataset} not found"), error


@pytest.mark.parametrize("task", ["TCAM", "F_CL"])
def test_published_lines_plan_a_run(task: str, promoted: Workplace) -> None:
    """With dataset, paths, network and sizes changed."""
    words = published_flags("TCAM") if task == "TCAM" else FCAM_LINE
    small = promoted.flags(task, device="cpu", dry_run=True)
    code, out, error = start([*words, *small])
    assert code == 0, error
    # 12 shots, one frame of each, in minibatches of 4.
    assert f"{'UnetTCAM' if task == 'TCAM' else 'UnetFCAM'} with resnet18" in out
    assert "3 per epoch (batch 4 x 1), 6 in 2 epochs" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("TCAM --sl_tc True --sl_tc_knn 1", "--sl_tc_knn 1 does not fit --sl_tc_knn_mode instant"),
        ("TCAM --sl_tc True --sl_tc_knn_mode after", "--sl_tc_knn 0 does not fit --sl_tc_knn_mode after"),
        ("TCAM --sl_tc True --sl_tc_min_t 1", "--sl_tc_min_t 1.0: must not be larger than --sl_tc_knn_t 0.0"),
        ("TCAM --sl_tc True --sl_tc_ksz 2", "--sl_tc_ksz '2': expected an odd integer"),
        ("TCAM --sl_tc True --sl_tc_fg_erode_k 4", "--sl_tc_fg_erode_k '4': expected an odd integer"),
        ("TCAM --sl_tc True --knn_tc 1 --sample_n_from_seq 2", "--knn_tc 1: needs --sample_n_from_seq 1"),
        ("TCAM --sl_tc True --knn_tc 1 --sample_n_from_seq_dist interval", "--knn_tc 1: --sample_n_from_seq"),
        ("TCAM --rgb_jcrf_tc True", "--rgb_jcrf_tc True: needs 2 or more frames of a shot"),
        ("TCAM --crf_tc True --crf_tc_scale 0.001", "--crf_tc_scale 0.001: leaves no pixel"),
        ("TCAM --sl_tc True --arch UnetFCAM", "--task TCAM needs --arch UnetTCAM"),
        ("TCAM", "no loss term is on; set at least one to True: --sl_tc, --soft_cam_tc, --crf_tc"),
        ("F_CL", "no loss term is on; set at least one to True: --sl_fc, --soft_cam_fc, --crf_fc"),
        ("F_CL --sl_fc True --im_rec True", "--im_rec True: images are not reconstructed"),
        ("F_CL --sl_fc True --sl_fg_erode_k 2", "--sl_fg_erode_k '2': expected an odd integer"),
    ],
)
def test_refused(words: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_args(f"--task {words}".split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("TCAM --sl_tc True --sl_tc_knn_t 2", "--sl_tc_knn_t has no effect with --sl_tc_knn 0"),
        ("TCAM --sl_tc True --knn_tc 1", "--knn_tc 1 (3 frames) without --rgb_jcrf_tc True"),
        ("TCAM --rgb_jcrf_tc True --knn_tc 2 --batch_size 4", "--knn_tc 2 (5 frames) is more than --batch_size 4"),
        ("TCAM --empty_out_bb_tc True", "--empty_out_bb_tc True has no effect with --sl_tc_roi_method roi_all"),
        ("TCAM --sl_tc True --sl_tc_roi_method largest", "--sl_tc_roi_method largest has no effect on seeds"),
        ("TCAM --crf_tc True --sl_clc True", "belongs to --task CoLo-CAM"),
        ("F_CL --sl_fc True --sl_min_ext 5", "--sl_min_ext 5 has no effect"),
        ("F_CL --sl_fc True --sl_tc True", "belongs to --task TCAM"),
    ],
)  # fmt: skip
def test_warned_of(words: str, said: str) -> None:
    (line,) = config_warnings(parse_args(f"--task {words}".split()))
    assert said in line


def inputs() -> LossInputs:
    """Two frames of one shot, with everything that a term may ask for."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, SIDE, SIDE, generator=generator)
    return LossInputs(
        map_logits=logits,
        probabilities=logits.softmax(dim=1),
        images=torch.rand(2, 3, SIDE, SIDE, generator=generator) * 255,
        sequence=torch.zeros(2, dtype=torch.int64),
        order=torch.arange(2),
        seeds=torch.randint(0, 2, (2, SIDE, SIDE), generator=generator),
        cams=torch.rand(2, SIDE, SIDE, generator=generator),
        roi_boxes=torch.tensor([[2, 2, 9, 9], [0, 0, 5, 5]]),
        fg_sizes=torch.tensor([0.2, 0.1]),
        class_logits=torch.randn(2, 3, generator=generator),
        labels=torch.tensor([0, 2]),
    )


def values(task: str, epoch: int = 1, **flags: Any) -> dict[str, float]:
    """Weighted value of every term that is on in ``epoch``; every term of the task is switched on."""
    on = dict.fromkeys([row.name for row in terms_of(task)], True)
    given = {"task": task, "crop_size": SIDE, "freeze_cl": True, "sample_n_from_seq": 2, **on, **flags}
    _, terms, _ = build_losses(Config.from_values(given))(inputs(), epoch, StepClock())
    return {name: float(value) for name, value in terms.items()}


@pytest.mark.parametrize("name", [row.name for row in TERMS.values() if row.task in ("TCAM", "F_CL")])
def test_every_term_has_its_switch_weight_and_epochs(name: str) -> None:
    row = TERMS[name]
    whole = values(row.task)
    assert list(whole) == [term.name for term in terms_of(row.task)]
    assert list(values(row.task, **{name: False})) == [term for term in whole if term != name]
    twice = values(row.task, **{row.weight_flag: 2 * row.weight})
    assert twice.pop(name) == pytest.approx(2 * whole[name], rel=1e-5)
    assert twice == {term: value for term, value in whole.items() if term != name}
    if row.start_flag and row.end_flag:
        epochs = {row.start_flag: 3, row.end_flag: 4}
        assert [name in values(row.task, epoch, **epochs) for epoch in range(1, 7)] == [
            False, False, True, True, False, False
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("task", "flag", "value", "term"),
    [
        ("TCAM", "crf_tc_scale", 0.5, "crf_tc"),
        ("TCAM", "crf_tc_sigma_rgb", 60.0, "crf_tc"),
        ("TCAM", "crf_tc_sigma_xy", 3.0, "crf_tc"),
        ("TCAM", "rgb_jcrf_tc_scale", 0.5, "rgb_jcrf_tc"),
        ("TCAM", "rgb_jcrf_tc_sigma_rgb", 60.0, "rgb_jcrf_tc"),
        ("TCAM", "sizefg_tmp_tc_eps", 0.3, "sizefg_tmp_tc"),
        ("TCAM", "seg_ignore_idx", 2, ""),
        ("F_CL", "crf_scale", 0.5, "crf_fc"),
        ("F_CL", "crf_sigma_rgb", 60.0, "crf_fc"),
        ("F_CL", "crf_sigma_xy", 3.0, "crf_fc"),
        ("F_CL", "elb_init_t", 5.0, "max_sizepos_fc"),
    ],
)
def test_every_setting_changes_its_term_alone(task: str, flag: str, value: Any, term: str) -> None:
    before, after = values(task), values(task, **{flag: value})
    for name in before:
        differs = abs(before[name] - after[name]) > 1e-3 * abs(before[name])
        assert differs == (name == term), name


@pytest.mark.parametrize(("task", "flags"), [("TCAM", tcam_flags()), ("F_CL", fcam_flags())])
def test_a_classifier_that_is_not_frozen_has_its_cross_entropy(task: str, flags: dict[str, Any]) -> None:
    cfg = Config.from_values({"task": task, **flags, "freeze_cl": False})
    names = [term.name for term in build_losses(cfg)]
    assert names == ["class", *(row.name for row in terms_of(task))]
