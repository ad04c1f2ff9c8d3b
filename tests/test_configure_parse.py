"""Command lines, YAML files, help, and what is said about mistakes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from dlib.configure.config import Config, parse_args
from dlib.configure.table import FLAGS
from dlib.utils.errors import UsageError
from helpers.paths import ROOT
from helpers.published_lines import published_flags


@pytest.mark.parametrize(
    ("task", "flags", "digest"),
    [
        ("STD_CL", 28, "0f11978f7561fdfc"),
        ("CoLo-CAM", 62, "ed48805f0f3e5f41"),
        ("TCAM", 55, "317b6ecfc29c7818"),
    ],
)
def test_published_lines_are_as_in_the_scripts_that_people_have(task: str, flags: int, digest: str) -> None:
    """Word for word, with card 0: the digests were taken from the lines as they were published."""
    words = published_flags(task)
    assert sum(word.startswith("--") for word in words) == flags
    assert hashlib.sha256(" ".join(words).encode()).hexdigest().startswith(digest), (
        "a published word has changed"
    )


def test_classifier_command_line() -> None:
    cfg = parse_args(published_flags("STD_CL"))
    assert (cfg.task, cfg.arch, cfg.method, cfg.spatial_pooling) == (
        "STD_CL",
        "STDClassifier",
        "LayerCAM",
        "WGAP",
    )
    assert (cfg.batch_size, cfg.max_epochs, cfg.opt__lr, cfg.opt__gamma) == (32, 100, 0.001, 0.9)
    assert cfg.amp is True
    assert cfg.freeze_cl is False
    assert cfg.exp_id == "03_14_2023_19_49_04_857184__2897019"
    assert cfg.cudaid == "0"
    assert "sample_fr_limit" in cfg.explicit
    assert "num_classes" not in cfg.explicit


def test_colocam_command_line() -> None:
    cfg = parse_args(published_flags("CoLo-CAM"))
    assert (cfg.task, cfg.arch, cfg.freeze_cl, cfg.sample_n_from_seq) == ("CoLo-CAM", "UnetCoLoCAM", True, 2)
    assert (cfg.min_tr_batch_sz, cfg.rgb_jcrf_clc_input_re_dim, cfg.sl_clc_epoch_switch_to_sl) == (-1, -1, -1)
    assert (cfg.crf_clc_lambda, cfg.rgb_jcrf_clc_lambda, cfg.max_sizepos_clc_lambda) == (2e-09, 9.0, 0.01)
    assert (cfg.sl_clc_seed_tech, cfg.sl_clc_roi_method, cfg.sl_clc_max_p) == (
        "seed_weighted",
        "largest",
        0.7,
    )
    assert (cfg.rgb_jcrf_clc_lambda_style, cfg.sample_n_from_seq_style) == ("adaptive", "before")


def test_both_forms_and_last_wins() -> None:
    cfg = parse_args(["--opt__lr=0.5", "--opt__lr", "1e-3", "--exp_id=a=b", "--local-rank=0"])
    assert (cfg.opt__lr, cfg.exp_id, cfg.local_rank) == (0.001, "a=b", 0)


@pytest.mark.parametrize("text", ["yes", "TRUE", "t", "Y", "1"])
def test_truth(text: str) -> None:
    assert parse_args(["--amp", text]).amp is True


@pytest.mark.parametrize("text", ["no", "False", "F", "n", "0"])
def test_untruth(text: str) -> None:
    assert parse_args(["--report", text]).report is False


def test_choices_in_any_case() -> None:
    command = "--channels_last True --progress FALSE --method layercam --task colo-cam --sl_clc 1"
    cfg = parse_args(command.split())
    assert (cfg.channels_last, cfg.progress, cfg.method, cfg.task) == (
        "true",
        "false",
        "LayerCAM",
        "CoLo-CAM",
    )


@pytest.mark.parametrize("text", ["None", "null", "NULL", ""])
def test_null(text: str) -> None:
    cfg = parse_args([f"--encoder_weights={text}", f"--fd_exp={text}"])
    assert cfg.encoder_weights is None
    assert cfg.fd_exp is None


@pytest.mark.parametrize("method", ["WILDCAT", "GAP", "MaxPOL", "LogSumExp"])
def test_pooling_follows_method(method: str) -> None:
    heads = {"WILDCAT": "WildCatCLHead", "GAP": "GAP", "MaxPOL": "MaxPool", "LogSumExp": "LogSumExpPool"}
    cfg = parse_args(["--method", method])
    assert cfg.spatial_pooling == heads[method]
    assert cfg.replace(method="ScoreCAM").spatial_pooling == "WGAP"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("--opt__lrr 1", "unknown flag --opt__lrr; did you mean --opt__lr?"),
        ("--batchsize=3", "unknown flag --batchsize; did you mean --batch_size?"),
        ("--lr 0.1", "unknown flag --lr; did you mean --opt__lr?"),
        (
            "--seed 1",
            "unknown flag --seed; did you mean --MYSEED or --seed_maps or --seed_cam_method?",
        ),
        ("--epochs 3", "unknown flag --epochs; did you mean --max_epochs?"),
        (
            "--batch 3",
            "unknown flag --batch; did you mean --batch_size or --drop_small_tr_batch or --fill_small_tr_batch?",
        ),
        ("--zzzz 1", "unknown flag --zzzz; --help lists them all"),
        ("train", "'train' is not a flag: write --flag value or --flag=value"),
        ("-1", "'-1' is not a flag: write --flag value or --flag=value"),
        ("--", "'--' is not a flag: write --flag value or --flag=value"),
        ("--batch_size", "--batch_size: a value is missing, expected an integer >= 1"),
        ("--batch_size --amp True", "--batch_size: a value is missing, expected an integer >= 1"),
        ("--batch_size 3.5", "--batch_size '3.5': expected an integer >= 1"),
        ("--batch_size 0", "--batch_size '0': expected an integer >= 1"),
        ("--batch_size 1_0", "--batch_size '1_0': expected an integer >= 1"),
        ("--opt__lr fast", "--opt__lr 'fast': expected a number > 0"),
        ("--opt__lr nan", "--opt__lr 'nan': expected a number > 0"),
        ("--opt__lr 1e999", "--opt__lr '1e999': expected a number > 0"),
        ("--crf_clc_lambda -2e-09", "--crf_clc_lambda '-2e-09': expected a number >= 0"),
        ("--sl_clc_max_p 1.1", "--sl_clc_max_p '1.1': expected a number >= 0 and <= 1"),
        ("--amp maybe", "--amp 'maybe': expected a truth value (True or False)"),
        ("--opt__name_optimizer lion", "--opt__name_optimizer 'lion': expected one of sgd, adam"),
        ("--encoder_weights cub", "--encoder_weights 'cub': expected one of imagenet or None"),
        ("--in_channels 4", "--in_channels '4': expected one of 3"),
        ("--seg_mode multiclass", "--seg_mode 'multiclass': expected one of binary"),
        ("--task SEGMENT", "--task 'SEGMENT': expected one of STD_CL, CoLo-CAM, TCAM, F_CL"),
    ],
)
def test_one_clear_line(command: str, line: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_args(command.split())
    assert str(caught.value) == line
    assert caught.value.exit_code == 2


def test_yaml_round_trip(tmp_path: Path) -> None:
    cfg = parse_args(
        [*published_flags("CoLo-CAM"), "--data_root", "a: b # c", "--debug_subfolder=null", "--fd_exp=~"]
    )
    path = tmp_path / "config.yml"
    path.write_text(cfg.to_yaml(), encoding="utf-8")
    assert Config.from_yaml(path) == cfg
    assert list(cfg.to_dict()) == list(FLAGS)
    assert parse_args(["--config", str(path)]) == cfg.replace(config=str(path))


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text(
        "method: WILDCAT\nspatial_pooling: WildCatCLHead\nbatch_size: 4\nopt__lr: 2e-3\nexp_id: 12_3\n"
    )
    cfg = parse_args(["--batch_size", "8", "--config", str(path), "--method", "CAM"])
    assert (cfg.batch_size, cfg.opt__lr, cfg.method, cfg.spatial_pooling) == (8, 0.002, "CAM", "WGAP")
    assert cfg.exp_id == "12_3"
    assert cfg.explicit == {"batch_size", "opt__lr", "method", "config", "exp_id"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (
            "batch_size: 4\nopt__lrr: 1\n",
            r"a\.yml, line 2: unknown flag --opt__lrr; did you mean --opt__lr\?",
        ),
        ("batch_size: four\n", r"a\.yml, line 1: --batch_size 'four': expected an integer >= 1"),
        ("cb_seed: true\n", r"a\.yml, line 1: this program has no task C_BOX, which --cb_seed belongs to"),
        ("task: C_BOX\n", r"a\.yml, line 1: this program has no task C_BOX "),
        ("batch_size: [4]\n", r"a\.yml, line 1: expected one flag with one value"),
        ("- batch_size\n", r"expected lines of the form 'flag: value'"),
        ("a: {", r"not valid YAML"),
        ('exp_id: "\\UFFFFFFFF"', r"not valid YAML"),
        ("a: " + "[" * 5000, r"not valid YAML"),
        ("method: GAP\nspatial_pooling: WGAP\n", r"--method GAP needs GAP"),
        ("!!python/object/apply:os.getcwd []", r"expected lines"),
    ],
)
def test_bad_files(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "a.yml"
    path.write_text(content)
    with pytest.raises(UsageError, match=line) as caught:
        parse_args(["--config", str(path)])
    assert "\n" not in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "bytes.yml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.yml").write_bytes(b"")
    assert parse_args(["--config", str(tmp_path / "empty.yml")]).batch_size == 32
    for name in ("bytes.yml", "missing.yml", "."):
        with pytest.raises(UsageError, match=r"--config .*(cannot be read|not valid YAML)"):
            parse_args(["--config", str(tmp_path / name)])


def test_typed_values() -> None:
    cfg = parse_args([]).replace(batch_size=4, amp=True, opt__t_max=5, MYSEED="7", fd_exp=None)
    assert (cfg.batch_size, cfg.amp, cfg.opt__t_max, cfg.seed) == (4, True, 5.0, 7)
    for wrong in (
        {"batch_size": True},
        {"amp": 1},
        {"batch_size": None},
        {"batch_size": 2.0},
        {"nothing": 1},
    ):
        with pytest.raises(UsageError):
            cfg.replace(**wrong)


def test_help_needs_no_torch() -> None:
    """The help lists every flag under its concern, and nothing slow is imported to print it."""
    code = (
        "import sys\nfrom dlib.configure.config import parse_args\n"
        "try:\n    parse_args(['--amp', 'True', '--help'])\n"
        "finally:\n    print('SLOW', sorted({'torch', 'numpy', 'cv2'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "SLOW []"
    assert all(f"--{name} " in done.stdout for name in FLAGS)
    assert "Joint colour CRF over the frames of a shot" in done.stdout
