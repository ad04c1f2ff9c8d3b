"""What MkDocs does for the site beyond its own work: the front page, links that leave doc/, formulas, the notebook.

The pages are written for GitHub, which shows every file of the repository. The site has only the pages of doc/. So
README.md becomes its front page, and every other file that a page links to becomes a page below ``files/``.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
FRONT_PAGE = "README.md"
NOTEBOOK = "doc/tutorial_notebook.ipynb"
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[)#])")  # the file of [text](file#part); other hosts have a colon
FORMULA = re.compile(r"^\$\$(.+?)\$\$$", re.M | re.S)
SECONDS_PER_CELL = 600  # a cell of the notebook that needs more has hung


def site_path(path: str) -> str:
    """Where the site has the repository's file ``path``, as MkDocs names its sources."""
    if path == FRONT_PAGE:
        return "index.md"
    if path.startswith("doc/"):
        return path.removeprefix("doc/").replace(".ipynb", ".md")
    return f"files/{path.removesuffix('.md')}.md"


def folder_of(src_uri: str) -> str:
    """The repository's folder that the links of the site's page ``src_uri`` start from."""
    if src_uri == site_path(FRONT_PAGE):
        return ""
    folder = posixpath.dirname(src_uri)
    top, _, below = folder.partition("/")
    return below if top == "files" else posixpath.join("doc", folder)


def linked(text: str, folder: str) -> Iterator[str]:
    """The repository's files that ``text``, of a page in ``folder``, links to."""
    for link in LINK.findall(text):
        path = posixpath.normpath(posixpath.join(folder, link))
        if (ROOT / path).is_file():
            yield path


def executed(notebook: Path, folder: Path) -> NotebookNode:
    """The notebook with its outputs; all of its files are in ``folder``. Raises CellExecutionError if a cell fails."""
    cells = nbformat.read(notebook, as_version=4)
    return NotebookClient(
        cells,
        timeout=SECONDS_PER_CELL,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env={**os.environ, "TMPDIR": str(folder)})


def notebook_page(cells: NotebookNode) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and the pictures in its outputs by the names that the text gives them."""
    name = Path(NOTEBOOK).stem
    for cell in cells.cells:
        if "outputs" in cell:  # what goes to stderr here are progress bars, hundreds of lines on a page
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    text, resources = MarkdownExporter().from_notebook_node(
        cells, {"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    return text, resources["outputs"]


def as_page(path: str) -> str:
    """The repository's file ``path`` as Markdown."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n~~~~~~ {Path(path).suffix[1:] or 'text'}\n{text}\n~~~~~~\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in doc/."""
    if config.extra["run_notebook"]:
        with tempfile.TemporaryDirectory() as folder:
            cells = executed(ROOT / NOTEBOOK, Path(folder))
    else:
        cells = nbformat.read(ROOT / NOTEBOOK, as_version=4)
    text, pictures = notebook_page(cells)
    for path, content in ({site_path(NOTEBOOK): text} | pictures).items():
        files.append(File.generated(config, path, content=content))
    texts = {file.src_uri: file.content_string for file in files.documentation_pages()}
    waiting = [FRONT_PAGE, *(path for uri, text in texts.items() for path in linked(text, folder_of(uri)))]
    while waiting:
        path = waiting.pop()
        uri = site_path(path)
        if files.get_file_from_path(uri) is None:
            text = as_page(path)
            files.append(File.generated(config, uri, content=text))
            if path.endswith(".md"):
                waiting += linked(text, folder_of(uri))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where the site has their file, and write formulas as MathML, which needs no script."""
    uri = page.file.src_uri

    def moved(link: re.Match[str]) -> str:
        for path in linked(f"]({link[0]})", folder_of(uri)):
            return posixpath.relpath(site_path(path), posixpath.dirname(uri) or ".")
        return link[0]

    def formula(found: re.Match[str]) -> str:
        return f'<div class="formula">{convert(found[1], display="block")}</div>'

    return FORMULA.sub(formula, LINK.sub(moved, markdown))
