"""A window of a resized picture: Pillow's pixels, computed for the window alone, with and without the extension."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dlib.datasets import resizing
from dlib.datasets.resizing import Window, resize_window
from helpers.random_cases import cases


def pillow(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The square, planes first; one axis in each call, rows first, which Pillow itself would choose by their cost."""
    rows = Image.fromarray(pixels).resize((side, len(pixels)), Image.Resampling.BILINEAR)
    return np.asarray(rows.resize((side, side), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(params=["extension", "pillow"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    assert resizing._is_built()
    if request.param == "pillow":
        monkeypatch.setattr(resizing, "_is_built", lambda: False)
    return str(request.param)


@pytest.mark.parametrize(
    "shape", [(360, 480), (480, 360), (1, 1), (1, 700), (700, 1), (3000, 7), (64, 64), (63, 65)]
)
@pytest.mark.parametrize("side", [1, 2, 64, 224])
def test_the_square_has_pillows_pixels(shape: tuple[int, int], side: int, way: str) -> None:
    pixels = noise(*shape)
    assert np.array_equal(resize_window(pixels, side, Window(0, 0, side, side)), pillow(pixels, side))


def test_the_program_reads_wide_frames_as_pillow_does_in_one_call() -> None:
    pixels = noise(360, 480)
    truth = np.asarray(Image.fromarray(pixels).resize((256, 256), Image.Resampling.BILINEAR))
    assert np.array_equal(resize_window(pixels, 256, Window(0, 0, 256, 256)), truth.transpose(2, 0, 1))


@settings(max_examples=cases(150), deadline=None)
@given(data=st.data())
def test_any_window_is_cut_from_the_square(data: st.DataObject) -> None:
    height, width, side = (data.draw(st.integers(1, 90)) for _ in range(3))
    rows, columns = (data.draw(st.integers(1, side)) for _ in range(2))
    top, left = data.draw(st.integers(0, side - rows)), data.draw(st.integers(0, side - columns))
    mirrored = data.draw(st.booleans())
    pixels = data.draw(st.sampled_from([noise(height, width), np.full((height, width, 3), 255, np.uint8)]))
    found = resize_window(pixels, side, Window(top, left, rows, columns), mirrored)
    truth = pillow(pixels, side)[:, top : top + rows, left : left + columns]
    assert np.array_equal(found, truth[..., ::-1] if mirrored else truth)


def test_pillow_mirrors_too(way: str) -> None:
    pixels = noise(20, 30)
    whole = resize_window(pixels, 16, Window(0, 0, 16, 16))
    assert np.array_equal(resize_window(pixels, 16, Window(2, 3, 5, 7), True), whole[:, 2:7, 3:10][..., ::-1])


def test_pixels_in_another_order_of_memory(way: str) -> None:
    pixels = noise(20, 30)
    for view in (pixels[::-1], pixels[:, ::2], pixels[..., ::-1], pixels.transpose(1, 0, 2)):
        assert np.array_equal(
            resize_window(view, 8, Window(0, 0, 8, 8)), pillow(np.ascontiguousarray(view), 8)
        )


@pytest.mark.parametrize(
    "window", [(-1, 0, 4, 4), (0, -1, 4, 4), (0, 0, 0, 4), (0, 0, 4, 0), (5, 0, 4, 4), (0, 5, 4, 4)]
)
def test_windows_outside_are_refused(window: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not inside of a square of 8"):
        resize_window(noise(9, 9), 8, Window(*window))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_pictures_are_refused(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\], not"):
        resize_window(pixels, 8, Window(0, 0, 8, 8))


GOOD = {
    "pixels": np.zeros((4, 6, 3), np.uint8),
    "first_x": np.array([0, 4], np.int32),
    "weights_x": np.full((2, 2), 2**21, np.int32),
    "first_y": np.array([0, 1, 2], np.int32),
    "weights_y": np.full((3, 2), 2**21, np.int32),
    "out": np.zeros((3, 3, 2), np.uint8),
}


def test_right_arguments_of_the_extension_are_taken() -> None:
    import resizewindow

    given = {**GOOD, "pixels": noise(4, 6), "out": np.zeros((3, 3, 2), np.uint8)}
    resizewindow.resize_window(*given.values(), 4, 6)
    pixels = given["pixels"].astype(int)
    across = (pixels[:, [0, 4]] + pixels[:, [1, 5]] + 1) // 2
    assert np.array_equal(given["out"], ((across[:3] + across[1:] + 1) // 2).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("pixels", np.zeros((4, 6, 2), np.uint8), "pixels must be"),
        ("first_x", np.array([-1, 4], np.int32), "inside the picture"),
        ("first_x", np.array([0, 5], np.int32), "inside the picture"),
        ("first_x", np.array([0, 6], np.int32), "inside the picture"),
        ("first_x", np.zeros(0, np.int32), "needs an int32 place"),
        ("first_x", np.zeros(3, np.int32), "needs an int32 place"),
        ("first_x", np.zeros(9, np.uint8), "needs an int32 place"),
        ("weights_x", np.zeros(0, np.int32), "needs an int32 place"),
        ("weights_x", np.zeros(17, np.uint8), "needs an int32 place"),
        ("weights_x", np.full((2, 2), 2**22, np.int32), "the sum 2"),
        ("weights_x", np.array([[2**22, -1], [0, 0]], np.int32), "the sum 2"),
        ("weights_x", np.zeros((2, 2), np.int32), "the sum 2"),
        ("first_y", np.array([0, 1, 3], np.int32), "inside the picture"),
        ("weights_y", np.full((3, 2), -1, np.int32), "the sum 2"),
        ("out", np.zeros((3, 3, 3), np.uint8), "out must be"),
    ],
)
def test_wrong_arguments_of_the_extension_are_refused(
    name: str, value: NDArray[np.generic], text: str
) -> None:
    import resizewindow

    with pytest.raises(ValueError, match=text):
        resizewindow.resize_window(*{**GOOD, name: value}.values(), 4, 6)


@pytest.mark.parametrize("size", [(0, 6), (4, 0), (-4, -6), (2, 6), (2**31 - 1, 2**31 - 1)])
def test_wrong_sizes_of_the_extension_are_refused(size: tuple[int, int]) -> None:
    import resizewindow

    with pytest.raises(ValueError, match="pixels must be"):
        resizewindow.resize_window(*GOOD.values(), *size)


@pytest.mark.parametrize("name", list(GOOD))
def test_other_objects_are_refused(name: str) -> None:
    import resizewindow

    with pytest.raises(TypeError):
        resizewindow.resize_window(*{**GOOD, name: None}.values(), 4, 6)


def test_a_result_that_cannot_be_written_is_refused() -> None:
    import resizewindow

    with pytest.raises(TypeError):
        resizewindow.resize_window(*{**GOOD, "out": bytes(18)}.values(), 4, 6)
