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

# Runs after the page's own script: draws every chart at once, waits for all of them, then tries the filters.
PROBE = """
<script>
  const errors = [];
  addEventListener("error", (e) => errors.push(e.message));
  addEventListener("unhandledrejection", (e) => errors.push(String(e.reason)));
  addEventListener("securitypolicyviolation", (e) => errors.push(e.violatedDirective));
  const figures = [...document.querySelectorAll("[data-chart]")];
  const timer = setInterval(() => {
    const next = figures.find((f) => !f.querySelector(".main-svg"));
    if (next) return next.scrollIntoView({ behavior: "instant", block: "center" });
    clearInterval(timer);
    const tried = { errors, charts: figures.length, width: innerWidth, page: document.documentElement.scrollWidth };
    const select = document.querySelector("[data-filter=label]");
    if (select) {
      select.value = select.options[select.options.length - 1].value;
      select.dispatchEvent(new Event("change"));
      tried.label = select.value;
      tried.shown = [...document.querySelectorAll(".gallery")][0].querySelector("output").textContent;
      tried.visible = [...document.querySelectorAll(".gallery")][0].querySelectorAll(".frame:not([hidden])").length;
      tried.names = [...document.querySelectorAll(".legendtext")].map((e) => e.textContent);
    }
    console.log("PROBE " + JSON.stringify(tried) + " END");
  }, 100);
</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("no chromium found: the report is not tried in a browser")
    return found


def browse(chromium: str, page: Path, profile: Path, size: str) -> dict:
    probed = page.with_name(f"probed-{page.name}")
    probed.write_text(
        page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8"
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


@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_report(chromium: str, tmp_path: Path, size: str) -> None:
    tried = browse(
        chromium, write_report(build_experiment(tmp_path / "a", epochs=3)), tmp_path / "profile", size
    )
    assert tried["errors"] == []
    assert tried["charts"] >= 14
    assert tried["page"] <= tried["width"]  # nothing sticks out to the side
    assert tried["label"] == sorted(CLASSES)[-1]
    assert 0 < tried["visible"] == int(tried["shown"].split()[0]) < int(tried["shown"].split()[2])
    assert "<script>alert('x')</script>" in tried["names"]


def test_comparison(chromium: str, tmp_path: Path) -> None:
    folders = [
        build_experiment(tmp_path / "a", epochs=3, pictures=False),
        build_experiment(tmp_path / "b", epochs=3, done=1),
    ]
    compare(folders, tmp_path / "out.html")
    tried = browse(chromium, tmp_path / "out.html", tmp_path / "profile", "1280,900")
    assert tried["errors"] == []
    assert tried["charts"] == 4
