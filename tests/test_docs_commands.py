"""What the documentation tells people to type: it parses, its modules answer, its files exist."""

from __future__ import annotations

import ast
import importlib
import io
import re
import runpy
import shlex
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from dlib.configure.config import parse_args
from dlib.configure.constants import COLOCAM, STD_CL

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "doc").glob("*.md"))]
VARIABLES = {"freeport": "29500", "cudaid": "0", "seed": "1"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def split(line: str) -> list[str]:
    """Words of a command as a shell splits them, variables replaced, comments dropped."""
    for name, value in VARIABLES.items():
        line = line.replace(f"${name}", value)
    return shlex.split(line, comments=True)


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every single command in the shell blocks."""
    found = []
    for page in PAGES:
        for block in blocks(page, "shell"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"; *(?:do +)?|&& *", line.split("  #")[0]):
                    if words := split(part):
                        found.append((page.name, words))
    return found


def of_script(script: Path, given: list[str]) -> list[str]:
    """The flags that a script of cmds/ hands to main.py when it is started with ``given``."""
    text = script.read_text(encoding="utf-8").replace("\\\n", " ")
    names = re.search(r"^((?:\w+=\$\d ?)+)$", text, re.M)
    (line,) = [line for line in text.splitlines() if re.match(r"\s*main\.py |.* main\.py ", line)]
    assert names
    values = dict(pair.split("=$") for pair in names[1].split())
    line = line.replace('"$@"', shlex.join(given[len(values) :])).replace('"$nproc"', "1")
    for name, position in values.items():
        line = line.replace(f'"${name}"', shlex.quote(given[int(position) - 1]))
    words = shlex.split(line)
    return words[words.index("main.py") + 1 :]


COMMANDS = commands()


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
    [(page, words) for page, words in COMMANDS if re.search(r"(std_cl|colocam)\.sh", " ".join(words))],
    ids=lambda v: str(v)[:40],
)
def test_scripts_give_flags_that_parse(page: str, words: list[str]) -> None:
    at = next(i for i, word in enumerate(words) if word.endswith(".sh"))
    cfg = parse_args(of_script(ROOT / words[at], words[at + 1 :]))
    assert cfg.task == (STD_CL if "std_cl" in words[at] else COLOCAM)
    assert {cfg.encoder_name, cfg.dataset} <= set(words)


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
    first = blocks(ROOT / "README.md", "shell")[0].splitlines()
    assert [line.split("  #")[0].strip() for line in first] == ["bash cmds/demo.sh", "bash cmds/test.sh"]
    assert (ROOT / "README.md").read_text(encoding="utf-8").split("```shell")[0].strip() == "# CoLo-CAM"


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
