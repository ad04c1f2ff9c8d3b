"""Another program's maps through the command line: measured, compared with experiments, and a source of seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlib import compare, score_maps, status
from dlib.commands.__main__ import main as main_of_all
from dlib.configure.config import parse_args
from dlib.configure.constants import BEST_LOCALIZATION, TEST, VAL
from dlib.datasets.batch import normalize
from dlib.datasets.images import read_image
from dlib.datasets.metadata import read_split
from dlib.datasets.splits import load_data
from dlib.datasets.transforms import resize_image
from dlib.localizer import read_saved_model
from dlib.tasks import build_task
from dlib.utils.signals import StopRequest
from helpers.batches import taken
from helpers.paths import ROOT
from helpers.programs import start
from helpers.published_lines import blocks, commands
from helpers.workplace import DATASET, Workplace, colocam_flags

SIDE = 32


def frames_of(place: Workplace, split: str) -> Any:
    return read_split(place.datasets / DATASET, place.folds / DATASET, split)


def write_maps(place: Workplace, folder: Path, *splits: str) -> Path:
    """The trained classifier's own maps, at the crop's size."""
    saved = read_saved_model(place.experiment(), BEST_LOCALIZATION, torch.device("cpu"), thresholds=False)
    for split in splits:
        metadata = frames_of(place, split)
        for frame_id, label in zip(metadata.ids, metadata.labels, strict=True):
            frame = resize_image(read_image(place.datasets / DATASET / frame_id), SIDE)[None]
            maps, _ = saved.maps(normalize(frame), frame, torch.tensor([int(label)]))
            path = folder / f"{frame_id}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, maps[0].numpy())
    return folder


@pytest.fixture(scope="module")
def maps(trained: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_maps(trained, tmp_path_factory.mktemp("maps") / "CLIP-ES", VAL, TEST)


@pytest.fixture
def score(trained: Workplace, maps: Path, tmp_path: Path, capsys: Any) -> Callable[..., tuple[int, str, str]]:
    """Runs the command on the tiny dataset; code, stdout, stderr."""

    def run(**changes: Any) -> tuple[int, str, str]:
        values = {
            "maps": maps,
            "dataset": DATASET,
            "data_root": trained.datasets,
            "metadata_root": trained.folds,
            "crop_size": SIDE,
            "out": tmp_path / "out",
        }
        words = [word for name, value in {**values, **changes}.items() for word in (f"--{name}", str(value))]
        code = score_maps.main(words)
        return (code, *capsys.readouterr())

    return run


def localization(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("samples", "corloc", "headline", "curves")}


def test_a_models_own_maps_have_its_own_numbers(score: Callable, trained: Workplace, tmp_path: Path) -> None:
    code, out, error = score()
    assert code == 0, error
    own = json.loads((trained.experiment() / "results.json").read_text())["test"][BEST_LOCALIZATION]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    entry = results["test"][BEST_LOCALIZATION]
    assert localization(entry) == localization(own)
    assert entry["at_val_taus"] == own["at_val_taus"]  # the validation's maps are there too
    assert entry["classification"] is None
    assert set(entry["top1"].values()) == set(entry["top5"].values()) == {None}
    assert set(entry["classification_per_class"].values()) == {None}
    lines = out.splitlines()
    assert lines[0] == f"CLIP-ES on {DATASET} test: 12 frames, CorLoc headline {own['headline']:.1f}"
    assert next(line for line in lines if line.startswith("mean")).split()[-1] == "–"
    assert lines[-1] == f"written to {tmp_path / 'out'}"


def test_maps_are_a_row_beside_experiments(
    score: Callable, trained: Workplace, tmp_path: Path, capsys: Any
) -> None:
    score(out=tmp_path / "exps" / "m")
    folders = [str(trained.experiment()), str(tmp_path / "exps" / "m")]
    assert compare.main([*folders, "--out", str(tmp_path / "c.html")]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[1].startswith("t ")
    assert rows[2].startswith("CLIP-ES ")
    assert "?" not in rows[2]
    cells = [re.split(r" {2,}", row) for row in rows[:3]]
    assert cells[0][1:3] == ["test CorLoc", "at val τ"]
    assert cells[1][1:3] == cells[2][1:3]
    assert '<th title="maps on tiny">CLIP-ES</th>' in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert status.main(["--exps_root", str(tmp_path / "exps")]) == 0
    assert "passed" in capsys.readouterr().out


def test_pictures_of_another_size_by_the_evaluator(
    score: Callable, trained: Workplace, tmp_path: Path
) -> None:
    """Pictures of the size of the frames that show the true boxes, every second one without its box."""
    metadata = frames_of(trained, TEST)
    for index, frame_id in enumerate(metadata.ids):
        width, height = metadata.sizes[frame_id]
        x0, y0, x1, y1 = metadata.boxes[frame_id][0].round().astype(int)
        picture = np.zeros((height, width), np.uint8)
        picture[y0 : y1 + 1, x0 : x1 + 1] = 255 if index % 2 else 0  # every second one shows nothing
        path = tmp_path / "png" / f"{frame_id.replace('/', '_')}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(path)
    code, out, error = score(maps=tmp_path / "png", name="boxes", crop_size=48)
    assert code == 0, error
    assert "note: 12 of 12 validation frames have no map: no thresholds from validation" in out
    entry = json.loads((tmp_path / "out" / "results.json").read_text())["test"][BEST_LOCALIZATION]
    assert "at_val_taus" not in entry
    for number, name in enumerate(metadata.class_names):
        shown = [index % 2 for index in range(12) if metadata.labels[index] == number]
        assert entry["per_class"][name]["corloc"]["50"] == pytest.approx(100 * np.mean(shown)), name


def test_the_validation_split(score: Callable, trained: Workplace, tmp_path: Path) -> None:
    code, _out, _ = score(split="val", box_v2_metric=True)
    assert code == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not results["test"]
    entry = results["val"][BEST_LOCALIZATION]
    assert entry["headline"] == entry["corloc"]["mean"]
    assert results["best"][BEST_LOCALIZATION]["value"] == entry["headline"]


def test_any_other_split(score: Callable, trained: Workplace, tmp_path: Path) -> None:
    folds = tmp_path / "folds" / DATASET
    folds.mkdir(parents=True)
    for path in (trained.folds / DATASET).iterdir():
        (folds / path.name).symlink_to(path)
    (folds / "mine").symlink_to(trained.folds / DATASET / "test")
    code, _out, error = score(split="mine", metadata_root=folds.parent)
    assert code == 0, error
    score(out=tmp_path / "as test")
    entry = json.loads((tmp_path / "out" / f"eval_{DATASET}_mine.json").read_text())
    as_test = json.loads((tmp_path / "as test" / "results.json").read_text())["test"][BEST_LOCALIZATION]
    assert localization(entry) == localization(as_test)


def test_the_pages_example(trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes maps of all frames, which the page's two commands take."""
    page = ROOT / "doc" / "maps.md"
    (tmp_path / "datasets").mkdir()
    (tmp_path / "folds").mkdir()
    (tmp_path / "datasets" / "my-videos").symlink_to(trained.datasets / DATASET)
    (tmp_path / "folds" / "my-videos").symlink_to(trained.folds / DATASET)
    (tmp_path / "pretrained").mkdir()
    for folder in (trained.folder / "pretrained").iterdir():
        (tmp_path / "pretrained" / folder.name.replace(DATASET, "my-videos")).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATASETSH", raising=False)
    exec(compile(blocks(page, "python")[0], str(page), "exec"), {})
    assert len(list((tmp_path / "maps").rglob("*.npy"))) == 48 + 12 + 12
    measure, train = commands(page)
    assert main_of_all(measure[1:]) == 0
    results = json.loads((tmp_path / "exps" / "my-videos" / "maps" / "mine" / "results.json").read_text())
    assert results["test"][BEST_LOCALIZATION]["at_val_taus"]
    small = ["--crop_size", "32", "--resize_size", "36", "--dry_run", "True", "--encoder_name", "resnet18"]
    code, out, error = start([*train[2:], *small, "--num_workers", "0", "--device", "cpu"])
    assert code == 0, error
    assert "dry run" in out


def one_map(folder: Path, change: Callable[[Path], object]) -> Path:
    path = sorted(folder.rglob("*.npy"))[3]
    change(path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "frames have no map, the first is"),
        (lambda path: np.save(path, np.full((4, 4), np.nan)), "it holds NaN or infinity"),
        (lambda path: np.save(path, np.full((4, 4), 7.0)), "its values are 7 to 7 instead of 0 to 1"),
        (lambda path: path.write_bytes(b""), "not readable"),
    ],
)
def test_a_wrong_map_ends_in_one_line(
    change: Callable, message: str, score: Callable, trained: Workplace, tmp_path: Path
) -> None:
    folder = write_maps(trained, tmp_path / "own", TEST)
    path = one_map(folder, change)
    code, _out, error = score(maps=folder)
    assert code == 1
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert message in line
    assert str(path) in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"split": "train"}, 2, "--split train: its shots have no boxes"),
        ({"split": "tset"}, 1, "tset: no such folder of metadata"),
        ({"maps": "nowhere"}, 1, "nowhere: no such folder of maps"),
        ({"crop_size": 2}, 2, "crop_size"),
        ({"box_v2_metric": "maybe"}, 2, "neither True nor False"),
    ],
)
def test_wrong_flags(changes: dict[str, Any], code: int, message: str, score: Callable) -> None:
    found, _, error = score(**changes)
    assert found == code
    assert message in error
    assert "Traceback" not in error


def seeds(place: Workplace, folder: Path, size: tuple[int, int]) -> Path:
    """Maps of all train frames, bright on the left half, and of the validation frames."""
    for split in ("train", "val"):
        ids = frames_of(place, split).ids
        for frame_id in ids:
            names = (
                [f"{frame_id}/{p.name}" for p in (place.datasets / DATASET / frame_id).iterdir()]
                if split == "train"
                else [frame_id]
            )
            for name in names:
                path = folder / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                values = np.zeros(size, np.float32)
                values[:, : size[1] // 2] = np.linspace(0.5, 1, size[0])[:, None]
                np.save(path, values)
    return folder


TERMS = {
    "CoLo-CAM": {"sl_clc": True},
    "TCAM": {"sl_tc": True, "sl_tc_knn": 1, "sl_tc_knn_mode": "before-after"},
    "F_CL": {"sl_fc": True},
}


@pytest.mark.parametrize("task", TERMS)
def test_a_run_with_seeds_from_maps(task: str, promoted: Workplace, tmp_path: Path) -> None:
    """No classifier's CAM is computed."""
    folder = seeds(promoted, tmp_path / "others", (30, 20))
    terms = TERMS[task]
    flags = promoted.flags(task, seed_maps=folder, freeze_cl=True, max_epochs=1, **terms)
    code, _, error = start(flags)
    assert code == 0, error
    assert not (tmp_path / "data_cams").exists()
    experiment = promoted.experiment(task)
    results = json.loads((experiment / "results.json").read_text())
    assert results["classifier_test"] is None
    (epoch,) = [
        json.loads(line)
        for line in (experiment / "log.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "epoch"
    ]
    assert 0 < epoch["train"]["loss"] < 100
    assert epoch["diagnostics"]["seed_purity"] is not None


@pytest.mark.parametrize("task", TERMS)
def test_seeds_lie_where_the_maps_are_high(task: str, promoted: Workplace, tmp_path: Path) -> None:
    folder = seeds(promoted, tmp_path / "others", (30, 20))
    cfg = parse_args(promoted.flags(task, seed_maps=folder, resize_size=SIDE, **TERMS[task]))
    device = torch.device("cpu")
    data = load_data(cfg)
    made = build_task(cfg, data.classes, device)
    made.prepare(data, StopRequest(device))
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[:, : SIDE // 2] = True  # of a frame that is not mirrored
    mirrored = set()
    for item in range(len(data.train)):
        batch = taken(data.train, item, epoch=1)
        (cam,), bright = batch.cams, batch.cams[0] > 0.25
        mirrored.add(bool(cam[0, -1] > cam[0, 0]))
        assert torch.equal(bright, expected.flip(1) if cam[0, -1] > cam[0, 0] else expected)
        (drawn,) = made.pseudo_labels(batch.cams, batch.keys, 1).seeds
        inner = bright & (torch.nn.functional.avg_pool2d(bright[None].float(), 5, 1, 2)[0] == 1)
        assert (drawn == 1).any()
        assert not (drawn == 0)[inner].any()
        assert not (drawn == 1)[torch.nn.functional.avg_pool2d(bright[None].float(), 5, 1, 2)[0] == 0].any()
    assert mirrored == {False, True}


def test_every_seed_map_is_read_before_training(promoted: Workplace, tmp_path: Path) -> None:
    folder = seeds(promoted, tmp_path / "others", (30, 20))
    path = sorted(folder.rglob("*.npy"))[-1]
    np.save(path, np.full((3, 3), np.inf))
    flags = promoted.flags("CoLo-CAM", seed_maps=folder, **colocam_flags())
    code, _, error = start(flags)
    assert code == 1
    assert error.strip().splitlines()[-1] == f"error: map {path}: it holds NaN or infinity"
    path.unlink()
    code, _, error = start(flags)
    assert code == 1
    assert "frames have no map, the first is" in error


def test_a_dry_run_with_seed_maps_needs_no_seeder(promoted: Workplace, tmp_path: Path) -> None:
    folder = seeds(promoted, tmp_path / "others", (30, 20))
    code, out, error = start(promoted.flags("CoLo-CAM", seed_maps=folder, dry_run=True, **colocam_flags()))
    assert code == 0, error
    assert "CAM store" not in out
    assert "classifier's CAMs" not in out
    assert "seed purity" in out


def test_seed_maps_without_seeds_give_a_warning(trained: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    code, out, error = start(place.flags(seed_maps="x", max_epochs=0))
    assert code == 0, error
    assert "--seed_maps has no effect with --task STD_CL" in out + error
