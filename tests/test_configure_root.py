"""``get_root_wsol_dataset()`` as people edit it: through the command line, with their functions in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlib.configure import config
from dlib.datasets import download
from dlib.utils.errors import UserError
from helpers.programs import start
from helpers.workplace import Workplace


def edit(monkeypatch: pytest.MonkeyPatch, body: str, folder: Path) -> None:
    """Put a function into config.py as an editor would: its own source, in the module's names."""
    namespace: dict[str, Any] = {**vars(config), "FOLDER": str(folder)}
    exec(body, namespace)
    monkeypatch.setattr(config, "get_root_wsol_dataset", namespace["get_root_wsol_dataset"])


WORKING = [
    "def get_root_wsol_dataset(): return FOLDER",
    "def get_root_wsol_dataset(): return Path(FOLDER)",
    "def get_root_wsol_dataset(args): return FOLDER if args.dataset == 'tiny' else None",
    "def get_root_wsol_dataset(args): return Path(FOLDER)",
    "def get_root_wsol_dataset(args=None): return FOLDER if args.task == 'STD_CL' else None",
    "def get_root_wsol_dataset(*args): return FOLDER",
]


@pytest.mark.parametrize("body", WORKING)
def test_forms(workplace: Workplace, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """The data are found: the run gets as far as its flags of the folds, which name no folder."""
    edit(monkeypatch, body, workplace.datasets)
    cfg = config.parse_args(workplace.flags(data_root=None))
    assert config.dataset_dir(cfg) == workplace.datasets / "tiny"
    code, _, error = start(workplace.flags(data_root=None, metadata_root=workplace.folder / "none"))
    assert code == 1
    assert error.startswith("error: folds of dataset tiny not found")


def test_a_whole_run(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(monkeypatch, WORKING[2], workplace.datasets)
    code, out, error = start(workplace.flags(data_root=None, dry_run=True))
    assert (code, error) == (0, "")
    assert "tiny: 3 classes" in out


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def get_root_wsol_dataset(): return None", "returns None: it must return the datasets' folder"),
        ("def get_root_wsol_dataset(args): pass", "returns None: "),
        ("def get_root_wsol_dataset(args): return ''", "returns '': "),
        ("def get_root_wsol_dataset(): return 7", "returns 7: "),
        ("def get_root_wsol_dataset(): return [FOLDER] * 99", "returns ['"),
        ("def get_root_wsol_dataset(): raise ValueError('new\\nhost')", "fails (ValueError: new host): "),
        ("def get_root_wsol_dataset(args): return args.nothing", "fails (AttributeError: "),
        ("def get_root_wsol_dataset(a, b): return FOLDER", "fails (TypeError: "),
    ],
)
def test_one_line_names_the_function(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, body: str, words: str
) -> None:
    edit(monkeypatch, body, workplace.datasets)
    code, _, error = start(workplace.flags(data_root=None))
    (line,) = error.splitlines()
    assert code == 1
    assert line.startswith(f"error: get_root_wsol_dataset() in {config.__file__} {words}")
    assert line.endswith("give --data_root")
    # A given flag needs no function.
    code, _, error = start(workplace.flags(metadata_root=workplace.folder / "none"))
    assert error.startswith("error: folds of dataset tiny not found")


@pytest.mark.parametrize("body", [WORKING[1], "def get_root_wsol_dataset(args): return FOLDER"])
def test_the_downloads_go_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: str
) -> None:
    edit(monkeypatch, body, tmp_path)
    found: list[Path] = []

    def stop(url: str, names: list[str], root: Path, *rest: object) -> None:
        found.append(root)
        raise UserError("far enough")

    monkeypatch.setattr(download, "download", stop)
    assert download.main(["YouTube-Objects-v1.0", "--metadata", str(tmp_path / "f")]) == 1
    assert "far enough" in capsys.readouterr().err
    assert found == [tmp_path / "YouTube-Objects-v1.0-archives"]
