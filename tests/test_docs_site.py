"""The documentation as a site: it builds without a warning, and faults in its pages are warnings; the notebook runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from helpers.paths import ROOT

pytest.importorskip("mkdocs", reason="the site needs dependencies/requirements-docs.txt")

NOTEBOOK = ROOT / "doc" / "tutorial_notebook.ipynb"


def build(checkout: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What cmds/docs.sh does, without running the notebook."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=checkout,
        env={**os.environ, "RUN_NOTEBOOK": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "doc"))
        import site_hooks
    return site_hooks


class Addresses(HTMLParser):
    """What a page makes a browser load (``loaded``) and where its links lead (``links``)."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value:
                (self.links if tag == "a" else self.loaded).append(value)


def words(page: Path) -> str:
    """A page without its tags."""
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


def pages(site: Path) -> Iterator[tuple[Path, Addresses]]:
    for page in site.rglob("*.html"):
        if page.name != "404.html":  # it is served at any depth, so its addresses start at the site's root
            yield page, Addresses(page)


def test_every_picture_and_every_link_of_the_site_leads_to_a_file(site: Path) -> None:
    seen = 0
    for page, addresses in pages(site):
        for address in addresses.loaded + addresses.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            seen += 1
            assert (page.parent / unquote(parts.path)).is_file(), f"{page.relative_to(site)}: {address}"
    assert seen > 1000


def test_a_page_loads_nothing_from_other_hosts(site: Path) -> None:
    for page, addresses in pages(site):
        assert not [a for a in addresses.loaded if urlsplit(a).netloc], page.relative_to(site)


def test_front_page_files_outside_doc_formulas_and_python(site: Path) -> None:
    assert "bash cmds/demo.sh" in words(site / "index.html")
    front = Addresses(site / "index.html")
    assert {"tutorial.html", "files/LICENSE.html"} <= {*front.links}
    assert "demo.png" in front.loaded
    assert "files/tests/helpers/toy_task.py.html" in Addresses(site / "architecture.html").links
    assert "class ToyTask" in words(site / "files/tests/helpers/toy_task.py.html")
    method = (site / "method.html").read_text(encoding="utf-8")
    assert "$$" not in method
    assert method.count("<math") == (ROOT / "doc" / "method.md").read_text(encoding="utf-8").count("$$") / 2
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    found = {entry["location"] for entry in index if "Localizer" in entry["title"]}
    assert "api/localizer.html#dlib.localizer.Localizer" in found


FAULTS = {
    "[a page that is not there](nowhere.md)": "nowhere.md",
    "[a heading that is not there](data.md#nowhere)": "data.md#nowhere",
    "[a file that is not there](../nowhere.py)": "../nowhere.py",
    "[an address from the root](/data.md)": "/data.md",
    "![a picture that is not there](nowhere.png)": "nowhere.png",
}


def test_faults_in_a_page_end_the_build_and_are_named(tmp_path: Path) -> None:
    for part in ROOT.iterdir():
        if part.name not in ("doc", "build"):
            (tmp_path / part.name).symlink_to(part)
    shutil.copytree(ROOT / "doc", tmp_path / "doc")
    (tmp_path / "doc" / "forgotten.md").write_text("# A page that is in no menu\n")
    with (tmp_path / "doc" / "data.md").open("a") as page:
        page.write("\n" + "\n".join(FAULTS) + "\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    for named in FAULTS.values():
        assert f"'{named}'" in done.stderr, named
    assert "forgotten.md" in done.stderr


def test_the_notebook_is_kept_without_outputs() -> None:
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
def test_the_notebook_runs_and_its_page_has_the_pictures(
    hooks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATASETSH", raising=False)
    cells = hooks.executed(NOTEBOOK, tmp_path)
    (folder,) = tmp_path.glob("colocam-*")
    boxes = json.loads((folder / "found" / "boxes.json").read_text())
    assert len(boxes["frames"]) == 6
    assert (folder / "found" / "overlay.mp4").stat().st_size > 0
    text, pictures = hooks.notebook_page(cells)
    assert [picture[:4] for picture in pictures.values()] == [b"\x89PNG"] * 2
    assert all(f"({name})" in text for name in pictures)
    assert "written to found" in text
    assert "video/s" not in text  # progress bars
