"""Checks across flags: combinations that cannot work are errors, probable mistakes are warnings."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dlib.configure.constants import METHODS, STD_CL, TASKS
from dlib.configure.table import FLAGS, Flags
from dlib.configure.terms import TERMS, terms_of
from dlib.utils.cards import card_names
from dlib.utils.errors import UsageError
from dlib.utils.lazy import load_object

# Flags whose text becomes part of a folder's or file's name.
_NAMES = ("exp_id", "dataset", "debug_subfolder")
_NAME_BYTES = 60  # the longest folder name, with two of these in it, stays below a file system's limit of 255


def check_config(cfg: Flags) -> None:
    """Raises UsageError with one line for the first combination of flags that cannot work."""
    for faults in (_of_names, _of_model, _of_data, _of_training, _of_terms):
        for fault in faults(cfg):
            raise UsageError(fault)
    _check_task(cfg)


def _of_names(cfg: Flags) -> Iterator[str]:
    if not (re.fullmatch(r"[0-9]{1,19}", cfg.MYSEED) and int(cfg.MYSEED) < 2**63):
        yield f"--MYSEED {cfg.MYSEED!r}: expected an integer >= 0 (and below 2^63)"
    for name in _NAMES:
        text = getattr(cfg, name)
        if any(char in text for char in "/\\") or text in (".", ".."):
            yield f"--{name} {text!r}: becomes part of a folder's name and must not hold / or \\ or be . or .."
        if len(text.encode()) > _NAME_BYTES:
            yield f"--{name}: becomes part of a folder's name and must not be longer than {_NAME_BYTES} bytes"
    for name in ("exp_id", "dataset"):
        if not getattr(cfg, name).strip():
            yield f"--{name}: must not be empty"


def _of_model(cfg: Flags) -> Iterator[str]:
    if cfg.arch != TASKS[cfg.task].arch:
        yield f"--arch {cfg.arch}: --task {cfg.task} needs --arch {TASKS[cfg.task].arch}"
    head, needed = cfg.spatial_pooling, METHODS[cfg.method].pooling
    if head != needed:
        fits = ", ".join(method for method in METHODS if METHODS[method].pooling == head)
        yield f"--spatial_pooling {head}: --method {cfg.method} needs {needed} ({head} fits --method {fits})"
    if cfg.seed_cam_method and (other := METHODS[cfg.seed_cam_method].pooling) != needed:
        yield (
            f"--seed_cam_method {cfg.seed_cam_method}: needs the head {other}, but --method {cfg.method} has {needed}"
        )
    if cfg.scale_in != 1 and TASKS[cfg.task].builds_on_classifier:
        yield f"--scale_in {cfg.scale_in}: only --task STD_CL resizes frames, not --task {cfg.task}"
    if cfg.crop_size * cfg.scale_in < 1:
        yield f"--scale_in {cfg.scale_in}: leaves no pixel of --crop_size {cfg.crop_size}"
    if cfg.multi_label_flag:
        yield "--multi_label_flag True: several classes per video are not supported; leave the flag out"
    if cfg.task == STD_CL and cfg.freeze_cl:
        yield (
            "--freeze_cl True: --task STD_CL would then train nothing; --freeze_encoder True trains the head only"
        )
    if cfg.eval_only and not cfg.fd_exp:
        yield "--eval_only True: needs --fd_exp, the experiment folder to evaluate"


def _of_data(cfg: Flags) -> Iterator[str]:
    if cfg.crop_size > cfg.resize_size:
        yield f"--crop_size {cfg.crop_size}: must not be larger than --resize_size {cfg.resize_size}"
    style = cfg.sample_n_from_seq_style
    if cfg.sample_n_from_seq_dist == "interval" and style != "random":
        yield f"--sample_n_from_seq_dist interval: only with --sample_n_from_seq_style random, not {style}"
    if cfg.min_tr_batch_sz == 0:
        yield "--min_tr_batch_sz 0: expected -1 (no least number) or at least 1"
    card_names(cfg.cudaid)
    if cfg.device == "cpu" and cfg.dist_backend == "nccl":
        yield "--dist_backend nccl: needs CUDA; with --device cpu use --dist_backend gloo"


def _of_training(cfg: Flags) -> Iterator[str]:
    if cfg.best_start_ep > cfg.max_epochs:
        yield (
            f"--best_start_ep {cfg.best_start_ep}: no epoch can become the best;"
            f" it must not be larger than --max_epochs {cfg.max_epochs}"
        )
    nesterov = cfg.opt__name_optimizer == "sgd" and cfg.opt__nesterov
    if nesterov and (cfg.opt__momentum == 0 or cfg.opt__dampening != 0):
        yield "--opt__nesterov True: needs --opt__momentum > 0 and --opt__dampening 0"
    if cfg.opt__lr_scheduler and cfg.opt__name_lr_scheduler != "step" and cfg.opt__min_lr > cfg.opt__lr:
        yield f"--opt__min_lr {cfg.opt__min_lr}: must not be larger than --opt__lr {cfg.opt__lr}"
    if cfg.elb_max_t < cfg.elb_init_t:
        yield f"--elb_max_t {cfg.elb_max_t}: must not be smaller than --elb_init_t {cfg.elb_init_t}"


def _of_terms(cfg: Flags) -> Iterator[str]:
    if not terms_of(cfg.task):
        return
    active = cfg.active_terms()
    if not active and not cfg.eval_only:
        switches = ", ".join(f"--{row.name}" for row in terms_of(cfg.task))
        yield f"--task {cfg.task}: no loss term is on; set at least one to True: {switches}"
    for term in active:
        if term.end_epoch != -1 and term.end_epoch < max(term.start_epoch, 1):
            yield (
                f"--{term.row.end_flag} {term.end_epoch}: must be -1 (no end), or not earlier than"
                f" --{term.row.start_flag} {term.start_epoch}"
            )
        scale = term.options.get("scale_factor", 1.0)
        if cfg.crop_size * scale < 1:
            yield f"--{term.row.options['scale_factor']} {scale}: leaves no pixel of --crop_size {cfg.crop_size}"
    ignored = cfg.seg_ignore_idx
    if ignored in (0, 1):
        yield f"--seg_ignore_idx {ignored}: 0 and 1 are background and foreground; give another number"


def config_warnings(cfg: Flags) -> Iterator[str]:
    """One line for each given flag that changes nothing, and for each combination that is probably a mistake."""
    for flag in FLAGS.values():
        if flag.no_effect and getattr(cfg, flag.name) != flag.default:
            yield f"--{flag.name} {getattr(cfg, flag.name)} has no effect: {flag.no_effect}"
    yield from _check_task(cfg)
    foreign = [row for row in TERMS.values() if row.task != cfg.task and cfg.term(row.name).on]
    if foreign:
        yield f"--{foreign[0].name} True has no effect: this loss term belongs to --task {foreign[0].task}"
    if cfg.freeze_encoder and TASKS[cfg.task].builds_on_classifier:
        yield f"--freeze_encoder True has no effect with --task {cfg.task}; --freeze_cl freezes encoder and head"
    if cfg.seed_maps and not TASKS[cfg.task].builds_on_classifier:
        yield f"--seed_maps has no effect with --task {cfg.task}, which has no seeds"
    if cfg.seed_maps and cfg.seed_cam_method:
        yield "--seed_cam_method has no effect with --seed_maps: the maps are made already"
    if cfg.freeze_decoder_bn and cfg.task == STD_CL:
        yield "--freeze_decoder_bn True has no effect with --task STD_CL, which has no decoder"
    if cfg.fd_exp and not cfg.eval_only:
        yield "--fd_exp has no effect without --eval_only True"
    if cfg.std_label_smooth and cfg.std_label_smooth_e == 0:
        yield "--std_label_smooth True has no effect with --std_label_smooth_e 0"


def _check_task(cfg: Flags) -> list[str]:
    """The task's own check."""
    name = TASKS[cfg.task].check
    return list(load_object(name)(cfg)) if name else []
