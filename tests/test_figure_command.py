"""``colocam figure``: what is drawn is what the models say, in the frames' own shape."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from dlib import figure
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.datasets.metadata import read_split
from dlib.localizer import Localizer
from dlib.visualization.figure import Cell, Row, draw_figure
from helpers.report_experiment import iou
from helpers.saved_experiment import CLASSES, TAUS, both_tasks
from helpers.small_datasets import BOX, write_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("figure")
    both_tasks(root)
    write_dataset(root, CLASSES)
    return root


def words(root: Path, *more: str) -> list[str]:
    found = [str(root / f"{task}-LayerCAM") for task in (STD_CL, COLOCAM)]
    places = ["--data_root", str(root / "data"), "--metadata_root", str(root / "folds")]
    return [*found, "--dataset", "other", *places, *more]


def test_three_files_of_one_shape(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "figure"
    assert figure.main(words(root, "--frames", "2", "--width", "6", "--out", str(out))) == 0
    with Image.open(f"{out}.png") as picture:
        # Three columns of 2 inches less the gaps; frames of 48x36 pixels; 300 dots per inch.
        panel = (6 - 2 * 0.03) / 3
        assert np.allclose(picture.size, (1800, 300 * (0.2 + 0.03 + 2 * panel * 36 / 48)), atol=2)
    assert Path(f"{out}.pdf").read_bytes().startswith(b"%PDF-")
    drawn = ElementTree.parse(f"{out}.svg").getroot()
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}image"))) == 6
    said = capsys.readouterr().out
    assert said.count("written: ") == 3
    assert "Threshold of the maps: chosen on validation." in said
    before = Path(f"{out}.svg").read_bytes(), Path(f"{out}.pdf").read_bytes()
    assert figure.main(words(root, "--frames", "2", "--width", "6", "--out", str(out))) == 0
    assert (Path(f"{out}.svg").read_bytes(), Path(f"{out}.pdf").read_bytes()) == before


def test_cells_are_what_the_models_say(root: Path) -> None:
    args = figure.parser().read(words(root, "--frames", "cat/1.png", "bird/0.png"))
    localizers = [Localizer(folder, box_rule="threshold") for folder in args.experiments]
    rows = figure.figure_rows(args, localizers, [{}, {}])
    assert [row.label for row in rows] == ["cat", "bird"]
    for row, name in zip(rows, ("cat/1.png", "bird/0.png"), strict=True):
        with Image.open(root / "data" / "other" / name) as picture:
            assert (row.image == np.asarray(picture)).all()
        assert row.truth == [list(BOX)]
        for folder, cell in zip(args.experiments, row.cells, strict=True):
            alone = Localizer(folder, label=row.label, tau=TAUS[row.label])
            (found,) = alone.localize(root / "data" / "other" / name)
            assert (cell.map == found.map).all()
            assert cell.box == found.box
            expected = 0.0 if found.box is None else iou(list(found.box), [int(v) for v in BOX])
            assert cell.iou == pytest.approx(expected)


def test_pictures_without_a_dataset_have_no_iou(root: Path, tmp_path: Path) -> None:
    picture = root / "data" / "other" / "cat" / "1.png"
    found = [str(root / f"{task}-LayerCAM") for task in (STD_CL, COLOCAM)]
    assert figure.main([*found, "--frames", str(picture), "--out", str(tmp_path / "f.png")]) == 0
    args = figure.parser().read([*found, "--frames", str(picture)])
    (row,) = figure.figure_rows(
        args, [Localizer(f, box_rule="threshold") for f in args.experiments], [{}, {}]
    )
    assert [cell.iou for cell in row.cells] == [None, None]
    assert not row.truth
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]


def test_random_frames_take_classes_in_turn_and_follow_the_seed(root: Path) -> None:
    metadata = read_split(root / "data" / "other", root / "folds" / "other", "test")
    drawn = [figure.random_frames(metadata, 3, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert len({tuple(d) for d in (*drawn, *(figure.random_frames(metadata, 3, s) for s in range(9)))}) > 1
    for names in drawn:
        assert {name.partition("/")[0] for name in names} == set(CLASSES)
    assert len(set(figure.random_frames(metadata, 12, 0))) == 12


def test_boxes_and_numbers_of_the_drawing() -> None:
    frame = np.zeros((100, 300, 3), np.uint8)
    cell = Cell(np.ones((8, 8), np.float32), (30, 10, 89, 59), 0.4567)
    row = Row(frame, [[20.0, 5.0, 99.0, 69.0]], "cat", [cell, Cell(cell.map, None, None)])
    drawn = draw_figure([row], ["a", "b"])
    assert [ax.get_title() for ax in drawn.axes] == ["Frame", "a", "b"]
    assert [ax.texts[0].get_text() for ax in drawn.axes] == ["cat", "0.46", ""]
    corners = [
        [(p.get_x(), p.get_y(), p.get_width(), p.get_height()) for p in ax.patches] for ax in drawn.axes
    ]
    # Twice each: a dark line below a coloured one. From the first pixel to the far edge of the last.
    assert [set(c) for c in corners] == [
        {(20, 5, 80, 65)},
        {(20, 5, 80, 65), (30, 10, 60, 50)},
        {(20, 5, 80, 65)},
    ]
    for ax in drawn.axes:
        box = ax.get_position()
        assert box.width * drawn.get_figwidth() == pytest.approx(3 * box.height * drawn.get_figheight())


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--frames", "nothing.png"], 1, "--frames nothing.png: no such picture, and no frame"),
        (["--frames", "1.png"], 1, "--frames 1.png: 3 frames end so, such as bird/1.png"),
        (["--frames", "99"], 1, "has 12 frames with a box"),
        (["--out", "x.jpg"], 2, "--out x.jpg: expected a name that ends in .png, .pdf, .svg"),
        (["--tau", "2"], 2, "--tau 2: expected val, test, or a number"),
        (["--tau", "test"], 1, "has no test by best_localization"),
        (["--names", "one"], 2, "--names: 1 values for 2 experiments"),
        (["--opacity", "3"], 2, "expected 0 to 1"),
    ],
)
def test_mistakes_are_one_line(
    root: Path, tmp_path: Path, capsys, more: list[str], code: int, said: str
) -> None:
    out = [] if "--out" in more else ["--out", str(tmp_path / "f")]
    assert figure.main(words(root, *out, *more)) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named_as_it_was_given(tmp_path: Path, capsys) -> None:
    assert figure.main([str(tmp_path / "none"), "--out", str(tmp_path / "f")]) == 1
    assert capsys.readouterr().err.startswith(
        f"error: {tmp_path / 'none'}: no such folder; give an experiment"
    )


def test_names_of_columns(root: Path) -> None:
    folders = [root / f"{task}-LayerCAM" for task in (STD_CL, COLOCAM)]
    localizers = [Localizer(folder, box_rule="threshold") for folder in folders]
    assert figure.column_names(folders, localizers) == ["LayerCAM", "CoLo-CAM"]
    twice = figure.column_names([folders[0]] * 2, [localizers[0]] * 2)
    assert len(set(twice)) == 2
