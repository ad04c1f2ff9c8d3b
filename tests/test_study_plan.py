"""Study files: what they expand to, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlib.configure.config import Config, parse_args
from dlib.configure.constants import METHODS
from dlib.configure.table import FLAGS
from dlib.study.plan import Study, folder_name, read_study
from dlib.utils.errors import UsageError
from helpers.paths import ROOT
from helpers.published_lines import published_flags

STUDIES = ROOT / "cmds" / "studies"


def study(tmp_path: Path, text: str, more: list[str] | None = None, only: list[str] | None = None) -> Study:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return read_study(path, more or [], only or [])


def test_variants_times_grid(tmp_path: Path) -> None:
    found = study(
        tmp_path,
        "seeds: [3, 1]\nbase: {crop_size: 32, opt__lr: 0.5}\n"
        "variants:\n  a:\n  b: {opt__lr: 0.1}\ngrid:\n  batch_size: [2, 4]\n  aug_color: [0.0]\n",
    )
    assert found.seeds == (3, 1)
    rows = {v.name: (v.flags["opt__lr"], v.flags["batch_size"], v.flags["task"]) for v in found.variants}
    assert rows == {
        "a batch_size=2 aug_color=0.0": (0.5, 2, "STD_CL"),
        "a batch_size=4 aug_color=0.0": (0.5, 4, "STD_CL"),
        "b batch_size=2 aug_color=0.0": (0.1, 2, "STD_CL"),
        "b batch_size=4 aug_color=0.0": (0.1, 4, "STD_CL"),
    }
    assert all(v.flags["crop_size"] == 32 and v.flags["vizu_n"] == 0 for v in found.variants)
    assert not found.classifiers


COLOCAM = """
base: {encoder_name: resnet18, sl_clc: True, freeze_cl: True, opt__lr: 0.1, max_epochs: 3}
classifier: {opt__lr: 0.01}
variants:
  plain:
  other_encoder: {encoder_name: vgg16}
  GradCAM: {method: GradCAM, eval_only: True}
  CAM: {method: CAM, eval_only: True}
  GAP: {method: GAP, eval_only: True}
  own_method: {method: GradCAM}
"""


def test_classifiers_are_shared_where_they_can_be(tmp_path: Path) -> None:
    found = study(tmp_path, COLOCAM)
    assert {v.name: v.classifier for v in found.variants} == {
        "plain": "classifier",
        "other_encoder": "classifier-vgg16",
        "GradCAM": "classifier",
        "CAM": "classifier",
        "GAP": "classifier-GAP",
        "own_method": "classifier-GradCam",
    }
    flags = found.classifiers["classifier"].flags
    assert (flags["task"], flags["opt__lr"], flags["max_epochs"]) == ("STD_CL", 0.01, 3)
    assert not {"sl_clc", "freeze_cl"} & set(flags)
    assert found.classifiers["classifier-GAP"].flags["method"] == "GAP"
    tasks = {v.name: v.flags["task"] for v in found.variants}
    assert tasks["plain"] == "CoLo-CAM"
    assert tasks["GradCAM"] == "STD_CL"


def test_flags_of_the_command_line_win_everywhere(tmp_path: Path) -> None:
    found = study(tmp_path, COLOCAM, ["--max_epochs", "1", "--opt__lr=0.7", "--sl_clc_max", "5"], ["plain"])
    (variant,) = found.variants
    assert (variant.flags["max_epochs"], variant.flags["opt__lr"], variant.flags["sl_clc_max"]) == (1, 0.7, 5)
    assert found.classifiers["classifier"].flags["opt__lr"] == 0.7
    assert "sl_clc_max" not in found.classifiers["classifier"].flags


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("variants:\n  a: {opt__lrr: 1}", "line 2: unknown flag --opt__lrr; did you mean --opt__lr?"),
        ("base:\n  batch_size: many\nvariants: {a: }", "line 2: --batch_size 'many': expected an integer"),
        (
            "variants: {a: }\nseed: [1]",
            "line 2: key 'seed' is unknown; expected one of base, classifier, seeds",
        ),
        ("variants:\n  a:\n  a:", "line 3: key 'a' is here twice"),
        ("variants: {a: }\nseeds: [1, 1]", "line 2: seeds: expected different integers"),
        ("variants: {a: }\nseeds: 2", "line 2: seeds: expected different integers"),
        ("grid:\n  batch_size: 2", "line 2: --batch_size: expected a list of values"),
        ("variants:\n  a: {batch_size: [2]}", "line 2: --batch_size: expected one value"),
        ("variants:\n  a: {exp_id: x}", "line 2: --exp_id: the study sets it itself"),
        ("variants:\n  a: {cb_seed: 1}", "line 2: this program has no task C_BOX"),
        ("variants:\n  a: {task: C_BOX}", "line 2: this program has no task C_BOX"),
        ("variants: [a]", "line 1: expected lines of the form"),
        ("base: {crop_size: 32}", "needs 'variants', 'grid' or both"),
        ("variants: {", "not valid YAML"),
        (
            "variants:\n  a: {crop_size: 300}",
            "'a': --crop_size 300: must not be larger than --resize_size 256",
        ),
        (
            "classifier: {crop_size: 300}\nbase: {sl_clc: 1}\nvariants: {a: }",
            "classifier of 'a': --crop_size 300",
        ),
        ("variants:\n  a: {eval_only: True}", "'a': --eval_only True: needs --fd_exp"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        study(tmp_path, text)
    assert str(tmp_path / "s.yaml") in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_refused_command_lines(tmp_path: Path) -> None:
    for more, only, words in (
        (["--batch_size"], [], "--batch_size: a value is missing"),
        (["--batchsize", "2"], [], "unknown flag --batchsize"),
        ([], ["b"], "no variant 'b'; it has a"),
    ):
        with pytest.raises(UsageError, match=words):
            study(tmp_path, "variants: {a: }", more, only)
    with pytest.raises(UsageError, match="cannot be read"):
        read_study(tmp_path / "none.yaml")


def test_names_of_folders() -> None:
    assert folder_name("opt__lr=0.1") == "opt__lr=0.1"
    names = ["a/b", "a b", "..", "x" * 60, "x" * 61, "ä"]
    found = [folder_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert all(len(name) <= 50 and "/" not in name and not name.startswith(".") for name in found)


def test_studies_that_come_with_the_project() -> None:
    compare = read_study(STUDIES / "compare.yaml")
    assert [v.name for v in compare.variants] == [*METHODS, "CoLo-CAM"]
    assert all(v.evaluates_only and v.flags["method"] == v.name for v in compare.variants[:-1])
    assert len(compare.classifiers) == 5
    small = read_study(STUDIES / "small_data.yaml")
    assert len(small.seeds) == 3
    assert {v.classifier for v in small.variants} == {"classifier"}
    read_outs = {v.name for v in small.variants if v.evaluates_only}
    assert read_outs == {"LayerCAM", "LayerCAM_refined"}
    assert all(v.flags["task"] == "CoLo-CAM" for v in small.variants if v.name not in read_outs)


@pytest.mark.parametrize(
    ("file", "variant", "task"),
    [("table1", "CoLo-CAM", "CoLo-CAM"), ("table1", "TCAM", "TCAM"), ("tcam_ablation", "n_1", "TCAM")],
)
def test_studies_have_the_settings_of_the_published_lines(file: str, variant: str, task: str) -> None:
    (flags,) = (v.flags for v in read_study(STUDIES / f"{file}.yaml").variants if v.name == variant)
    here, published = Config.from_values(flags), parse_args(published_flags(task))
    run = {"vizu_n", "report", "exp_id", "debug_subfolder", "checkpoint_save", "keep_last_n_checkpoints"}
    differing = {name for name in FLAGS if getattr(here, name) != getattr(published, name)} - run
    # TCAM's line has CAM, its table LayerCAM.
    assert differing == ({"method"} if task == "TCAM" else set())


def test_the_ablation_of_tcam_changes_one_thing_at_a_time() -> None:
    study = read_study(STUDIES / "tcam_ablation.yaml")
    flags = {variant.name: Config.from_values(variant.flags).to_dict() for variant in study.variants}
    base = flags["n_0"]
    for n in range(1, 11):
        changed = {name: value for name, value in flags[f"n_{n}"].items() if value != base[name]}
        assert changed == {"sl_tc_knn": n, "sl_tc_knn_mode": "before"}
    for name, off in (("seeds_crf", {"max_sizepos_tc"}), ("seeds_size", {"crf_tc"})):
        assert {flag for flag, value in flags[name].items() if value != base[flag]} == off
    assert {v.classifier for v in study.variants} == {"classifier"}
