from __future__ import annotations

import base64
import gzip
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from dlib.utils.errors import UserError
from dlib.visualization.page import script_json
from dlib.visualization.report import write_report
from helpers.report_experiment import CLASSES, build_experiment


class Page(HTMLParser):
    """Elements, attributes and texts of a page as a browser's parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_experiment(tmp_path_factory.mktemp("exps") / "full", epochs=4)


@pytest.fixture(scope="module")
def page(finished: Path) -> Page:
    return Page(write_report(finished).read_text(encoding="utf-8"))


def charts_of(page: Page) -> dict:
    return json.loads(next(t for t in page.texts["script"] if t.startswith("{")))


def test_strings_cannot_become_elements(page: Page) -> None:
    assert [s.get("id") for s in page.of("script")] == ["charts", "plotly", None]
    assert any("<script>alert('x')</script>" in text for text in page.texts["th"])
    names = [t["name"] for t in charts_of(page)["tau-best_localization"]["data"]]
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in names  # plotly shows entities as characters
    labels = {f.get("data-label") for f in page.of("figure")}
    assert "<script>alert('x')</script>" in labels


@pytest.mark.parametrize("where", ["command", "message", "exp_id", "dataset", "term", "diagnostic"])
def test_every_source_of_text_is_escaped(tmp_path: Path, where: str) -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'&"
    folder = tmp_path / "a"
    folder.mkdir()
    events = [
        {
            "event": "start",
            "command": evil if where == "command" else "",
            "config": {"max_epochs": 3, where: evil},
        },
        {"event": "warning", "message": evil if where == "message" else "w"},
        {
            "event": "step",
            "epoch": 1,
            "step": 1,
            "loss": 1.0,
            "terms": {evil: 1.0} if where == "term" else {},
        },
        {"event": "epoch", "epoch": 1, "step": 1, "diagnostics": {evil: 1.0, "grad_norms": {evil: 1.0}}},
    ]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, events)))
    text = write_report(folder).read_text(encoding="utf-8")
    page = Page(text)
    assert not page.of("img")
    assert len(page.of("script")) == 3
    assert "onerror=alert(1)>" not in text.replace("onerror=alert(1)&gt;", "").replace(
        "onerror=alert(1)\\u003e", ""
    )
    assert charts_of(page)


def test_script_json_is_safe_and_true() -> None:
    content = {"a</script>": ["<!--", "&", "\u2028", float("nan"), float("-inf"), 1.5, None, (1, 2)]}
    text = script_json(content)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a</script>": ["<!--", "&", "\u2028", None, None, 1.5, None, [1, 2]]}


def test_nothing_is_loaded_from_elsewhere(page: Page, finished: Path) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
        if "href" in attributes:
            assert (attributes["href"] or "").startswith("#")
    policy = next(m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    packed = next(t for t in page.texts["script"] if t.startswith("H4s"))
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert page.texts["script"].count(packed) == 1


def test_the_table_shows_the_results(page: Page, finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text())
    cells = {text.strip() for tag in ("td", "span") for text in page.texts.get(tag, [])}
    for criterion in ("best_localization", "best_classification"):
        report = results["test"][criterion]
        for row in report["per_class"].values():
            for sigma in ("30", "50", "70"):
                assert f"{row['corloc'][sigma]:.1f}" in cells
        for chosen in (report["at_val_taus"], report["box_rule"]):
            assert f"{chosen['corloc']['50']:.1f}" in cells
            assert {f"{row['corloc']['50']:.1f}" for row in chosen["per_class"].values()} <= cells
    tau = results["val"]["best_localization"]["per_class"]["bird"]["best_tau"]["50"]
    assert f"{tau:.3f}" in cells


def test_pictures_are_bounded(finished: Path, page: Page) -> None:
    drawn = sum(len(json.loads(path.read_text())) for path in finished.glob("*/test/vizu/50/gallery.json"))
    assert len(page.of("img")) == drawn + 4  # with the seed examples
    text = write_report(finished, max_picture_bytes=300_000).read_text(encoding="utf-8")
    small = Page(text)
    sizes = [len(image["src"] or "") for image in small.of("img")]
    assert 0 < sum(sizes) <= 300_000
    assert f"{drawn + 4 - len(sizes)} more pictures" in text


def test_no_class_is_left_out_where_space_ends(finished: Path) -> None:
    page = Page(write_report(finished, max_picture_bytes=700_000).read_text(encoding="utf-8"))
    shown = [figure.get("data-label") for figure in page.of("figure") if figure.get("class") == "card frame"]
    assert set(CLASSES) <= set(shown)
    assert len(page.of("img")) < 40


def test_pictures_outside_the_folder_are_not_taken(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, classes=["cat"])
    gallery = next(folder.glob("*localization*/test/vizu/50/gallery.json"))
    records = json.loads(gallery.read_text())
    before = len(Page(write_report(folder).read_text()).of("img"))
    (tmp_path / "secret.png").write_bytes((gallery.parent / records[0]["plain"]).read_bytes())
    records[0]["plain"] = str(tmp_path / "secret.png")
    records[1]["plain"] = "missing.png"
    (gallery.parent / records[2]["plain"]).write_bytes(b"no picture")
    gallery.write_text(json.dumps(records))
    assert len(Page(write_report(folder).read_text()).of("img")) == before - 3


def test_a_running_experiment_is_reported_at_once(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=10, done=3)
    write_report(folder)
    began = time.process_time()
    text = write_report(folder).read_text(encoding="utf-8")
    assert time.process_time() - began < 1
    assert "epoch 3 of 10, about 11 min 05 s left" in text
    assert 'id="corloc"' not in text
    assert {"validation", "loss-0", "lr", "speed", "shares", "fg", "grads", "seeds"} <= set(
        charts_of(Page(text))
    )
    assert sorted(p.name for p in folder.iterdir()) == ["config.yml", "log.jsonl", "report.html"]


def test_a_run_whose_last_file_is_missing_is_finished(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=2, pictures=False)
    (folder / "passed.txt").unlink()
    assert '<p class="status done"><i></i>finished</p>' in write_report(folder).read_text(encoding="utf-8")


def test_every_stage_of_a_run_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no experiment"):
        write_report(tmp_path)
    (tmp_path / "config.yml").write_text("task: STD_CL\nmax_epochs: 2\n")
    assert "epoch 0 of 2" in write_report(tmp_path).read_text()
    (tmp_path / "log.jsonl").write_text(
        '{"event":"test","criterion":"best_localization","report":{"per_class":{}}}'
    )
    assert 'id="corloc"' in write_report(tmp_path).read_text()


def test_a_frame_without_iou_has_a_dash(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, classes=["cat"])
    path = folder / "best_localization" / "test" / "vizu" / "50" / "gallery.json"
    records = json.loads(path.read_text())
    records[0]["iou"] = None
    path.write_text(json.dumps(records))
    assert write_report(folder).read_text().count("IoU –") == 1


def test_missing_numbers_are_dashes(tmp_path: Path) -> None:
    empty = {"samples": 0, "corloc": {"30": None, "50": None}, "best_tau": {"50": None}, "top1": {"50": None}}
    report = {
        "per_class": {"cat": empty},
        "corloc": {"50": None},
        "curves": {"taus": [0.0], "50": {"cat": None}},
    }
    (tmp_path / "results.json").write_text(json.dumps({"test": {"best_localization": report}}))
    row = re.search(r"<th>cat</th>.*?</tr>", write_report(tmp_path).read_text(), re.DOTALL)
    assert row is not None
    assert row.group().count("–") == 9
