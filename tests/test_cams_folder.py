"""Maps of other programs: files of every kind and size, and each fault as one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlib.cams import MapFolder
from dlib.utils.errors import UserError

FRAME = "cat/video 1/shot.2/000001.jpg"
MAP = np.array([[0.0, 0.25, 1.0], [0.5, 0.75, 0.0]], np.float32)


def write(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".pt":
        torch.save(values, path)
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        FRAME,
        "cat/video 1/shot.2/000001",
        "cat_video 1_shot.2_000001.jpg",
        "cat_video 1_shot.2_000001",
    ],
)
def test_names(name: str, tmp_path: Path) -> None:
    write(tmp_path / f"{name}.npy", MAP)
    write(tmp_path / "cat/video 1/shot.2/000002.npy", 1 - MAP)
    maps = MapFolder(tmp_path)
    assert torch.equal(maps.read(FRAME), torch.from_numpy(MAP))
    assert maps.missing(["dog/7.jpg", FRAME]) == ["dog/7.jpg"]


WHOLE = np.round(255 * MAP).astype(np.uint8)
KINDS = {
    "float64.npy": (MAP.astype(np.float64), MAP),
    "float16.npy": (MAP.astype(np.float16), MAP),
    "uint8.npy": (WHOLE, WHOLE / 255),
    "uint16.npy": ((65535 * MAP).astype(np.uint16), (65535 * MAP).astype(np.uint16) / 65535),
    "bool.npy": (MAP > 0.3, MAP > 0.3),
    "one_more_dimension.npy": (MAP[None, None], MAP),
    "float32.pt": (torch.from_numpy(MAP), MAP),
    "bfloat16.pt": (torch.from_numpy(MAP).bfloat16(), MAP),
    "uint8.pt": (torch.from_numpy(WHOLE), WHOLE / 255),
    "uint8.png": (WHOLE, WHOLE / 255),
    "uint16.png": ((65535 * MAP).astype(np.uint16), (65535 * MAP).astype(np.uint16) / 65535),
    "rounding.npy": (MAP * (1 + 5e-5), MAP),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_files(kind: str, tmp_path: Path) -> None:
    values, expected = KINDS[kind]
    write(tmp_path / kind, values)
    found = MapFolder(tmp_path).read(kind.split(".")[0] + ".jpg")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.from_numpy(np.asarray(expected, np.float32)), rtol=0, atol=1e-4)
    assert 0 <= found.min() <= found.max() <= 1


def test_rounding_beyond_the_range_is_cut_off(tmp_path: Path) -> None:
    write(tmp_path / "7.npy", np.array([[-5e-5, 0.5, 1 + 5e-5]], np.float32))
    assert MapFolder(tmp_path).read("7.jpg").tolist() == [[0, 0.5, 1]]


def test_a_square_map_of_a_square_frame_has_no_exchanged_sides(tmp_path: Path) -> None:
    write(tmp_path / "7.npy", MAP[:, :2])
    assert torch.equal(MapFolder(tmp_path).read("7.jpg", (2, 2)), torch.from_numpy(MAP[:, :2]))


def test_large_maps_are_reduced_with_antialiasing(tmp_path: Path) -> None:
    stripes = np.zeros((50, 10), np.float32)
    stripes[::2] = 1
    write(tmp_path / "7.npy", stripes)
    found = MapFolder(tmp_path, side=10).read("7.jpg")
    assert found.shape == (10, 10)
    assert float((found[1:-1] - 0.5).abs().max()) < 0.1  # without it: all 1 or all 0
    assert MapFolder(tmp_path, side=64).read("7.jpg").shape == (50, 10)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_the_largest_whole_number_is_exactly_one(kind: type, tmp_path: Path) -> None:
    np.save(tmp_path / "7.npy", np.array([[0, np.iinfo(kind).max]], kind))
    assert MapFolder(tmp_path).read("7.jpg").tolist() == [[0, 1]]


def test_a_map_of_one_row_and_files_of_old_pytorch(tmp_path: Path) -> None:
    row = torch.rand(1, 5)
    np.save(tmp_path / "1.npy", row.numpy())
    torch.save(row[None, None], tmp_path / "2.pt", _use_new_zipfile_serialization=False)
    for frame in ("1.jpg", "2.jpg"):
        torch.testing.assert_close(MapFolder(tmp_path).read(frame), row)


class Attack:
    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return (exec, ("raise SystemExit('code ran')",))


NAN, WIDE = MAP.copy(), np.zeros((3, 2, 4), np.float32)
NAN[1, 1] = np.nan
FAULTS: dict[str, tuple[str, Any, str]] = {
    "nan": ("7.npy", NAN, "it holds NaN or infinity"),
    "nan in pt": ("7.pt", torch.from_numpy(NAN), "it holds NaN or infinity"),
    "range": ("7.npy", 20 * MAP - 3, r"its values are -3 to 17 instead of 0 to 1: write \(m - m.min\(\)\)"),
    "below": ("7.npy", MAP - 0.01, "instead of 0 to 1"),
    "above": ("7.npy", 1.01 - MAP, "to 1.01 instead of 0 to 1"),
    "three maps": ("7.npy", WIDE, r"its shape is \[3, 2, 4\] instead of \[h, w\]"),
    "empty": ("7.npy", np.zeros((0, 4), np.float32), r"its shape is \[0, 4\]"),
    "int64": ("7.npy", np.zeros((2, 2), np.int64), "values of type int64"),
    "objects": ("7.npy", np.array([Attack()], object), "not readable .*allow_pickle"),
    "pickle": ("7.pt", Attack(), "not readable"),
    "dict": ("7.pt", {"map": torch.zeros(2, 2)}, "a dict instead of a tensor"),
    "colours": ("7.png", np.zeros((2, 2, 3), np.uint8), "colours of mode RGB"),
    "sides exchanged": ("7.npy", np.zeros((6, 4), np.float32), r"its shape \[6, 4\] is \[width, height\]"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line_that_names_the_file(fault: str, tmp_path: Path) -> None:
    name, values, message = FAULTS[fault]
    path = write(tmp_path / name, values)
    with pytest.raises(UserError, match=message) as error:
        MapFolder(tmp_path).read("7.jpg", (6, 4))
    assert str(error.value).startswith(f"map {path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".pt", ".png"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_damaged_files(suffix: str, share: float, tmp_path: Path) -> None:
    path = write(
        tmp_path / f"7{suffix}", torch.zeros(40, 40) if suffix == ".pt" else np.zeros((40, 40), np.uint8)
    )
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"not readable \(") as error:
        MapFolder(tmp_path).read("7.jpg")
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_faults_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: no such folder of maps"):
        MapFolder(tmp_path / "none")
    with pytest.raises(UserError, match=r"no file there ends in \.npy, \.pt, \.png"):
        MapFolder(tmp_path)
    write(tmp_path / "a/7.npy", MAP)
    maps = MapFolder(tmp_path)
    with pytest.raises(
        UserError, match=r"1 of 2 frames have no map, the first is 'a/8.jpg': write .*a/8.jpg.npy"
    ):
        maps.check_complete(["a/7.jpg", "a/8.jpg"])
    with pytest.raises(UserError, match=r"'a/7.jpg' and 'a/7.png' would share the map"):
        maps.check_complete(["a/7.jpg", "a/7.png"])
    with pytest.raises(UserError, match=r"'b.jpg' has no map"):
        maps.read("b.jpg")
    write(tmp_path / "a_7.png", WHOLE)
    with pytest.raises(UserError, match=r"has two maps, .*a/7.npy and .*a_7.png: remove one"):
        MapFolder(tmp_path).read("a/7.jpg")


def test_maps_of_one_shot_have_one_size(tmp_path: Path) -> None:
    write(tmp_path / "7.npy", MAP)
    write(tmp_path / "8.npy", 1 - MAP)
    write(tmp_path / "9.npy", MAP.T)
    maps = MapFolder(tmp_path)
    assert torch.equal(maps.read_together(["7.jpg", "8.jpg"]), torch.from_numpy(np.stack([MAP, 1 - MAP])))
    with pytest.raises(
        UserError, match=r"7.npy and .*9.npy of one shot have the sizes \[2, 3\] and \[3, 2\]"
    ):
        maps.read_together(["7.jpg", "9.jpg"])
