"""``report.html`` of an experiment: one file, no network, readable on a phone, valid during the run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from dlib.configure.constants import BEST_CLASSIFICATION, BEST_LOCALIZATION
from dlib.utils.errors import UserError
from dlib.utils.files import read_json
from dlib.visualization.charts import diagnosis_charts, outcome_chart, tau_chart, training_charts
from dlib.visualization.frames import embedded
from dlib.visualization.gallery import BEST, FAILURES, MEDIAN, RANDOM, WORST
from dlib.visualization.measured import AT_VAL_TAUS, BOX_RULE, class_curves, headline_by
from dlib.visualization.next_steps import next_steps
from dlib.visualization.page import MAX_PICTURE_BYTES, Pictures, script_json, write_page
from dlib.visualization.records import (
    Experiment,
    Record,
    below,
    duration,
    gallery_folders,
    number,
    read_experiment,
    read_records,
)
from dlib.visualization.shapes import OUTCOMES, check_shape

CRITERION_TITLES = {
    BEST_LOCALIZATION: "Best by localization",
    BEST_CLASSIFICATION: "Best by classification",
}


def write_report(exp_dir: Path, max_picture_bytes: int = MAX_PICTURE_BYTES) -> Path:
    """Write ``report.html`` from what ``exp_dir`` holds so far.

    Args:
        exp_dir: experiment folder, finished or not.
        max_picture_bytes: most base64 characters that the pictures may take together.
    Returns: the report's path. Raises UserError if ``exp_dir`` is no experiment.
    """
    experiment = read_experiment(exp_dir)
    results: list[Record] = []
    galleries: list[Record] = []
    folders = gallery_folders(experiment)
    shares = [Pictures(max_picture_bytes // (1 + len(folders))) for _ in (None, *folders)]
    seeds = _pictured(read_records(exp_dir / "seeds" / "seeds.json"), exp_dir / "seeds", shares[0])
    for criterion in experiment.criteria:
        if report := experiment.report(criterion):
            results.append(result_section(experiment, criterion, report))
        if folder := folders.get(criterion):
            galleries.append(_gallery_section(experiment, criterion, folder, shares[1 + len(galleries)]))
    command = str(experiment.setting("command") or experiment.start.get("command") or "")
    training, diagnosis = training_charts(experiment), diagnosis_charts(experiment)
    charts = [*training, *diagnosis]
    charts += [section["chart"] for section in (*results, *galleries) if section["chart"]]
    return write_page(
        exp_dir / "report.html",
        "report.html.j2",
        charts,
        experiment=experiment,
        title=title_of(experiment),
        status=status_of(experiment),
        tiles=_tiles(experiment),
        facts=_facts(experiment),
        command=command,
        live=not (experiment.finished or experiment.tested),
        steps=next_steps(experiment, command),
        config=experiment.config,
        environment=experiment.results.get("environment") or experiment.start.get("environment"),
        results=results,
        training=training,
        diagnosis=diagnosis,
        galleries=galleries,
        groups=(BEST, MEDIAN, WORST, RANDOM, *FAILURES),
        seeds=seeds,
        omitted=sum(share.omitted for share in shares),
    )


def title_of(experiment: Experiment) -> str:
    return f"{experiment.setting('task', 'Experiment')} on {experiment.setting('dataset', 'unknown data')}"


def status_of(experiment: Experiment) -> str:
    """One line: finished, or how far the run is and the time left."""
    if experiment.finished or experiment.tested:
        return "finished"
    if not experiment.max_epochs:
        return "not started"
    left = experiment.seconds_left
    more = f", about {duration(left)} left" if left else ""
    return f"epoch {experiment.epoch} of {experiment.max_epochs}{more}"


def result_section(experiment: Experiment, criterion: str, report: Record) -> Record:
    """Table rows and the CorLoc-against-τ chart of one best model on the test split."""
    validation = experiment.report(criterion, "val")

    def row(name: str, classification: Any, *place: str) -> Record:
        """``place``: where a report has the numbers of a class; of all classes at its top."""
        return {
            "name": name,
            "samples": below(report, *place, "samples"),
            "corloc": below(report, *place, "corloc") or {},
            "top1": below(report, *place, "top1", "50"),
            "tau": below(report, *place, "best_tau", "50"),
            "at_val": below(report, AT_VAL_TAUS, *place, "corloc", "50"),
            "by_rule": below(report, BOX_RULE, *place, "corloc", "50"),
            "val_tau": below(validation, *place, "best_tau", "50"),
            "classification": classification,
        }

    rows = [
        row(name, below(report, "classification_per_class", name), "per_class", name)
        for name in report.get("per_class") or {}
    ]
    mean = row("mean", report.get("classification"))
    title = CRITERION_TITLES[criterion]
    chart = tau_chart(f"tau-{criterion}", "CorLoc against the threshold", report)
    best = experiment.best(criterion)
    return {"id": criterion, "title": title, "rows": rows, "mean": mean, "chart": chart, "best": best}


def _gallery_section(experiment: Experiment, criterion: str, folder: Path, pictures: Pictures) -> Record:
    items = _pictured(_fairly(read_records(folder / "gallery.json")), folder, pictures)
    items.sort(key=lambda item: (str(item.get("label", "")), -(item["iou"] or 0.0)))
    try:
        counts = read_json(folder / "outcomes.json")
        check_shape(counts, OUTCOMES, folder / "outcomes.json")
    except UserError:
        counts = {}
    return {
        "id": criterion,
        "title": CRITERION_TITLES[criterion],
        "items": items,
        "labels": sorted({str(item.get("label", "")) for item in items}),
        "chart": outcome_chart(f"outcomes-{criterion}", counts),
        "curves": _slider_curves(experiment, criterion, items),
    }


def _slider_curves(experiment: Experiment, criterion: str, items: list[Record]) -> str:
    """CorLoc at every τ for the slider over the gallery, as JSON; empty if there is nothing to slide.

    {"taus": [T], "maps": {name of the map: {class, or "" for the mean: [T]}}}, in percent, for IoU ≥ 50 %.
    """
    names = [m["name"] for item in items[:1] if item["drawing"] for m in item["drawing"]["maps"]]
    own = experiment.report(criterion) or {}
    reports = {name: experiment.results.get(f"{name}_test") or {} for name in names[:-1]}
    reports |= dict.fromkeys(names[-1:], own)
    taus = below(own, "curves", "taus") or []
    maps = {}
    for name, report in reports.items():
        own_taus, curves = class_curves(report)
        if curves and own_taus == taus:
            maps[name] = {label: [round(v, 1) for v in curve] for label, curve in curves.items()}
    return script_json({"taus": [round(tau, 6) for tau in taus], "maps": maps}) if maps else ""


def _fairly(records: list[Record]) -> list[Record]:
    """Records in turn from every class and group, so that each has some before the space is full."""
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for record in sorted(records, key=lambda r: -abs((number(r.get("iou")) or 0.0) - 0.5)):
        group = (str(record.get("label")), str((record.get("groups") or [""])[0]))
        seen[group] += 1
        turns.append((seen[group], record))
    return [record for _, record in sorted(turns, key=lambda turn: turn[0])]


def _pictured(records: list[Record], folder: Path, pictures: Pictures) -> list[Record]:
    """The records whose picture could be embedded."""
    return [item for record in records if (item := embedded(record, folder, pictures)) is not None]


def _tiles(experiment: Experiment) -> list[tuple[str, Any, str]]:
    """Key figures: name, percentage, remark."""
    tiles = []
    test = experiment.report(BEST_LOCALIZATION)
    if test:
        tiles.append(("Test CorLoc", test.get("headline"), "best τ per class"))
        for boxes, remark in (
            (AT_VAL_TAUS, "τ chosen on validation"),
            (BOX_RULE, "boxes without thresholds"),
        ):
            if below(test, boxes, "corloc"):
                tiles.append(("Test CorLoc", headline_by(test, boxes), remark))
    if classifier := experiment.results.get("classifier_test"):
        tiles.append(("Classifier's CAM", classifier.get("headline"), "test CorLoc of the seeds' source"))
    for criterion, name in ((BEST_LOCALIZATION, "CorLoc"), (BEST_CLASSIFICATION, "accuracy")):
        if criterion in experiment.criteria and (best := experiment.best(criterion)):
            value = experiment.best_value(criterion)
            tiles.append((f"Validation {name}", value, f"best, epoch {best['epoch']}"))
    if test:
        tiles.append(("Test accuracy", test.get("classification"), "classification"))
    return tiles


def _facts(experiment: Experiment) -> list[tuple[str, str]]:
    times = experiment.results.get("times") or {}
    environment = experiment.results.get("environment") or experiment.start.get("environment") or {}
    parameters = number(experiment.setting("parameters"))
    facts = [
        ("Experiment", experiment.name),
        ("Data", experiment.setting("dataset")),
        ("Encoder", experiment.setting("encoder")),
        ("CAM method", experiment.setting("method")),
        ("Pooling", experiment.setting("pooling")),
        ("Seed", experiment.setting("seed")),
        ("Device", experiment.setting("device") or environment.get("device")),
        ("Parameters", f"{parameters:,.0f}" if parameters else None),
        ("Started", str(experiment.start.get("time") or "")[:16].replace("T", " ")),
        ("Preparation", duration(times["prepare_s"]) if times.get("prepare_s") else None),
        ("Training", duration(times.get("train_s")) if times else None),
        ("Validation", duration(times.get("validation_s")) if times else None),
        ("Test", duration(times.get("test_s")) if times else None),
        ("Total time", duration(times.get("total_s")) if times else None),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]
