"""Combinations of flags, paths that follow from flags, generated files, and random input."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dlib.configure import config, reference
from dlib.configure.checks import config_warnings
from dlib.configure.config import Config, parse_args
from dlib.configure.table import FLAGS
from dlib.configure.terms import TERMS
from dlib.utils.errors import UsageError, UserError
from helpers.random_cases import cases

CLC = "--task CoLo-CAM --sl_clc True"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--method LayerCAM --spatial_pooling GAP", "--spatial_pooling GAP: --method LayerCAM needs WGAP"),
        ("--spatial_pooling GAP", "GAP fits --method GAP"),
        ("--method WILDCAT --spatial_pooling WGAP", "needs WildCatCLHead"),
        ("--arch UnetCoLoCAM", "--task STD_CL needs --arch STDClassifier"),
        ("--task CoLo-CAM", "no loss term is on"),
        (f"{CLC} --scale_in 0.5", "only --task STD_CL resizes frames"),
        ("--scale_in 0.001", "leaves no pixel of --crop_size 224"),
        ("--crop_size 300", "must not be larger than --resize_size 256"),
        (
            "--sample_n_from_seq_dist interval --sample_n_from_seq_style before",
            "only with --sample_n_from_seq_style random",
        ),
        ("--MYSEED -1", "expected an integer >= 0"),
        ("--MYSEED 1.5", "expected an integer >= 0"),
        (f"--MYSEED {2**63}", "below 2^63"),
        ("--MYSEED ²", "expected an integer >= 0"),
        ("--MYSEED 99999999999999999999999", "below 2^63"),
        ("--exp_id a/b", "must not hold /"),
        ("--dataset ..", "must not hold /"),
        ("--debug_subfolder ../x", "must not hold /"),
        ("--dataset=", "must not be empty"),
        ("--exp_id " + "x" * 200, "not be longer than 60 bytes"),
        ("--multi_label_flag True", "leave the flag out"),
        ("--freeze_cl True", "--freeze_encoder True trains the head only"),
        ("--eval_only True", "needs --fd_exp"),
        ("--cudaid gpu0", "card numbers separated by commas"),
        ("--min_tr_batch_sz 0", "expected -1"),
        ("--device cpu --dist_backend nccl", "needs CUDA"),
        ("--opt__momentum 0", "needs --opt__momentum > 0"),
        ("--opt__dampening 0.1", "--opt__dampening 0"),
        ("--opt__min_lr 1", "must not be larger than --opt__lr"),
        ("--elb_init_t 11", "must not be smaller than --elb_init_t"),
        (CLC + " --sl_clc_ksz 4", "--sl_clc_ksz '4': expected an odd integer >= 1"),
        (CLC + " --sl_clc_fg_erode_k 2", "--sl_clc_fg_erode_k '2': expected an odd integer >= 1"),
        (CLC + " --seg_ignore_idx 1", "0 and 1 are background and foreground"),
        (CLC + " --sl_clc_min_t 2", "must not be larger than --sl_clc_knn_t"),
        (CLC + " --sl_clc_start_ep 5 --sl_clc_end_ep 4", "not earlier than --sl_clc_start_ep 5"),
        (CLC + " --sl_clc_end_ep 0", "-1 (no end)"),
        (CLC + " --rgb_jcrf_clc_input_re_dim 0", "at least 1"),
        (CLC + " --seed_cam_method GAP", "needs the head GAP, but --method LayerCAM has WGAP"),
        ("--task CoLo-CAM --rgb_jcrf_clc True --rgb_jcrf_clc_seed_agreement True", "needs seeds"),
    ],
)
def test_refused_combinations(command: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_args(command.split(" "))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_alone_makes_a_run(term: str) -> None:
    row = TERMS[term]
    epochs = "".join(f" --{name} 2" for name in (row.start_flag, row.end_flag) if name)
    more = " --sample_n_from_seq 2" if term == "rgb_jcrf_tc" else ""
    cfg = parse_args(f"--task {row.task} --{term} True{epochs}{more}".split())
    assert getattr(cfg, term) is True


@pytest.mark.parametrize(
    "command",
    [
        "--support_background False",
        "--opt__name_optimizer adam --opt__momentum 0",
        "--opt__nesterov False --opt__momentum 0",
        "--sample_n_from_seq_dist interval --sample_n_from_seq 3",
        "--crop_size 112 --resize_size 112",
        "--cudaid 0,1",
        "--dataset my-own.videos",
        CLC + " --seed_cam_method ScoreCAM",
    ],
)
def test_accepted_combinations(command: str) -> None:
    assert list(config_warnings(parse_args(command.split()))) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--task CoLo-CAM --rgb_jcrf_clc True", "has no effect with --sample_n_from_seq 1"),
        (
            "--task CoLo-CAM --rgb_jcrf_clc True --sample_n_from_seq 9 --batch_size 8",
            "split over several minibatches",
        ),
        (CLC + " --sl_clc_knn_t 2 --sl_clc_min_t 1", "then never falls"),
        (CLC + " --sl_clc_roi_method largest", "--sl_clc_use_roi is False"),
        ("--sl_clc True", "--sl_clc True has no effect: this loss term belongs to --task CoLo-CAM"),
        ("--std_label_smooth True", "no effect with --std_label_smooth_e 0"),
        (CLC + " --freeze_encoder True", "--freeze_cl freezes encoder and head"),
        ("--freeze_decoder_bn True", "has no decoder"),
        ("--fd_exp somewhere", "no effect without --eval_only True"),
    ],
)
def test_warnings(command: str, words: str) -> None:
    (line,) = config_warnings(parse_args(command.split()))
    assert words in line


def test_experiment_folder() -> None:
    command = "--exp_id 7 --debug_subfolder DEBUG --MYSEED 3 --box_v2_metric True --method GAP"
    cfg = parse_args(command.split())
    assert str(config.experiment_dir(cfg)) == (
        "exps/DEBUG/YouTube-Objects-v1.0/resnet50/STD_CL/GAP/id_7-tsk_STD_CL-ds_YouTube-Objects-v1.0-mth_GAP"
        "-spooling_GAP-sd_3-ecd_resnet50-box_v2_metric_True"
    )
    bare = config.experiment_dir(parse_args(["--exps_root", "/x"]))
    assert str(bare.parent) == "/x/YouTube-Objects-v1.0/resnet50/STD_CL/LayerCAM"
    assert config.model_tag(cfg, "best_localization") == (
        "YouTube-Objects-v1.0-resnet50-GAP-GAP-cp_best_localization-boxv2_True"
    )


def test_the_longest_names_fit_a_file_system() -> None:
    command = f"--exp_id {'x' * 60} --dataset {'y' * 60} --MYSEED {2**63 - 1} --encoder_name mobilenet_v2"
    cfg = parse_args([*command.split(), "--method", "SmoothGradCAMpp"])
    assert len(config.experiment_name(cfg)) <= 255
    assert len(config.experiment_name(cfg.replace(method="WILDCAT"))) <= 255


def test_where_data_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATASETSH", raising=False)
    cfg = parse_args(["--dataset", "mine"])
    for folder in ("datasets/wsol-done-right/mine", "datasets/mine", "env/mine", "flag/mine"):
        (tmp_path / folder).mkdir(parents=True)
    assert config.datasets_root(cfg) == Path("datasets")
    assert config.dataset_dir(cfg) == Path("datasets/mine")
    shutil.rmtree("datasets/mine")
    assert config.dataset_dir(cfg) == Path("datasets/wsol-done-right/mine")
    monkeypatch.setenv("DATASETSH", str(tmp_path / "env"))
    assert config.dataset_dir(cfg) == tmp_path / "env" / "mine"
    assert config.dataset_dir(cfg.replace(data_root="flag")) == Path("flag/mine")


@pytest.mark.parametrize(
    ("dataset", "remedy"),
    [
        ("YouTube-Objects-v1.0", "cmds/download-YouTube-Objects-v1.0.sh"),
        ("YouTube-Objects-v2.2", "cmds/download-YouTube-Objects-v2.2.sh"),
        ("mine", "python -m dlib.datasets.import_videos"),
    ],
)
def test_missing_data(tmp_path: Path, dataset: str, remedy: str) -> None:
    cfg = parse_args(
        ["--dataset", dataset, "--data_root", f"{tmp_path}/d", "--metadata_root", f"{tmp_path}/m"]
    )
    for find in (config.dataset_dir, config.metadata_dir):
        with pytest.raises(UserError) as caught:
            find(cfg)
        assert caught.value.exit_code == 1
        assert remedy in str(caught.value)
        assert f"{tmp_path}/{'d' if find is config.dataset_dir else 'm'}/{dataset}" in str(caught.value)


def test_where_folds_are_looked_for(tmp_path: Path) -> None:
    cfg = parse_args(["--dataset", "mine", "--metadata_root", str(tmp_path)])
    (tmp_path / "train").mkdir()
    assert config.metadata_dir(cfg) == tmp_path
    (tmp_path / "mine").mkdir()
    assert config.metadata_dir(cfg) == tmp_path / "mine"


def test_generated_files_are_up_to_date() -> None:
    assert reference.main(["--check"]) == 0


def test_stale_page_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(reference, "PAGE", tmp_path / "doc" / "flags.md")
    monkeypatch.setattr(reference, "COMPLETION", tmp_path / "cmds" / "completion.bash")
    assert reference.main(["--check"]) == 1
    assert "doc/flags.md" in capsys.readouterr().err
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    page = (tmp_path / "doc" / "flags.md").read_text(encoding="utf-8")
    assert all(page.count(f"| `--{name}` |") == 1 for name in FLAGS)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--opt__name_o", "--opt__name_optimizer"),
        ("--amp ", "True False"),
        ("--opt__name_optimizer a", "adam"),
        ("--encoder_name res", "resnet50 resnet18"),
        ("--batch_size ", ""),
    ],
)
def test_completion(typed: str, offered: str) -> None:
    words = ["python", "main.py", *typed.split(" ")]
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        f"source '{reference.COMPLETION}'; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1};"
        ' _colocam; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == offered


names = st.sampled_from([*FLAGS, "sl_tc", "nonsense", "local-rank"])
texts = st.one_of(
    st.text(max_size=30), st.integers().map(str), st.floats().map(str), st.sampled_from(["", "true", "-1"])
)
tokens = st.one_of(
    names.map("--{}".format), texts, st.tuples(names, texts).map(lambda pair: f"--{pair[0]}={pair[1]}")
)


def assert_sound(make: Callable[[], Config]) -> None:
    """``make`` ends in one line, or in a configuration that survives YAML and stays in its folder."""
    try:
        cfg = make()
    except UsageError as caught:
        lines = str(caught).splitlines()
        cfg = None
    if cfg is None:
        assert len(lines) == 1
        return
    assert Config.from_values(yaml.safe_load(cfg.to_yaml())) == cfg
    assert ".." not in config.experiment_dir(cfg.replace(exps_root="e")).parts
    list(config_warnings(cfg))


@settings(max_examples=cases(400), deadline=None)
@given(st.lists(tokens, max_size=6).filter(lambda argv: "-h" not in argv and "--help" not in argv))
def test_any_command_line_gives_a_configuration_or_one_line(argv: list[str]) -> None:
    assert_sound(lambda: parse_args(argv))


@settings(max_examples=cases(300), deadline=None)
@given(pair=st.tuples(st.sampled_from(list(FLAGS)), texts))
def test_any_single_value(pair: tuple[str, str]) -> None:
    assert_sound(lambda: parse_args([f"--{pair[0]}={pair[1]}"]))


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=2),
)
documents = st.one_of(
    st.dictionaries(st.one_of(names, st.text(max_size=8)), values, max_size=5)
    .map(yaml.safe_dump)
    .map(str.encode),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(max_examples=cases(400), deadline=None)
@given(content=documents)
def test_any_file_gives_a_configuration_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yml"
    path.write_bytes(content)
    assert_sound(lambda: Config.from_yaml(path))
