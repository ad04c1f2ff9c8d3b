"""The flags table against what users' scripts rely on: names, types, defaults, refused flags."""

from __future__ import annotations

import pytest

from dlib.configure.checks import config_warnings
from dlib.configure.config import parse_args
from dlib.configure.table import FLAGS
from dlib.utils.errors import UsageError

# Published table: name, type, default ("null": None).
PUBLISHED = """
cudaid str "0"
MYSEED str 0
debug_subfolder str ""
dataset str "YouTube-Objects-v1.0"
num_classes int 10
crop_size int 224
resize_size int 256
max_epochs int 150
batch_size int 8
num_workers int 4
exp_id str "123456789"
verbose str2bool true
fd_exp str null
plot_tr_cam_progress str2bool false
plot_tr_cam_progress_n int 0
data_root None "<DATASETSH>/wsol-done-right"
metadata_root str "./folds/wsol-done-right-splits/YouTube-Objects-v1.0"
num_val_sample_per_class int 0
cam_curve_interval float 0.001
multi_contour_eval str2bool true
multi_iou_eval str2bool true
box_v2_metric str2bool false
eval_checkpoint_type str "best_localization"
checkpoint_save int 5000
keep_last_n_checkpoints int 2
opt__name_optimizer str "sgd"
opt__lr float 0.001
opt__momentum float 0.9
opt__dampening float 0.0
opt__nesterov str2bool true
opt__weight_decay float 0.0001
opt__beta1 float 0.9
opt__beta2 float 0.999
opt__eps_adam float 1e-08
opt__amsgrad str2bool false
opt__lr_scheduler str2bool true
opt__name_lr_scheduler str "mystep"
opt__gamma float 0.1
opt__last_epoch int -1
opt__min_lr float 1e-07
opt__t_max float 100
opt__step_size int 40
opt__lr_classifier_ratio float 10.0
arch str "DenseBoxNet"
encoder_name str "resnet50"
in_channels int 3
strict str2bool true
encoder_weights str "imagenet"
path_pre_trained str null
support_background str2bool true
scale_in float 1.0
freeze_cl str2bool false
freeze_encoder str2bool false
method str "WILDCAT"
spatial_pooling str "WildCatCLHead"
wc_alpha float 0.6
wc_kmax float 0.5
wc_kmin float 0.1
wc_dropout float 0.0
wc_modalities int 5
lse_r float 10.0
sample_n_from_seq int 1
min_tr_batch_sz int -1
drop_small_tr_batch str2bool false
sample_n_from_seq_style str "random"
sample_n_from_seq_dist str "uniform"
sample_n_from_seq_std float 1.0
seg_mode str "binary"
task str "STD_CL"
multi_label_flag str2bool false
elb_init_t float 1.0
elb_max_t float 10.0
elb_mulcoef float 1.01
sample_fr_limit float 1.0
std_label_smooth str2bool false
std_label_smooth_e float 0.0
colocam_pretrained_cl_ch_pt str "best_classification"
colocam_pretrained_seeder_ch_pt str "best_localization"
crf_clc str2bool false
crf_clc_lambda float 2e-09
crf_clc_sigma_rgb float 15.0
crf_clc_sigma_xy float 100.0
crf_clc_scale float 1.0
crf_clc_start_ep int 0
crf_clc_end_ep int -1
rgb_jcrf_clc str2bool false
rgb_jcrf_clc_lambda float 2e-09
rgb_jcrf_clc_lambda_style str "constant"
rgb_jcrf_clc_sigma_rgb float 15.0
rgb_jcrf_clc_input_data str "image"
rgb_jcrf_clc_input_re_dim int -1
rgb_jcrf_clc_scale float 1.0
rgb_jcrf_clc_start_ep int 0
rgb_jcrf_clc_end_ep int -1
max_sizepos_clc str2bool false
max_sizepos_clc_lambda float 1.0
max_sizepos_clc_start_ep int 0
max_sizepos_clc_end_ep int -1
empty_out_bb_clc str2bool false
empty_out_bb_clc_lambda float 1.0
empty_out_bb_clc_start_ep int 0
empty_out_bb_clc_end_ep int -1
sizefg_tmp_clc str2bool false
sizefg_tmp_clc_lambda float 1.0
sizefg_tmp_clc_start_ep int 0
sizefg_tmp_clc_end_ep int -1
sizefg_tmp_clc_knn int 0
sizefg_tmp_clc_knn_mode str "instant"
sizefg_tmp_clc_eps float 0.001
min_entropy_clc str2bool false
min_entropy_clc_lambda float 1.0
min_entropy_clc_start_ep int 0
min_entropy_clc_end_ep int -1
size_bg_g_fg_clc str2bool false
size_bg_g_fg_clc_lambda float 1.0
size_bg_g_fg_clc_start_ep int 0
size_bg_g_fg_clc_end_ep int -1
sl_clc str2bool false
sl_clc_knn_t float 0.0
sl_clc_seed_epoch_switch_uniform int -1
sl_clc_min_t float 0.0
sl_clc_epoch_switch_to_sl int -1
sl_clc_roi_method str "roi_all"
sl_clc_use_roi str2bool false
sl_clc_lambda float 1.0
sl_clc_roi_min_size float 0.05
sl_clc_start_ep int 0
sl_clc_end_ep int -1
sl_clc_min int 10
sl_clc_max int 10
sl_clc_ksz int 3
sl_clc_min_p float 0.2
sl_clc_max_p float 0.2
sl_clc_fg_erode_k int 11
sl_clc_fg_erode_iter int 0
sl_clc_block int 1
sl_clc_seed_tech str "seed_uniform"
seg_ignore_idx int -255
amp str2bool false
amp_eval str2bool false
local_rank int 0
local_world_size int 1
init_method str ""
dist_backend str "gloo"
world_size int 1
"""

# Defaults (and one type) that differ from the published ones on purpose.
CHANGED = {
    "method": "LayerCAM",
    "spatial_pooling": "WGAP",
    "arch": "",
    "data_root": None,
    "metadata_root": "./folds/wsol-done-right-splits",
    "batch_size": 32,
}

REFUSED = """
mask_root proxy_training_set synch_scratch_epoch_freq slurm_path1 slurm_path2 folder_pre_trained_cl
folder_pre_trained_seeder cl_apply_self_attention layers_att_tmp std_layers_att crf_std
crf_std_lambda crf_std_sigma_rgb crf_std_sigma_xy crf_std_scale crf_std_tmp crf_std_start_ep
crf_std_end_ep rgb_jcrf_std rgb_jcrf_std_lambda rgb_jcrf_std_sigma_rgb rgb_jcrf_std_scale
rgb_jcrf_std_tmp rgb_jcrf_std_start_ep rgb_jcrf_std_end_ep cb_pretrained_cl_ch_pt cb_area_box
cb_area_box_l cb_area_normed cb_area_box_start_epoch cb_area_box_end_epoch cb_cl_score cb_cl_score_l
cb_cl_score_start_epoch cb_cl_score_end_epoch cb_cl_score_blur_ksize cb_cl_score_blur_sigma
cb_pp_box cb_pp_box_l cb_pp_box_start_epoch cb_pp_box_end_epoch cb_pp_box_alpha
cb_pp_box_min_size_type cb_pp_box_min_size cb_init_box_size cb_init_box_var cb_seed cb_seed_l
cb_seed_start_epoch cb_seed_end_epoch cb_seed_erode_k cb_seed_erode_iter cb_seed_ksz cb_seed_n
cb_seed_bg_low_z cb_seed_bg_up_z cb_seed_bg_z_type scale_domain
"""

KINDS = {"str": str, "int": int, "float": float, "str2bool": bool, "None": str}
ROWS = [line.split(" ", 2) for line in PUBLISHED.strip().splitlines()]


def published_value(kind: str, text: str) -> object:
    if text == "null":
        return None
    if kind == "str2bool":
        return text == "true"
    return KINDS[kind](text.strip('"'))


def test_the_published_table_is_whole() -> None:
    assert len(ROWS) == 145
    assert len({name for name, _, _ in ROWS}) == 145


@pytest.mark.parametrize(("name", "kind", "default"), ROWS, ids=[row[0] for row in ROWS])
def test_published_flag(name: str, kind: str, default: str) -> None:
    flag = FLAGS[name]
    assert flag.kind is KINDS[kind]
    expected = CHANGED[name] if name in CHANGED else published_value(kind, default)
    assert flag.default == expected
    assert type(flag.default) in (type(expected), flag.kind)
    if name not in ("arch", "spatial_pooling"):
        assert getattr(parse_args([]), name) == expected


def test_every_flag_has_help_and_a_default_of_its_own_type() -> None:
    for flag in FLAGS.values():
        assert len(flag.help) > 3, flag.name
        assert flag.check(flag.default) == flag.default, flag.name


@pytest.mark.parametrize("name", REFUSED.split())
@pytest.mark.parametrize("form", ["--{} 1", "--{}=1"])
def test_flags_of_other_tasks_are_refused(name: str, form: str) -> None:
    with pytest.raises(UsageError, match=rf"this program has no task .*--{name} ") as caught:
        parse_args(form.format(name).split())
    assert "STD_CL, CoLo-CAM, TCAM, F_CL" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("cb_seed_n", "C_BOX"),
        ("mask_root", "SEGMENTATION"),
    ],
)
def test_the_refusal_names_the_task(name: str, owner: str) -> None:
    with pytest.raises(UsageError, match=f"no task {owner},"):
        parse_args([f"--{name}", "1"])


@pytest.mark.parametrize("task", ["C_BOX", "C-BOX", "SEGMENTATION"])
def test_other_tasks_are_refused(task: str) -> None:
    with pytest.raises(UsageError, match=f"this program has no task {task} "):
        parse_args(["--task", task])


def test_flags_without_effect_say_so_when_set() -> None:
    assert list(config_warnings(parse_args([]))) == []
    for flag in FLAGS.values():
        if flag.no_effect:
            other = {bool: str(not flag.default), int: "3", float: "3.0", str: "after"}[flag.kind]
            lines = list(config_warnings(parse_args([f"--{flag.name}={other}"])))
            assert len(lines) == 1
            assert lines[0].startswith(f"--{flag.name} {other} has no effect: ")
