"""Reading frames: defined behaviour for every kind of picture, and an error with the path for the rest."""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tvf

from dlib.datasets import images
from dlib.datasets.images import read_image, read_upright, rgb_array
from dlib.datasets.transforms import CropFlip, draw_crop_flip, resize_cam, resize_image
from dlib.utils.errors import UserError
from helpers.random_cases import cases

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(folder: Path, data: bytes) -> Path:
    path = folder / "frame.jpg"
    path.write_bytes(data)
    return path


def test_rgb_pixels_are_kept(tmp_path: Path) -> None:
    pixels = read_image(write(tmp_path, encoded(Image.fromarray(PIXELS), "PNG")))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, PIXELS)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    read = read_image(write(tmp_path, encoded(image, "PNG")))
    assert np.array_equal(read, np.asarray(image.convert("RGB")))


def test_cmyk_is_converted(tmp_path: Path) -> None:
    plain = Image.new("RGB", (16, 16), (200, 40, 90))
    read = read_image(write(tmp_path, encoded(plain.convert("CMYK"), "JPEG", quality=95)))
    assert np.abs(read.astype(int) - np.asarray(plain)).max() < 12


def test_sixteen_bits_keep_their_upper_half(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 512, dtype=np.uint16).reshape(8, 16)
    read = read_image(write(tmp_path, encoded(Image.fromarray(values), "PNG")))
    assert np.array_equal(read[..., 0], values >> 8)


ALPHA = np.dstack([PIXELS, PIXELS[..., 0]])
GREY = PIXELS[..., 0]
ARRAYS = {
    "RGB": (PIXELS, PIXELS),
    "RGB from the right": (PIXELS[:, ::-1], PIXELS[:, ::-1]),
    "RGB and alpha": (ALPHA, PIXELS),
    "grey": (GREY, np.stack([GREY] * 3, -1)),
    "grey in a third axis": (GREY[..., None], np.stack([GREY] * 3, -1)),
    "grey and alpha": (PIXELS[..., :2], np.stack([GREY] * 3, -1)),
    "16 bits": (PIXELS.astype(np.uint16) * 256 + 255, PIXELS),
    "16 bits, other order of bytes": ((PIXELS.astype(np.uint16) * 256).astype(">u2"), PIXELS),
    "float64": (PIXELS / 255, PIXELS),
    "float32": ((PIXELS / 255).astype(np.float32), PIXELS),
    "float16": ((GREY > 99).astype(np.float16), np.stack([(GREY > 99) * 255] * 3, -1)),
    "bool": (GREY > 99, np.stack([(GREY > 99) * 255] * 3, -1)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_pictures(kind: str) -> None:
    given, truth = ARRAYS[kind]
    found = rgb_array(given)
    assert (found.dtype, found.flags.c_contiguous) == (np.uint8, True)
    assert np.array_equal(found, truth)


@pytest.mark.parametrize(
    "mode",
    [
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
        "HSV",
        "I",
        "I;16",
        "F",
    ],
)
def test_pil_pictures_of_every_mode(tmp_path: Path, mode: str) -> None:
    """A grey picture is the same grey in every mode, up to what the mode itself rounds."""
    ramp = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    grey = Image.fromarray(ramp)
    made = {
        "1": lambda: Image.fromarray(ramp > 99),
        "I": lambda: Image.fromarray(ramp.astype(np.int32) * 256 + 7),
        "I;16": lambda: Image.fromarray(ramp.astype(np.uint16) * 256 + 7),
        "F": lambda: Image.fromarray(ramp.astype(np.float32) / 255),
        "P": lambda: grey.convert("P"),
        "La": lambda: grey.convert("LA").convert("La"),
        "PA": lambda: grey.convert("P").convert("PA"),
        "RGBa": lambda: grey.convert("RGBA").convert("RGBa"),
    }.get(mode, lambda: grey.convert("RGB").convert(mode))()
    assert made.mode == mode
    truth = (ramp > 99) * 255 if mode == "1" else ramp
    assert np.abs(rgb_array(made).astype(int) - truth[..., None]).max() <= (
        3 if mode in ("YCbCr", "HSV") else 0
    )


def test_a_transparent_palette_keeps_its_colours() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 0
    assert rgb_array(image).tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((3, 3), np.int64), "pixels must be uint8, uint16, bool or float in 0..1, got int64"),
        (np.full((3, 3), 255.0), r"must lie in 0\.\.1"),
        (np.full((3, 3), np.nan), r"must lie in 0\.\.1"),
        (Image.fromarray(np.full((3, 3), 7, np.float32)), r"must lie in 0\.\.1"),
        (
            np.zeros((3, 3, 5), np.uint8),
            r"an image is an array \[H, W\] or \[H, W, 1\.\.4\], got \[3, 3, 5\]",
        ),
        (np.zeros((0, 3, 3), np.uint8), "an image is"),
        (np.zeros(3, np.uint8), "an image is"),
    ],
)
def test_what_is_no_picture_is_refused(given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        rgb_array(given)
    with pytest.raises(TypeError, match="got str"):
        rgb_array("a.png")


def test_a_users_picture_is_turned_a_frame_of_a_dataset_is_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path, encoded(Image.fromarray(PIXELS), "PNG", exif=exif))
    assert np.array_equal(read_image(path), PIXELS)
    for found in (read_upright(path, ""), rgb_array(Image.open(path))):
        assert np.array_equal(found, np.rot90(PIXELS, -1))


def test_exif_rotation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    read = read_image(write(tmp_path, encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)))
    assert read.shape == (24, 32, 3)


@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"optimize": True, "quality": 5},
        {"restart_marker_blocks": 3},
        {"keep_rgb": True},
    ],
)
def test_a_jpeg_has_pillows_pixels(
    tmp_path: Path, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(Image.fromarray(np.tile(PIXELS, (3, 2, 1))[:-3, :-5]), "JPEG", **options)
    truth = np.asarray(Image.open(io.BytesIO(content)))
    for end in (b"", b"\0" * 40):
        assert np.array_equal(read_image(write(tmp_path, content + end)), truth)
    monkeypatch.setattr(images, "_RGB", None)  # an OpenCV that is too old
    assert np.array_equal(read_image(write(tmp_path, content)), truth)


@pytest.mark.parametrize("answer", [None, cv2.error("no memory")])
def test_pillow_reads_what_opencv_cannot(
    tmp_path: Path, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(Image.fromarray(PIXELS), "JPEG")
    monkeypatch.setattr(images.cv2, "imdecode", Mock(side_effect=[answer]))
    assert np.array_equal(read_image(write(tmp_path, content)), np.asarray(Image.open(io.BytesIO(content))))


def test_animation_gives_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 255, 0))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(write(tmp_path, data))[4, 4].tolist() == [255, 0, 0]


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    read = read_image(write(tmp_path, encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG")))
    assert resize_image(read, 4).flatten(1).T.unique(dim=0).tolist() == [[1, 2, 3]]


def test_bombs_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, encoded(Image.new("1", (20000, 20000)), "PNG"))
    with pytest.raises(UserError, match=r"frame.jpg: .*64000000"):
        read_image(path)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match="32x24 pixels"):
        read_image(write(tmp_path, encoded(Image.fromarray(PIXELS))))


@pytest.mark.parametrize("keep", [0, 1, 3, 100, -50])
def test_truncated_files_are_refused_with_their_path(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path, encoded(Image.fromarray(PIXELS))[:keep])
    with pytest.raises(UserError, match=f"^{path}: unreadable frame"):
        read_image(path)


def test_missing_and_irregular_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jpg", tmp_path):
        with pytest.raises(UserError, match="no such frame"):
            read_image(path)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n"
    with pytest.raises(UserError, match="not a picture of the formats"):
        read_image(write(tmp_path, eps))


@settings(max_examples=cases(150), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_files_give_a_picture_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"]))
    content = bytearray(encoded(Image.fromarray(PIXELS), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path, bytes(content))
    try:
        outcome = str(read_image(path).shape[2:])
    except UserError as error:
        outcome = str(error)
    assert outcome == "(3,)" or (str(path) in outcome and "\n" not in outcome)


def test_resize_is_torchvisions() -> None:
    for size in (7, 20, 64):
        image = Image.fromarray(PIXELS)
        truth = tvf.pil_to_tensor(tvf.resize(image, [size, size], InterpolationMode.BILINEAR, antialias=True))
        assert torch.equal(resize_image(PIXELS, size), truth)


def test_crop_flip_is_slicing_and_mirroring() -> None:
    values = torch.arange(36.0).reshape(1, 6, 6)
    assert torch.equal(CropFlip(1, 2, 3, False).apply(values, 3), values[:, 1:4, 2:5])
    truth = torch.from_numpy(values.numpy()[:, 1:4, 2:5][:, :, ::-1].copy())
    assert torch.equal(CropFlip(1, 2, 3, True).apply(values, 3), truth)


@settings(max_examples=cases(40))
@given(data=st.data())
def test_a_window_of_a_picture_has_the_bits_of_the_whole(data: st.DataObject) -> None:
    side = data.draw(st.sampled_from([16, 64, 128, 60]))
    width, height = (data.draw(st.sampled_from([side, side // 2, 33, 97, 200])) for _ in range(2))
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    size = data.draw(st.integers(1, side))
    top, left = (data.draw(st.integers(0, side - size)) for _ in range(2))
    window = CropFlip(top, left, size, data.draw(st.booleans()))
    final = data.draw(st.sampled_from([size, 9]))
    found = window.of_picture(pixels, side, final)
    assert found.is_contiguous()
    assert torch.equal(found, window.apply(resize_image(pixels, side), final))


def test_crops_reach_every_place_and_both_flips() -> None:
    rng = np.random.default_rng(1)
    drawn = {draw_crop_flip(6, 4, rng) for _ in range(500)}
    assert len(drawn) == 3 * 3 * 2
    assert draw_crop_flip(5, 5, rng)[:2] == (0, 0)


def test_resize_cam_is_half_pixel_bilinear() -> None:
    cam = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    assert resize_cam(cam, 4)[0].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])
    assert resize_cam(cam, 4).dtype == torch.float32
