from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import dlib
from dlib.cams import build_cam_extractor, upsample_cams
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.datasets.batch import normalize
from dlib.localizer.result import Localization, frame_box
from dlib.localizer.smoothing import smooth_boxes
from dlib.metrics import foreground_odds, quantize_maps, rule_boxes
from dlib.models import load_saved_model
from dlib.utils.errors import UsageError, UserError
from helpers.clips import scene, write_clip
from helpers.saved_experiment import CLASSES, both_tasks, save_experiment


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    return both_tasks(tmp_path_factory.mktemp("experiments"))


def reference(folder: Path, image: np.ndarray, method: str = "LayerCAM") -> tuple[np.ndarray, torch.Tensor]:
    """Map [S, S] of the predicted class and logits, step by step as the evaluation computes them."""
    model = load_saved_model(next(folder.glob("*-cp_best_localization-*")))
    small = np.array(Image.fromarray(image).resize((32, 32), Image.Resampling.BILINEAR))
    x = normalize(torch.from_numpy(small).permute(2, 0, 1)[None])
    with torch.no_grad():
        output = model(x)
    if isinstance(output, tuple):
        return output.maps.softmax(1)[0, 1].numpy(), output.logits[0]
    extractor = build_cam_extractor(model, method)
    return upsample_cams(extractor(x, output.argmax(1)), (32, 32))[0].numpy(), output[0]


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
def test_map_class_and_score_are_those_of_the_evaluation(experiments: dict[str, Path], task: str) -> None:
    image = scene(2, 61, 45)
    (result,) = dlib.Localizer(experiments[task]).localize(image)
    cam, logits = reference(experiments[task], image)
    np.testing.assert_allclose(result.map, cam, atol=1e-5)
    assert result.label == CLASSES[int(logits.argmax())]
    assert result.score == pytest.approx(float(logits.softmax(0).max()), abs=1e-5)
    assert result.size == (61, 45)
    assert result.full_map().shape == result.mask().shape == (45, 61)


@pytest.mark.parametrize("method", ["CAM", "GradCAMpp", "WILDCAT"])
def test_every_kind_of_method_gives_the_predicted_classes_map(tmp_path: Path, method: str) -> None:
    folder = save_experiment(tmp_path, STD_CL, method)
    image = scene(1, 40, 40)
    (result,) = dlib.Localizer(folder).localize(image)
    cam, _ = reference(folder, image, method)
    np.testing.assert_allclose(result.map, cam, atol=2e-4)


def test_the_box_encloses_the_largest_region_of_the_mask(experiments: dict[str, Path]) -> None:
    from skimage.measure import label

    (result,) = dlib.Localizer(experiments[STD_CL], tau=0.5).localize(scene(0, 32, 32))
    regions = label(result.mask(), connectivity=2)
    areas = np.bincount(regions.ravel())[1:]
    y, x = np.nonzero(regions == areas.argmax() + 1)
    assert result.box == (x.min(), y.min(), x.max(), y.max())


@pytest.mark.parametrize(
    ("box", "side", "size", "expected"),
    [
        ((0, 0, 0, 0), 32, (64, 64), None),
        ((0, 0, 31, 31), 32, (64, 48), (0, 0, 63, 47)),  # the whole map is the whole frame
        ((8, 4, 16, 12), 32, (64, 32), (16, 4, 31, 11)),
        ((30, 30, 31, 31), 32, (8, 8), (7, 7, 7, 7)),  # a small frame: never empty, never outside
    ],
)
def test_boxes_in_pixels_of_the_frame(box: tuple, side: int, size: tuple, expected: tuple | None) -> None:
    assert frame_box(np.array(box), side, size) == expected


@pytest.mark.parametrize("task", [STD_CL, COLOCAM])
def test_boxes_and_masks_without_thresholds_are_those_of_the_rule(
    experiments: dict[str, Path], task: str
) -> None:
    localizer = dlib.Localizer(experiments[task])
    assert localizer.box_rule == "colors"
    different = 0
    for i in range(4):
        image = scene(i, 32, 32)  # the crop size: frame and map have the same pixels
        (result,) = localizer.localize(image)
        u = quantize_maps(result.map)
        assert result.tau is None
        assert result.box == frame_box(rule_boxes(u, image)[0], 32, (32, 32))
        np.testing.assert_array_equal(result.mask(), foreground_odds(u, image) > 0)
        (larger,) = localizer.localize(np.repeat(np.repeat(image, 2, 0), 2, 1))
        assert larger.mask().shape == (64, 64)
        (at_tau,) = dlib.Localizer(experiments[task], tau=0.5).localize(image)
        different += at_tau.box != result.box
    assert different


def test_thresholds_of_the_predicted_class_and_the_mean_for_unknown_ones(
    experiments: dict[str, Path],
) -> None:
    for label, tau in (("bird", 0.2), ("cat", 0.4), ("train", 0.3)):
        (result,) = dlib.Localizer(experiments[COLOCAM], label=label, box_rule="threshold").localize(
            scene(0, 32, 32)
        )
        assert result.tau == pytest.approx(tau)
        assert result.label == label


def test_a_known_class_gives_that_classes_map(experiments: dict[str, Path]) -> None:
    image = scene(0, 32, 32)
    maps = [dlib.Localizer(experiments[STD_CL], label=c).localize(image)[0] for c in CLASSES]
    assert abs(sum(result.score for result in maps) - 1) < 1e-5
    assert np.abs(maps[0].map - maps[1].map).max() > 0.01


def test_results_do_not_depend_on_the_batch(experiments: dict[str, Path]) -> None:
    images = [scene(i, 40 + i, 30) for i in range(5)]
    one = dlib.Localizer(experiments[STD_CL], batch_size=1).localize(images)
    all_ = dlib.Localizer(experiments[STD_CL], batch_size=8).localize([Image.fromarray(i) for i in images])
    for a, b in zip(one, all_, strict=True):
        assert (a.index, a.label, a.size) == (b.index, b.label, b.size)
        np.testing.assert_allclose(a.map, b.map, atol=1e-5)


def test_a_video_is_read_one_batch_at_a_time(experiments: dict[str, Path], tmp_path: Path) -> None:
    from dlib.localizer.source import open_source

    localizer = dlib.Localizer(experiments[STD_CL], batch_size=2)
    taken = 0

    def counted(frames):
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    with open_source(write_clip(tmp_path / "a.mp4", 9)) as source:
        results = localizer.stream(counted(source))
        next(results)
        assert taken == 2
        assert len(list(results)) == 8


def test_localize_reads_a_path_as_it_is_asked(
    experiments: dict[str, Path], tmp_path: Path, monkeypatch
) -> None:
    localizer = dlib.Localizer(experiments[STD_CL], batch_size=2)
    batches: list[int] = []
    seen = localizer._seen
    monkeypatch.setattr(
        localizer, "_seen", lambda batch, label: batches.append(len(batch)) or seen(batch, label)
    )
    results = localizer.localize(write_clip(tmp_path / "a.mp4", 9))
    assert isinstance(results, Iterator)
    assert batches == []
    assert next(results).index == 0
    assert batches == [2]
    assert [result.index for result in results] == list(range(1, 9))
    assert batches == [2, 2, 2, 2, 1]
    with pytest.raises(UserError, match="no such file"):
        localizer.localize(tmp_path / "none.mp4")  # at once, not when the first frame is asked for


def test_a_camera_is_given_back(experiments: dict[str, Path], monkeypatch) -> None:
    from dlib.localizer import source as sources

    class Camera:
        taken, released = 0, 0

        def __init__(self, number: int) -> None:
            pass

        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, np.ndarray]:
            Camera.taken += 1
            return True, scene(self.taken, 32, 24)

        def release(self) -> None:
            Camera.released += 1

    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    results = dlib.Localizer(experiments[STD_CL], batch_size=8).localize(0)
    assert [next(results).index for _ in range(3)] == [0, 1, 2]
    assert Camera.taken == 3  # no waiting for a whole batch
    results.close()
    assert Camera.released == 1


def _track(boxes: list) -> list:
    empty = np.zeros((2, 2), np.float32)
    pairs = [
        (i, Localization(i, "", 0.0, "a", 1.0, 0.5, box, empty, (99, 99))) for i, box in enumerate(boxes)
    ]
    return pairs


@pytest.mark.parametrize("window", [0, 1, 2, 3, 4, 5, 9])
def test_smoothing_is_the_running_median(window: int) -> None:
    rng = np.random.default_rng(window)
    boxes = [tuple(int(v) for v in rng.integers(0, 90, 4)) for _ in range(12)]
    boxes[4] = None
    smoothed = [result.box for _, result in smooth_boxes(iter(_track(boxes)), window)]
    reach = window // 2
    for i, box in enumerate(smoothed):
        around = [b for b in boxes[max(i - reach, 0) : i + reach + 1] if b is not None]
        expected = None if boxes[i] is None else tuple(np.rint(np.median(around, axis=0)).astype(int))
        assert box == expected


def test_smoothing_drops_an_outlier_and_keeps_a_cut() -> None:
    a, b, wrong = (10, 10, 20, 20), (60, 60, 80, 80), (0, 0, 90, 90)
    boxes = [a, a, wrong, a, a, b, b, b]
    assert [r.box for _, r in smooth_boxes(iter(_track(boxes)), 3)] == [a, a, a, a, a, b, b, b]


def test_errors_name_the_thing_and_the_remedy(experiments: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        dlib.Localizer(tmp_path / "none")
    with pytest.raises(UserError, match="no best model by best_classification"):
        dlib.Localizer(experiments[STD_CL], criterion="best_classification")
    with pytest.raises(UsageError, match="the model knows bird, cat, train"):
        dlib.Localizer(experiments[STD_CL], label="dog")
    with pytest.raises(UserError, match="no thresholds beside these weights"):
        dlib.Localizer(next(experiments[STD_CL].glob("*-cp_*")), box_rule="threshold")
    assert dlib.Localizer(next(experiments[STD_CL].glob("*-cp_*"))).localize(scene(0, 9, 9))
    with pytest.raises(UsageError, match="--box_rule none: expected colors or threshold"):
        dlib.Localizer(experiments[STD_CL], box_rule="none")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--box_rule colors uses no --tau: leave one of them out"):
        dlib.Localizer(experiments[STD_CL], tau=0.3, box_rule="colors")
    assert dlib.Localizer(next(experiments[STD_CL].glob("*-cp_*")), tau=0.3).localize(scene(0, 9, 9))
    with pytest.raises(ValueError, match=r"pixels must be uint8, uint16, bool or float in 0\.\.1, got int64"):
        dlib.Localizer(experiments[STD_CL]).localize(np.zeros((4, 4, 3), np.int64))


def test_a_picture_is_the_same_from_a_file_from_pil_and_as_an_array(
    experiments: dict[str, Path], tmp_path: Path
) -> None:
    """16 bits and floats too; what is drawn on is compared by the map, which depends on every pixel."""
    localizer = dlib.Localizer(experiments[STD_CL])
    grey = scene(1, 40, 30)[..., 0]
    sixteen = grey.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    Image.fromarray(sixteen).save(tmp_path / "a.png", exif=exif)
    (truth,) = localizer.localize(np.rot90(np.stack([grey] * 3, -1), -1))
    turned = Image.open(tmp_path / "a.png")
    assert turned.mode == "I;16"
    upright = np.ascontiguousarray(np.rot90(sixteen, -1))
    given = [
        tmp_path / "a.png",
        turned,
        Image.fromarray(upright),
        upright,
        np.rot90(grey, -1),
        upright / 65535,
    ]
    for picture in given:
        (found,) = localizer.localize(picture)
        assert (found.size, found.label) == (truth.size, truth.label)
        np.testing.assert_allclose(found.map, truth.map, atol=1e-6)


def test_thresholds_of_an_unfinished_run_come_from_its_validations(tmp_path: Path) -> None:
    folder = save_experiment(tmp_path)
    (folder / "thresholds-best_localization.yaml").unlink()
    tau = {"best_tau": {"50": 0.25}}
    text = {"val": {"best_localization": {"per_class": {"cat": tau}}}}
    (folder / "results.json").write_text(str(text).replace("'", '"'))
    localizer = dlib.Localizer(folder, label="bird", box_rule="threshold")
    assert {r.tau for r in localizer.localize([scene(0, 9, 9)])} == {0.25}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "no thresholds beside these weights"),
        ({"val": None}, "no thresholds beside these weights"),
        ([], "results.json: not an experiment's results; give --tau"),
        ({"val": 3}, "results.json: not an experiment's results; give --tau"),
        ({"val": {"best_localization": {"per_class": {"cat": 1}}}}, "not an experiment's results"),
        (
            {"val": {"best_localization": {"per_class": {"cat": {"best_tau": {"50": "x"}}}}}},
            "must be numbers",
        ),
    ],
)
def test_results_without_thresholds_are_said_and_tau_does_without(
    tmp_path: Path, content: object, said: str
) -> None:
    folder = save_experiment(tmp_path)
    (folder / "thresholds-best_localization.yaml").unlink()
    (folder / "results.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        dlib.Localizer(folder, box_rule="threshold")
    assert dlib.Localizer(folder).localize(scene(0, 9, 9))[0].tau is None
    assert dlib.Localizer(folder, tau=0.3).localize(scene(0, 9, 9))[0].tau == 0.3


@pytest.mark.parametrize(("name", "value"), [("classes", 5), ("crop_size", "big"), ("crop_size", 0)])
def test_settings_of_another_kind_are_named(tmp_path: Path, name: str, value: object) -> None:
    folder = save_experiment(tmp_path)
    path = next(folder.glob("*-cp_*")) / "config_model.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), name: value}))
    with pytest.raises(UserError, match=r"config_model\.yaml: expected a list 'classes'"):
        dlib.Localizer(folder)
