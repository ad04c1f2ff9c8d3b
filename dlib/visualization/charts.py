"""Interactive charts as plain data for plotly.js: this module says what is plotted, page.js how it looks."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlib.configure.terms import TERMS, term_title
from dlib.visualization.gallery import FAILURES, HIT
from dlib.visualization.measured import class_curves
from dlib.visualization.records import Experiment, Record, keys_of, number, series

PALETTE = (
    "#3b82f6",
    "#f97316",
    "#10b981",
    "#e11d48",
    "#8b5cf6",
    "#eab308",
    "#06b6d4",
    "#ec4899",
    "#84cc16",
    "#a16207",
)


@dataclass
class Chart:
    """One chart: traces and layout as plotly.js takes them; ``buttons`` switch between groups of traces."""

    id: str
    title: str
    note: str = ""
    data: list[Record] = field(default_factory=list)
    layout: Record = field(default_factory=dict)
    buttons: list[str] = field(default_factory=list)  # a trace with "group": i is shown by button i


def line(x: Sequence[float], y: Sequence[float], name: str, color: str, **more: Any) -> Record:
    """A line, with points if they are few; ``name`` is escaped, since plotly reads some HTML in names."""
    few = len(x) <= 40
    trace = {
        "x": [round(float(v), 6) for v in x],
        "y": [float(f"{v:.6g}") for v in y],
        "name": html.escape(name),
        "mode": "lines+markers" if few else "lines",
        "type": "scatter",
        "line": {"color": color, "width": 2},
        "marker": {"size": 5, "color": color},
    }
    return {**trace, **more}


def axes(x: str, y: str, **y_axis: Any) -> Record:
    return {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}, **y_axis}}


def _lines(
    records: Sequence[Record],
    path: tuple[str, ...],
    titles: Mapping[Any, str],
    scale: float = 1.0,
    first: int = 0,
    **style: Any,
) -> list[Record]:
    """Over the epochs a line for each value below ``path`` that any record has, in the colours from ``first`` on."""
    traces = []
    for i, (name, title) in enumerate(titles.items(), start=first):
        x, y = series(records, "epoch", *path, name)
        if x:
            traces.append(line(x, [scale * v for v in y], title, PALETTE[i % 10], **style))
    return traces


def epoch_chart(
    chart_id: str, title: str, note: str, traces: list[Record], y_title: str, **y_axis: Any
) -> list[Chart]:
    """The chart over epochs, if there is something to show."""
    return [Chart(chart_id, title, note, traces, axes("epoch", y_title, **y_axis))] if traces else []


def training_charts(experiment: Experiment) -> list[Chart]:
    """Validation, losses, learning rate and speed, as far as there is something to show."""
    return [*validation_charts(experiment), *loss_charts(experiment), *speed_charts(experiment)]


def validation_charts(experiment: Experiment) -> list[Chart]:
    """Validation CorLoc and classification over epochs, the best localization marked: one chart, or none."""
    titles = {"headline": "CorLoc", "classification": "Classification"}
    traces = _lines(experiment.validations, ("report",), titles)
    best = experiment.best("best_localization")
    if best and traces:
        star = {"mode": "markers", "marker": {"size": 14, "symbol": "star", "color": PALETTE[0]}}
        traces.append(line([best["epoch"]], [best["value"]], "best CorLoc", PALETTE[0], **star))
    note = "Epoch 0 is before training."
    return epoch_chart("validation", "Validation", note, traces, "% of the validation frames")


def loss_charts(experiment: Experiment) -> list[Chart]:
    """The total loss and one chart per term: steps faint, epoch means strong; with and without its weight."""
    per_epoch = _steps_per_epoch(experiment)
    charts = []
    terms = dict.fromkeys(keys_of(experiment.steps, "terms") + keys_of(experiment.epochs, "train", "terms"))
    for i, path in enumerate([("loss",), *(("terms", term) for term in terms)]):
        traces = _loss_traces(experiment, path, per_epoch, i, group=0)
        buttons: list[str] = []
        title, note = "Total loss", ""
        if path[0] == "terms":
            title = term_title(path[1])
            note = TERMS[path[1]].help.rpartition(": ")[2] if path[1] in TERMS else ""
            raw = _loss_traces(experiment, ("raw", path[1]), per_epoch, i, group=1)
            if raw and traces and raw[-1]["y"] != traces[-1]["y"]:  # a weight of 1 changes nothing
                traces, buttons = traces + raw, ["with λ", "without λ"]
        if traces:
            charts.append(Chart(f"loss-{i}", title, note, traces, axes("epoch", "loss"), buttons))
    return charts


def _loss_traces(
    experiment: Experiment, path: tuple[str, ...], per_epoch: float, color: int, group: int
) -> list[Record]:
    traces = []
    x, y = series(experiment.steps, "step", *path)
    if x:
        shade = PALETTE[color % 10]
        faint = {"opacity": 0.35, "mode": "lines", "line": {"color": shade, "width": 1}}
        traces.append(line([v / per_epoch for v in x], y, "step", shade, group=group, **faint))
    *above, name = path
    return traces + _lines(
        experiment.epochs, ("train", *above), {name: "epoch mean"}, first=color, group=group
    )


def _steps_per_epoch(experiment: Experiment) -> float:
    """Steps in an epoch, so that steps and epochs share one axis: epoch e ends at x = e."""
    x, steps = series(experiment.epochs, "epoch", "step")
    if x and x[-1] > 0 and steps[-1] > 0:
        return steps[-1] / x[-1]
    return max([1.0, *series(experiment.steps, "step", "step")[0]])


def speed_charts(experiment: Experiment) -> list[Chart]:
    """Learning rate, images per second, and where the time of a step goes."""
    epochs = experiment.epochs
    rates = [{**e, "lr": dict(enumerate(e.get("lr") or []))} for e in epochs]
    groups = dict(
        enumerate(["base", "fast", *map(str, range(2, max((len(r["lr"]) for r in rates), default=0)))])
    )
    lines = _lines(rates, ("lr",), groups)
    note = "" if len(lines) == 1 else "Each line is a parameter group."
    charts = epoch_chart("lr", "Learning rate", note, lines, "learning rate", type="log")
    lines = _lines(epochs, (), {"images_per_s": "images per second"}, first=2)
    charts += epoch_chart("speed", "Images per second", "", lines, "images per second", rangemode="tozero")
    titles = {name: "CRF" if name == "crf" else name for name in keys_of(epochs, "shares")}
    stacked: Record = {"stackgroup": "one", "mode": "lines", "hovertemplate": "%{y:.1f} %"}
    lines = _lines(epochs, ("shares",), titles, scale=100, **stacked)
    return charts + epoch_chart("shares", "Where the time goes", "", lines, "% of time", range=[0, 100])


def diagnosis_charts(experiment: Experiment) -> list[Chart]:
    """Foreground share and its spread, gradient norms, seed agreement and purity, and what else is logged."""
    epochs, path = experiment.epochs, ("diagnostics",)
    charts = _foreground_chart(epochs)
    norms = {name: term_title(name) for name in keys_of(epochs, *path, "grad_norms")}
    note = "Gradient of each term at the map logits: the largest changes the maps most."
    lines = _lines(epochs, (*path, "grad_norms"), norms)
    charts += epoch_chart("grads", "Gradient norms", note, lines, "norm", type="log")
    shares = {"seed_agreement": "maps agree with seeds", "seed_purity": "seed purity (validation)"}
    note = "Purity: share of foreground seeds inside the true box."
    lines = _lines(epochs, path, shares, scale=100)
    charts += epoch_chart("seeds", "Seeds", note, lines, "% of the seeds", range=[0, 100])
    shown = {"fg_share_mean", "fg_share_std", "collapsed_share", *shares}
    others = [n for n in keys_of(epochs, *path) if n not in shown and series(epochs, "epoch", *path, n)[0]]
    for i, name in enumerate(others):
        title = name.replace("_", " ")
        lines = _lines(epochs, path, {name: title}, first=i)
        charts += epoch_chart(f"diagnosis-{i}", title, "", lines, title)
    return charts


def _foreground_chart(epochs: Sequence[Record]) -> list[Chart]:
    """Mean and spread of the maps' foreground share, and the share of collapsed frames."""
    x, mean = series(epochs, "epoch", "diagnostics", "fg_share_mean")
    if not x:
        return []
    spread = dict(zip(*series(epochs, "epoch", "diagnostics", "fg_share_std"), strict=True))
    low = [100 * max(0.0, m - spread.get(at, 0.0)) for at, m in zip(x, mean, strict=True)]
    high = [100 * min(1.0, m + spread.get(at, 0.0)) for at, m in zip(x, mean, strict=True)]
    color = PALETTE[4]
    hidden: Record = {"mode": "lines", "line": {"width": 0, "color": color}, "hoverinfo": "skip"}
    traces = [
        line(x, low, "low", color, showlegend=False, **hidden),
        line(x, high, "± spread", color, fill="tonexty", fillcolor="rgba(139,92,246,.18)", **hidden),
        line(x, [100 * m for m in mean], "mean", color),
        *_lines(epochs, ("diagnostics",), {"collapsed_share": "collapsed frames"}, scale=100, first=3),
    ]
    note = "A frame below 2 % or above 90 % has collapsed."
    return epoch_chart("fg", "Foreground share of the maps", note, traces, "% of the frame", range=[0, 100])


def tau_chart(chart_id: str, title: str, report: Record) -> Chart | None:
    """CorLoc against the threshold, one line per class and their mean; a button for each σ."""
    traces: list[Record] = []
    buttons: list[str] = []
    for sigma in ("50", "30", "70"):
        taus, curves = class_curves(report, sigma)
        if not curves:
            continue
        mean = curves.pop("")
        group = len(buttons)
        buttons.append(f"IoU ≥ {sigma} %")
        for i, (name, y) in enumerate(curves.items()):
            thin = {"mode": "lines", "line": {"color": PALETTE[i % 10], "width": 1.3}, "group": group}
            traces.append(line(thinned(taus), thinned(y), name, PALETTE[i % 10], **thin))
        thick = {"mode": "lines", "line": {"color": "#64748b", "width": 4}, "group": group}
        traces.append(line(thinned(taus), thinned(mean), "mean", "#64748b", **thick))
    if not traces:
        return None
    layout = axes("threshold τ", "CorLoc %", rangemode="tozero")
    return Chart(chart_id, title, "The mean line uses one τ for all classes.", traces, layout, buttons)


def outcome_chart(chart_id: str, counts: dict[str, dict[str, int]]) -> Chart | None:
    """Stacked bars: hits and the four failure groups, in percent of each class's frames."""
    classes = list(counts)
    if not classes:
        return None
    colors = dict(zip((HIT, *FAILURES), ("#10b981", "#f97316", "#eab308", "#8b5cf6", "#e11d48"), strict=True))
    traces = []
    for outcome, color in colors.items():
        numbers = [number(counts[c].get(outcome)) or 0 for c in classes]
        totals = [max(1, sum(number(v) or 0 for v in counts[c].values())) for c in classes]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": outcome,
                "y": [html.escape(c) for c in classes],
                "x": [round(100 * n / t, 2) for n, t in zip(numbers, totals, strict=True)],
                "customdata": numbers,
                "marker": {"color": color},
                "hovertemplate": "%{x:.0f} % (%{customdata} frames)",
            }
        )
    layout = {
        "barmode": "stack",
        "hovermode": "closest",
        "xaxis": {"title": {"text": "% of the class's frames"}, "range": [0, 100]},
        "yaxis": {"autorange": "reversed", "automargin": True, "type": "category"},
        "height": 120 + 26 * len(classes),
    }
    return Chart(chart_id, "Hits and failures", "", traces, layout)


def thinned(values: Sequence[float], limit: int = 251) -> Sequence[float]:
    """At most ``limit`` evenly spaced ones of the values."""
    return values[:: max(1, -(-len(values) // limit))]
