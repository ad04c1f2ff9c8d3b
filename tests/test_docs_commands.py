"""What the documentation tells people to type: it parses, its modules answer, its files exist."""

from __future__ import annotations

import ast
import importlib
import io
import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from PIL import Image

from dlib.configure.config import parse_args
from dlib.configure.constants import COLOCAM, F_CL, STD_CL, TCAM
from helpers.clips import write_clip
from helpers.paths import ROOT
from helpers.programs import start
from helpers.published_lines import README, blocks, commands

PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "doc").glob("*.md"))]
COMMANDS = [(page.name, words) for page in PAGES for words in commands(page)]


OF_SCRIPT = {"cmds/std_cl.sh": STD_CL, "cmds/colocam.sh": COLOCAM, "cmds/tcam.sh": TCAM, "cmds/fcam.sh": F_CL}


def of_script(script: Path, given: list[str], folder: Path, **environment: str) -> list[str]:
    """The flags that a script of cmds/ hands to main.py when it is started with ``given``, run in ``folder``."""
    (folder / "cmds").mkdir()
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in (script.name, "launch.sh"):
        shutil.copy(script.with_name(name), folder / "cmds" / name)
    (folder / "cmds" / "setup.sh").write_text("exit 0\n")
    torchrun = folder / ".venv" / "bin" / "torchrun"
    torchrun.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    torchrun.chmod(0o755)
    started = ["bash", str(folder / "cmds" / script.name), *given]
    done = subprocess.run(
        started, env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    words = done.stdout.splitlines()
    return words[words.index("main.py") + 1 :]


def test_there_is_something_to_test() -> None:
    joined = [" ".join(words) for _, words in COMMANDS]
    for part in ("torchrun", "main.py --eval_only", "cmds/colocam.sh", "dlib.localize", "dlib.export"):
        assert any(part in command for command in joined), part


@pytest.mark.parametrize(
    ("page", "words"),
    [(page, words) for page, words in COMMANDS if "main.py" in words],
    ids=lambda v: str(v)[:40],
)
def test_command_lines_of_main_parse(page: str, words: list[str]) -> None:
    cfg = parse_args(words[words.index("main.py") + 1 :])
    assert cfg.explicit
    assert cfg.explicit <= {word.removeprefix("--").partition("=")[0] for word in words}


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (page, words)
        for page, words in COMMANDS
        if re.search(r"(std_cl|colocam|tcam|fcam)\.sh", " ".join(words))
    ],
    ids=lambda v: str(v)[:40],
)
def test_scripts_give_flags_that_parse(page: str, words: list[str], tmp_path: Path) -> None:
    at = next(i for i, word in enumerate(words) if word.endswith(".sh"))
    cfg = parse_args(of_script(ROOT / words[at], words[at + 1 :], tmp_path))
    assert cfg.task == OF_SCRIPT[words[at]]
    assert {cfg.encoder_name, cfg.dataset} <= set(words)


@pytest.mark.parametrize(
    ("settings", "frames", "weight"),
    [({}, 2, 9.0), ({"SETTINGS": "best"}, 4, 4.0)],
    ids=["published", "best"],
)
def test_settings_of_the_papers_best_run(
    settings: dict[str, str], frames: int, weight: float, tmp_path: Path
) -> None:
    given = ["resnet50", "YouTube-Objects-v1.0"]
    cfg = parse_args(of_script(ROOT / "cmds" / "colocam.sh", given, tmp_path, **settings))
    assert (cfg.sample_n_from_seq, cfg.rgb_jcrf_clc_lambda, cfg.rgb_jcrf_clc_lambda_style) == (
        frames,
        weight,
        "adaptive",
    )


MODULES = sorted({words[words.index("-m") + 1] for _, words in COMMANDS if "-m" in words})


@pytest.mark.parametrize("module", MODULES)
def test_modules_answer_help_and_have_the_flags(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [module, "--help"])
    said = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(said):
        warnings.simplefilter("ignore")
        with pytest.raises(SystemExit, match=r"^0$"):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    known = set(re.findall(r"--\w+", said.getvalue()))
    for _, words in COMMANDS:
        if module in words:
            assert {word for word in words if word.startswith("--")} <= known


# What makes the tutorial's runs small; each is appended to the page's own words, where the last one wins.
SMALL = shlex.split(
    "--encoder_weights None --crop_size 32 --resize_size 36 --max_epochs 1 --min_steps 0 --num_workers 0 --device cpu "
    "--vizu_n 1 --cam_curve_interval 0.1 --val_cam_curve_interval 0.1"
)
FEW_SEEDS = ["--sl_clc_min", "20", "--sl_clc_max", "20"]
COPIED = ("main.py",)


def what_people_have(folder: Path) -> None:
    """What the tutorial asks for in ``folder``: ``videos/``, ``boxes.csv`` and ``new.mp4``."""
    lines = ["video,frame,x0,y0,x1,y1"]
    for name, video in itertools.product(("dog", "horse"), ("a", "b", "c")):
        (folder / "videos" / name).mkdir(parents=True, exist_ok=True)
        write_clip(folder / "videos" / name / f"{video}.mp4", 8)
        # The disc of ``scene``: x moves by 0.02 of the width, the radius is a fifth of the height.
        lines += [
            f"{name}/{video}.mp4,{i},{7.2 + 0.96 * i:.1f},10.8,{21.6 + 0.96 * i:.1f},25.2" for i in (0, 5)
        ]
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")
    write_clip(folder / "new.mp4", 3)


def run_as_typed(words: list[str]) -> None:
    """``python …`` in this process, which has PyTorch loaded already; other programs as they are."""
    if words[0] != "python":
        subprocess.run(words, check=True, capture_output=True, timeout=120)
    elif words[1] == "-m":
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            patch.setattr("sys.argv", words[2:])
            try:
                runpy.run_module(words[2], run_name="__main__", alter_sys=True)
            except SystemExit as ended:
                if ended.code:
                    raise
    else:
        code, _, error = start(words[2:])
        assert code == 0, (words, error)


def placed(words: list[str], experiments: dict[str, Path]) -> list[str]:
    """``words`` with the experiments that the page's placeholders stand for."""
    stand_for = {f"EXP{i}": str(path) for i, path in enumerate(experiments.values(), 1)}
    if experiments:
        newest = list(experiments.values())[-1]
        stand_for |= {"EXP": str(newest), "EXPERIMENT": newest.name}
    return [re.sub(r"\bEXP(?:ERIMENT|\d?)\b", lambda m: stand_for[m[0]], word) for word in words]


@pytest.mark.slow
def test_the_tutorial_from_the_videos_to_the_exported_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    monkeypatch.delenv("DATASETSH", raising=False)
    monkeypatch.chdir(tmp_path)
    what_people_have(tmp_path)
    for name in COPIED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    experiments: dict[str, Path] = {}
    for page, typed in COMMANDS:
        if page != "tutorial.md" or typed == ["bash", "cmds/setup.sh"]:
            continue
        words = placed(typed, experiments)
        if "main.py" not in words:
            run_as_typed(words)
            continue
        words += SMALL + (FEW_SEEDS if "--sl_clc" in words else [])
        if "--dry_run" in words:
            run_as_typed(words)
            assert not Path("exps/my-videos").exists()
            # The page: "Without `--dry_run True` the training starts".
            at = words.index("--dry_run")
            del words[at : at + 2]
        run_as_typed(words)
        task = words[words.index("--task") + 1]
        (experiments[task],) = Path("exps/my-videos/resnet50").glob(f"{task}/LayerCAM/id_first-*")
    assert list(experiments) == [STD_CL, COLOCAM]
    for folder in experiments.values():
        results = json.loads((folder / "results.json").read_text())
        assert results["test"]["best_localization"]["samples"] == 4
        assert (folder / "report.html").exists()
    assert results["classifier_test"]["samples"] == 4
    boxes = json.loads(Path("found/boxes.json").read_text())
    assert [frame["frame"] for frame in boxes["frames"]] == [0, 1, 2]
    assert Path("found/overlay.mp4").exists()
    assert "report: compare.html" in capsys.readouterr().out
    assert all(task in Path("compare.html").read_text() for task in experiments)
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    logits, *_ = session.run(None, {"images": np.zeros((1, 3, 32, 32), np.float32)})
    assert logits.shape == (1, 2)


def test_scripts_and_files_exist() -> None:
    pattern = re.compile(r"(?<![\w/.-])(?:cmds|doc|dlib|tests|benchmarks|dependencies|\.ci)/[\w./-]*\w/?")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in pattern.finditer(text):
            pattern_follows = text[match.end() : match.end() + 1] in ("*", "<")
            assert pattern_follows or (ROOT / match[0]).exists(), f"{page.name}: {match[0]}"
        for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile_and_import(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_readme_opens_with_the_two_commands() -> None:
    first = blocks(README, "shell")[0].splitlines()
    assert [line.split("  #")[0].strip() for line in first] == ["bash cmds/demo.sh", "bash cmds/test.sh"]
    assert (README).read_text(encoding="utf-8").split("```shell")[0].strip() == "# CoLo-CAM"


def test_the_figure_is_what_its_script_draws(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "doc" / "method_figure.py"))
    script["draw"](tmp_path / "method.png")
    with Image.open(tmp_path / "method.png") as drawn, Image.open(ROOT / "doc" / "method.png") as kept:
        # Versions of matplotlib differ by a pixel or two and in the rendering of letters.
        assert np.allclose(drawn.size, kept.size, atol=12)
        small = [np.asarray(image.convert("L").resize((96, 48)), float) for image in (drawn, kept)]
    assert np.abs(small[0] - small[1]).mean() < 6


def test_the_citation_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == "Apache-2.0"
    assert "2303.09044" in citation["preferred-citation"]["url"]
    assert len(citation["preferred-citation"]["authors"]) == 6
