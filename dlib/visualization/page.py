"""How a report becomes one self-contained html file: templates, scripts, embedded pictures, safe JSON."""

from __future__ import annotations

import base64
import functools
import gzip
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from PIL import Image

from dlib.utils import text
from dlib.utils.files import write_text
from dlib.visualization.charts import Chart
from dlib.visualization.records import duration, number

MAX_PICTURE_BYTES = 9_000_000  # base64 characters of all pictures of a page together


def write_page(path: Path, template: str, charts: Sequence[Chart], **content: Any) -> Path:
    """Render ``templates/<template>`` with every string escaped and write it."""
    page = _environment().get_template(template)
    charts_json = script_json({chart.id: asdict(chart) for chart in charts})
    packed = plotly_gzip() if charts else ""
    write_text(path, page.render(charts=charts, charts_json=charts_json, plotly_gzip=packed, **content))
    return path


def script_json(content: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element; NaN and infinities are null."""
    finite = json.loads(json.dumps(content), parse_constant=lambda name: None)
    written = json.dumps(finite, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def plotly_gzip() -> str:
    """plotly.js from the installed package, gzip and base64: 2 MB instead of 5; the browser unpacks it."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 6, mtime=0)).decode()


class Picture(NamedTuple):
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int


class Pictures:
    """Embeds pictures as JPEG data URIs until a total size is reached; counts those that did not fit."""

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes
        self.omitted = 0

    def embed(self, path: Path, area: tuple[int, ...] | None = None) -> Picture | None:
        """The picture at ``path``; None if it is missing, broken or does not fit any more.

        ``area``: only this part of it: left, upper, right, lower.
        """
        try:
            picture = _picture(path, path.stat().st_mtime_ns, area)
        except OSError:
            return None
        if len(picture.uri) > self.left:
            self.omitted += 1
            return None
        self.left -= len(picture.uri)
        return picture


@functools.lru_cache(maxsize=1024)
def _picture(path: Path, modified_ns: int, area: tuple[int, ...] | None) -> Picture:
    """The picture as it was at ``modified_ns``, so that reports after every epoch encode it only once."""
    with Image.open(path) as image:
        part = image.convert("RGB") if area is None else image.convert("RGB").crop(area)
        buffer = io.BytesIO()
        part.save(buffer, "JPEG", quality=82, optimize=True)
    return Picture(
        "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), part.width, part.height
    )


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, duration=duration, threshold=threshold)
    return environment


def percent(value: Any) -> str:
    """A percentage with one digit, or a dash."""
    return text.percent(number(value))


def threshold(value: Any) -> str:
    x = number(value)
    return "–" if x is None else f"{x:.3f}"
