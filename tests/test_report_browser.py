"""The report in headless Chromium: every chart is drawn, filters work, nothing complains or sticks out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from dlib.compare import compare
from dlib.visualization.report import write_report
from helpers.report_experiment import CLASSES, build_experiment

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
    "--remote-debugging-port=0",  # stays open until it is told to end
)

# Runs after the page's own script: waits until all charts are drawn, without scrolling, then tries the controls.
PROBE = """
<script>
  const errors = [];
  addEventListener("error", (e) => errors.push(e.message));
  addEventListener("unhandledrejection", (e) => errors.push(String(e.reason)));
  addEventListener("securitypolicyviolation", (e) => errors.push(e.violatedDirective));
  const figures = [...document.querySelectorAll("[data-chart]")];
  const tops = () => [...document.querySelectorAll("section")].map((s) => Math.round(s.getBoundingClientRect().top));
  const before = tops();
  const timer = setInterval(() => {
    if (document.documentElement.dataset.ready !== "true") return;
    clearInterval(timer);
    const tried = { errors, charts: figures.length, width: innerWidth, page: document.documentElement.scrollWidth };
    tried.drawn = figures.filter((f) => f.querySelector(".main-svg")).length;
    tried.moved = tops().map((top, i) => Math.abs(top - before[i]));
    tried.ticks = figures.filter((f) => f.querySelector(".xtitle")?.textContent === "epoch")
      .flatMap((f) => [...f.querySelectorAll(".xtick text")].map((t) => t.textContent));
    tried.axes = [...document.querySelectorAll(".ytitle")].map((t) => t.textContent);
    tried.legend = [...document.querySelectorAll(".legendtext")].map((t) => t.textContent);
    const gallery = document.querySelector(".gallery");
    const select = document.querySelector("[data-filter=label]");
    if (select) {
      const range = gallery.querySelector("input[type=range]");
      const frame = gallery.querySelector(".frame");
      const rects = () => [...frame.querySelectorAll("rect[data-map]")].map((r) =>
        ["x", "y", "width", "height"].map((name) => Number(r.getAttribute(name))));
      const texts = () => [...frame.querySelectorAll("[data-iou]")].map((t) => t.textContent);
      tried.start = { rects: rects(), texts: texts() };
      range.value = 70;
      range.dispatchEvent(new Event("input"));
      tried.id = frame.querySelector("small").textContent;
      tried.moves = { rects: rects(), texts: texts(), said: gallery.querySelector("[role=status]").textContent };
      gallery.querySelector(".slider button").click();
      tried.back = { rects: rects(), texts: texts() };
      select.value = select.options[select.options.length - 1].value;
      select.dispatchEvent(new Event("change"));
      tried.label = select.value;
      tried.shown = gallery.querySelector("output").textContent;
      tried.visible = gallery.querySelectorAll(".frame:not([hidden])").length;
      const small = gallery.querySelector(".frame:not([hidden]) .picture");
      const width = small.clientWidth;
      small.click();
      const dialog = document.querySelector("dialog");
      tried.large = [dialog.open, dialog.querySelector(".picture").clientWidth >= width,
                     dialog.querySelectorAll("rect").length === small.querySelectorAll("rect").length];
      dialog.click();
      tried.closed = !dialog.open;
    }
    dispatchEvent(new Event("beforeprint"));
    tried.printed = figures.map((f) => f.querySelector(".main-svg").clientWidth);
    dispatchEvent(new Event("afterprint"));
    console.log("PROBE " + JSON.stringify(tried) + " END");
  }, 50);
</script>"""

# Opens a part of the page, and looks whether it is still open when the page has loaded itself again.
RELOADED = """
<script>
  const loads = 1 + Number(sessionStorage.getItem("loads") || 0);
  sessionStorage.setItem("loads", loads);
  const part = document.querySelector("details");
  const tried = { loads, open: part.open };
  if (loads === 1) part.open = true;
  else console.log("PROBE " + JSON.stringify(tried) + " END");
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no chromium found: the report is not tried in a browser")
    return found


def browse(chromium: str, page: Path, profile: Path, size: str, probe: str = PROBE) -> dict:
    probed = page.with_name(f"probed-{page.name}")
    probed.write_text(
        page.read_text(encoding="utf-8").replace("</body>", probe + "</body>"), encoding="utf-8"
    )
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", f"--window-size={size}", probed.as_uri()]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    patience = threading.Timer(100, browser.kill)
    patience.start()
    assert browser.stderr is not None
    seen = []
    try:
        for message in browser.stderr:
            if "CONSOLE" in message:
                seen.append(message)
            if "PROBE" in message:
                break
    finally:
        patience.cancel()
        browser.terminate()
        browser.communicate()
    assert seen, "the charts were not drawn in time"
    result = re.search(r"PROBE (\{.*\}) END", seen[-1])
    assert result, seen  # the console says nothing else
    assert len(seen) == 1, seen
    return json.loads(result.group(1))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_experiment(tmp_path_factory.mktemp("exps") / "a", epochs=3))


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_report(chromium: str, page: Path, tmp_path: Path, size: str) -> None:
    tried = browse(chromium, page, tmp_path / "profile", size)
    assert tried["errors"] == []
    assert tried["drawn"] == tried["charts"] >= 14
    assert max(tried["moved"]) <= 2  # a link lands on its section, also before the charts are drawn
    assert tried["page"] <= tried["width"]  # nothing sticks out to the side
    assert {t for t in tried["ticks"] if t} <= {str(epoch) for epoch in range(12)}  # whole epochs only
    assert not any("_" in text for text in tried["axes"] + tried["legend"])
    assert tried["label"] == sorted(CLASSES)[-1]
    assert 0 < tried["visible"] == int(tried["shown"].split()[0]) < int(tried["shown"].split()[2])
    assert "<script>alert('x')</script>" in tried["legend"]
    assert tried["large"] == [True, True, True]
    assert tried["closed"]
    assert max(tried["printed"]) <= 703  # the width of A4 without its margins, at 96 dots per inch


def test_boxes_and_corloc_follow_the_slider(chromium: str, tmp_path: Path) -> None:
    folder = build_experiment(tmp_path / "a", epochs=1, classes=["cat", "dog"])
    tried = browse(chromium, write_report(folder), tmp_path / "profile", "1280,900")
    results = json.loads((folder / "results.json").read_text())
    tau = results["test"]["best_localization"]["curves"]["taus"][70]
    records = json.loads((folder / "best_localization/test/vizu/50/gallery.json").read_text())
    strip = next(r for r in records if r["id"] == tried["id"])["strip"]
    width, height = strip["size"]
    for i, found in enumerate(strip["maps"]):
        *_, step = [s for s in found["steps"] if s[0] <= int(tau * found["peak"])]
        x0, y0, x1, y1 = step[1:5]
        left = (i + 1) * (width + strip["gap"])
        across, down = width / strip["side"], height / strip["side"]
        expected = [left + x0 * across, y0 * down, (x1 - x0 + 1) * across, (y1 - y0 + 1) * down]
        assert tried["moves"]["rects"][i] == pytest.approx(expected, abs=0.01)
        assert tried["moves"]["texts"][i] == f"IoU {step[5]:.2f}"
    assert tried["start"]["texts"] == [f"IoU {m['iou']:.2f}" for m in strip["maps"]]
    assert tried["back"]["texts"] == tried["start"]["texts"]
    assert tried["back"]["rects"] != tried["moves"]["rects"]
    curves = {"CoLo-CAM": results["test"]["best_localization"], "classifier": results["classifier_test"]}
    for name, report in curves.items():
        mean = sum(y[70] for y in report["curves"]["50"].values()) / 2
        said = re.search(rf"{name} ([0-9.]+) %", tried["moves"]["said"])
        assert said is not None
        assert float(said[1]) == pytest.approx(mean, abs=0.051)
    assert tried["moves"]["said"].startswith("τ = 0.693: CorLoc on the test split")


def test_the_page_of_a_running_experiment_loads_itself_again(chromium: str, tmp_path: Path) -> None:
    page = write_report(build_experiment(tmp_path / "a", epochs=5, done=2))
    text = page.read_text(encoding="utf-8")
    assert text.count('<body data-refresh="30">') == 1
    page.write_text(text.replace('data-refresh="30"', 'data-refresh="1"'), encoding="utf-8")
    assert browse(chromium, page, tmp_path / "profile", "900,900", RELOADED) == {"loads": 2, "open": True}
    assert "data-refresh" not in write_report(
        build_experiment(tmp_path / "b", epochs=1, pictures=False)
    ).read_text(encoding="utf-8")


def test_comparison(chromium: str, tmp_path: Path) -> None:
    folders = [
        build_experiment(tmp_path / "a", epochs=3, pictures=False),
        build_experiment(tmp_path / "b", epochs=3, done=1),
    ]
    compare(folders, tmp_path / "out.html")
    tried = browse(chromium, tmp_path / "out.html", tmp_path / "profile", "1280,900")
    assert tried["errors"] == []
    assert tried["charts"] == tried["drawn"] == 4
