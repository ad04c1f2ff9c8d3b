"""The curves of the report as static pictures, for papers (PDF, SVG) and slides (PNG)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlib.visualization.charts import Chart, diagnosis_charts, tau_chart, training_charts
from dlib.visualization.records import read_experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_curves(exp_dir: Path) -> list[Path]:
    """Write ``curves_training``, ``curves_diagnosis``, ``curves_tau_<criterion>`` (.png, .pdf, .svg): what has data.

    Returns: the files written. Raises UserError if ``exp_dir`` is no experiment.
    """
    from dlib.visualization.figure import KINDS, save_figure

    experiment = read_experiment(exp_dir)
    sheets = {"training": training_charts(experiment), "diagnosis": diagnosis_charts(experiment)}
    for criterion in experiment.criteria:
        chart = tau_chart("tau", "CorLoc against threshold", experiment.report(criterion) or {})
        sheets[f"tau_{criterion}"] = _by_button(chart) if chart else []
    written = []
    for name, charts in sheets.items():
        if charts:
            drawn = sheet(charts)
            written += [save_figure(drawn, exp_dir / f"curves_{name}.{kind}", dpi=100) for kind in KINDS]
    return written


def sheet(charts: list[Chart]) -> Figure:
    """All charts (at least one) on one figure, three in a row; for charts with buttons the first choice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(3, len(charts))
    rows = -(-len(charts) // columns)
    width, height = 5.2 * columns, 3.6 * rows  # inches; fixed margins, since it takes seconds to fit them
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.75 / width,
        right=1 - 0.2 / width,
        bottom=0.5 / height,
        top=1 - 0.35 / height,
        wspace=0.2,
        hspace=0.32,
    )
    FigureCanvasAgg(figure)
    for i, chart in enumerate(charts):
        _draw(figure.add_subplot(rows, columns, i + 1), chart)
    return figure


def _draw(ax: Axes, chart: Chart) -> None:
    lower: list[float] = []
    stack: list[tuple[list[float], list[float], str, str]] = []
    for trace in chart.data:
        if trace.get("group", 0) != 0:
            continue
        x, y, color, name = trace["x"], trace["y"], trace["line"]["color"], trace["name"].replace("$", r"\$")
        if trace.get("stackgroup"):
            stack.append((x, y, color, name))
        elif trace.get("showlegend") is False:
            lower = y
        elif trace.get("fill"):
            ax.fill_between(x, lower, y, color=color, alpha=0.18, linewidth=0, label=name)
        elif trace["mode"] == "markers":
            ax.plot(x, y, "*", color=color, markersize=13, label=name)
        else:
            marker = "o" if "markers" in trace["mode"] else ""
            width, alpha = trace["line"].get("width", 2) * 0.8, trace.get("opacity", 1.0)
            ax.plot(x, y, color=color, marker=marker, markersize=3, linewidth=width, alpha=alpha, label=name)
    if stack:
        whole = [s for s in stack if s[0] == stack[0][0]]
        xs, ys, colors, names = zip(*whole, strict=True)
        ax.stackplot(xs[0], *ys, colors=colors, labels=names, alpha=0.85)
    y_axis = chart.layout["yaxis"]
    ax.set_title(chart.title, fontsize=12, loc="left")  # not bold: each PDF would embed a second font
    ax.set_xlabel(chart.layout["xaxis"]["title"]["text"])
    ax.set_ylabel(y_axis["title"]["text"])
    if chart.layout["xaxis"]["title"]["text"] == "epoch":
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if y_axis.get("type") == "log":
        ax.set_yscale("log")
    if "range" in y_axis:
        ax.set_ylim(*y_axis["range"])
    elif y_axis.get("rangemode") == "tozero":
        ax.set_ylim(0, 1.05 * ax.dataLim.ymax or 1)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend(fontsize=7, frameon=False)


def _by_button(chart: Chart) -> list[Chart]:
    """One chart for each button, since a picture has none."""
    parts = []
    for group, label in enumerate(chart.buttons):
        traces = [{**t, "group": 0} for t in chart.data if t.get("group") == group]
        parts.append(Chart(chart.id, f"{chart.title}, {label}", "", traces, chart.layout))
    return parts
