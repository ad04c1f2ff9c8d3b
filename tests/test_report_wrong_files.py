"""Experiments whose files hold what no run writes: one line that names the file, and the others are still shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dlib import compare, status
from dlib.utils.errors import UserError
from dlib.visualization import page
from dlib.visualization.charts import training_charts
from dlib.visualization.records import read_experiment
from dlib.visualization.report import write_report
from helpers.report_experiment import build_experiment

WRONG: tuple[Any, ...] = ("text", 3, True, [], ["x"], {}, {"x": "y"}, {"x": None}, None, -1e400)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(page, "plotly_gzip", lambda: "")
    return build_experiment(tmp_path / "exps" / "a", epochs=1, classes=["cat"], pictures=False)


def places(content: Any) -> Iterator[tuple[Any, ...]]:
    """Paths to all values inside; of lists the first only."""
    items = content.items() if isinstance(content, dict) else enumerate(content[:1])
    for name, value in items:
        yield (name,)
        if isinstance(value, dict | list):
            yield from ((name, *rest) for rest in places(value))


def some_wrong(number: int) -> list[Any]:
    """Three wrong values for the ``number``-th place; its neighbours get the others."""
    return [WRONG[(3 * number + i) % len(WRONG)] for i in range(3)]


def replaced(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    new = copy.deepcopy(content)
    inner = new
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return new


def shown_or_named(folder: Path, file: str) -> bool:
    """Whether all programs show the experiment; else all have said in one line what is wrong with ``file``."""
    (line,) = status.status_rows(folder.parent, 0.0)[1:]
    attempts = (
        lambda: write_report(folder),
        lambda: compare.compare([folder, folder], folder / "c.html"),
        lambda: training_charts(read_experiment(folder)),
    )
    for attempt in attempts:
        said = complaint(attempt)
        assert (said is None) == (line[0] != "unreadable")
        if said is not None:
            assert said.startswith(f"{folder / file}: ")
            assert "\n" not in said
            assert f"a, unreadable: {file}: " in line[-1]
    return line[0] != "unreadable"


def complaint(attempt: Callable[[], Any]) -> str | None:
    try:
        attempt()
    except UserError as error:
        return str(error)
    return None


def test_every_value_of_the_results_replaced(small: Path) -> None:
    path = small / "results.json"
    content = json.loads(path.read_text())
    for half in ("val", "test"):
        content[half].pop("best_classification")
    for report in (content["val"], content["test"]):
        curves = report["best_localization"]["curves"]
        curves["taus"], curves["50"]["cat"] = [0.0, 0.5], [1.0, 2.0]
        curves.pop("30"), curves.pop("70")
    content.pop("classifier_test")
    shown = []
    for number, place in enumerate(places(content)):
        for value in some_wrong(number):
            path.write_text(json.dumps(replaced(content, place, value)))
            shown.append(shown_or_named(small, "results.json"))
    assert 0.2 < sum(shown) / len(shown) < 0.95


def test_every_value_of_the_log_replaced(small: Path) -> None:
    (small / "results.json").unlink()
    (small / "config.yml").unlink()
    path = small / "log.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    kept = {event["event"]: i for i, event in enumerate(events)}
    for i in kept.values():
        for number, place in enumerate(places(events[i])):
            for value in some_wrong(number):
                lines = [*events[:i], replaced(events[i], place, value), *events[i + 1 :]]
                path.write_text("\n".join(map(json.dumps, lines)))
                shown_or_named(small, "log.jsonl")


@pytest.mark.parametrize("value", WRONG)
def test_every_value_of_the_flags_replaced(small: Path, value: Any) -> None:
    path = small / "config.yml"
    flags = yaml.safe_load(path.read_text())
    for name in [*flags, 5, None]:
        path.write_text(yaml.safe_dump({**flags, name: value}))
        assert shown_or_named(small, "config.yml") or name == "max_epochs"


@pytest.mark.parametrize("name", ["results.json", "config.yml"])
@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe\x00", b"[" * 1100])
def test_files_that_cannot_be_read(small: Path, name: str, content: bytes) -> None:
    (small / name).write_bytes(content)
    assert not shown_or_named(small, name)


def test_one_broken_experiment_does_not_hide_the_others(small: Path, capsys: pytest.CaptureFixture) -> None:
    build_experiment(small.parent / "deep" / "b", epochs=2, classes=["cat"], pictures=False)
    (small.parent / "folder" / "results.json").mkdir(parents=True)  # not a file
    (small / "results.json").write_text('{"best": "much"}')
    assert status.main(["--exps_root", str(small.parent)]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0].split(maxsplit=6)[-1] == "a, unreadable: results.json: best is a text, expected an object"
    assert lines[1].split()[0] == "passed"
    assert len(lines) == 2
    assert compare.main([str(small), str(small.parent / "deep" / "b")]) == 1
    error = capsys.readouterr().err
    assert error == f"error: {small / 'results.json'}: best is a text, expected an object\n"


def test_flags_are_refused_by_name(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "config.yml").write_text("max_epochs: ten\n")
    assert compare.main([str(small)]) == 1
    assert "config.yml: max_epochs is a text, expected a number" in capsys.readouterr().err


def test_a_run_without_a_known_box_shows_dashes(small: Path) -> None:
    path = small / "results.json"
    results = json.loads(path.read_text())
    nothing = dict.fromkeys(("30", "50", "70", "mean"))
    for report in (*results["val"].values(), *results["test"].values()):
        row = {"samples": 0, "corloc": nothing, "best_tau": nothing, "top1": nothing}
        report |= {"headline": None, "corloc": nothing, "top1": nothing, "per_class": {"cat": row}}
        report["curves"] = {"taus": [0.0], "30": {"cat": None}, "50": {"cat": None}, "70": {"cat": None}}
        unknown = {"corloc": nothing, "per_class": {"cat": {"samples": 0, "corloc": nothing}}}
        report |= {"at_val_taus": unknown, "box_rule": unknown}
    results["best"]["best_localization"] = {"epoch": 0, "step": 0, "value": -1.0}
    path.write_text(json.dumps(results))
    assert status.status_rows(small.parent, 0.0)[1][3] == "–"
    values = [value(read_experiment(small)) for value in compare.COLUMNS.values()]
    assert values[:3] == [None, None, None]
    assert values[4] is None
    text = compare.compare([small], small / "c.html")
    assert text.splitlines()[1].count("–") == 4
    tiles = write_report(small).read_text()
    assert tiles.count("<b>– %</b>") == 3
    assert "-1.0 %" not in tiles


STRIPS = [
    {},
    [],
    {"size": [9, 9], "gap": 4, "side": 112, "maps": []},
    {"size": [9], "gap": 4, "side": 112, "maps": [{}]},
    {"size": [0, 9], "gap": 4, "side": 0, "maps": [{"name": 1}]},
    {"size": ["x", None], "gap": 4, "side": 1e400, "maps": 3},
]


def test_a_gallery_without_usable_boxes_shows_its_pictures(tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, classes=["cat"])
    path = folder / "best_localization" / "test" / "vizu" / "50" / "gallery.json"
    given = json.loads(path.read_text())
    records = [{**given[i % len(given)], "strip": strip} for i, strip in enumerate(STRIPS)]
    path.write_text(json.dumps(records))
    page = write_report(folder).read_text(encoding="utf-8")
    other = folder / "best_classification" / "test" / "vizu" / "50" / "gallery.json"
    assert page.count("<svg viewBox") == len(json.loads(other.read_text()))
    assert page.count("heat map, true and predicted box") == len(records) + page.count("<svg viewBox")
