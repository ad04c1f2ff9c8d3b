"""Files from elsewhere: nothing in them runs, nothing leaves its folder, nothing crashes the interpreter."""

from __future__ import annotations

import ast
import io
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dlib.cams.store import CamStore
from dlib.configure.config import Config, parse_args, read_yaml
from dlib.datasets.build import matfiles
from dlib.datasets.build.matfiles import read_frame_boxes, read_sticks
from dlib.datasets.build.matprocess import MatProcess
from dlib.datasets.images import read_image
from dlib.datasets.metadata import read_split
from dlib.datasets.synthetic.write import save_sticks
from dlib.learning.checkpoints import CheckpointFolder
from dlib.models.settings import _PlainLoader
from dlib.models.weights import read_weights
from dlib.utils.errors import UserError
from dlib.utils.tensors import load_tensors
from helpers.paths import ROOT


class Payload:
    """Unpickling this makes a file: harmless, and proof that code ran."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


READERS: dict[str, tuple[type[Exception], Callable[[Path], Any]]] = {
    "checkpoint": (ValueError, load_tensors),
    "weights": (UserError, read_weights),
    "CAM file": (UserError, lambda path: CamStore(path.parent).read(path.stem)),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("legacy", [False, True])
def test_pickle_that_would_run_code_is_refused(tmp_path: Path, kind: str, legacy: bool) -> None:
    target, path = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save({"a": Payload(target)}, path, _use_new_zipfile_serialization=not legacy)
    error, read = READERS[kind]
    with pytest.raises(error):
        read(path)
    path.write_bytes(pickle.dumps(Payload(target)))
    with pytest.raises(error):
        read(path)
    assert not target.exists()


def test_poisoned_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 2, "this")
    folder.save(1, {"best": {}, "x": torch.ones(2)})
    torch.save(
        {"format": "colocam-checkpoint-1", "experiment": "this", "best": {}, "x": Payload(tmp_path / "ran")},
        tmp_path / "2_checkpoint.pth",
    )
    found = folder.newest()
    assert found is not None
    assert found[0].name == "1_checkpoint.pth"
    assert not (tmp_path / "ran").exists()


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(f"task: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']\n")
    with pytest.raises(UserError):
        read_yaml(path)
    assert not (tmp_path / "ran").exists()


FORBIDDEN = ("eval", "exec", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load")


def test_the_only_loader_of_our_own_makes_plain_data() -> None:
    assert issubclass(_PlainLoader, yaml.SafeLoader)
    assert _PlainLoader.yaml_multi_constructors == yaml.SafeLoader.yaml_multi_constructors == {}
    safe = set(yaml.SafeLoader.yaml_constructors.values())
    assert set(_PlainLoader.yaml_constructors.values()) == safe


def test_no_unsafe_call_stands_in_the_program() -> None:
    checked = 0
    for path in [ROOT / "main.py", *(ROOT / "dlib").rglob("*.py")]:
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name | ast.Attribute):
                continue
            name, where = ast.unparse(call.func), f"{path.name}:{call.lineno}"
            words = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
            if name == "torch.load":
                checked += 1
                assert words.get("weights_only") is True, where
            if name == "np.load":
                assert words.get("allow_pickle") is False, where
            if name == "yaml.load":
                loaders = [ast.unparse(k.value) for k in call.keywords if k.arg == "Loader"]
                assert (path.name, loaders) == ("settings.py", ["_PlainLoader"]), where
            assert name not in FORBIDDEN, where
            assert not name.startswith(("pickle.", "marshal.", "shelve.", "dill.")), where
            assert not words.get("shell"), where
    assert checked == 1  # dlib/utils/tensors.py is the one place


def swallow(read: Callable[[], Any], *allowed: type[Exception]) -> None:
    """``read`` gives a value or one of the errors that a user can mend, with a message of one line."""
    message = "-"
    try:
        read()
    except allowed as error:
        message = str(error)
    assert message.strip()
    assert "\n" not in message


IMAGE = st.builds(
    lambda mode, fmt, w, h: _image(mode, fmt, w, h),
    st.sampled_from(["RGB", "L", "CMYK", "RGBA", "P", "I;16", "1"]),
    st.sampled_from(["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]),
    st.integers(1, 9),
    st.integers(1, 9),
)


def _image(mode: str, fmt: str, width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.new(mode, (width, height)).save(buffer, fmt)
    except (OSError, ValueError, KeyError):
        Image.new("RGB", (width, height)).save(buffer, fmt)
    return buffer.getvalue()


def _tensor_file() -> bytes:
    buffer = io.BytesIO()
    torch.save(torch.rand(3, 4), buffer)
    return buffer.getvalue()


def _mat_file(folder: Path) -> bytes:
    path = folder / "x.mat"
    save_sticks(path, [(1, 2, 30, 40)])
    return path.read_bytes()


DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8)


def damaged(content: bytes, hits: list[tuple[float, int]], length: float) -> bytes:
    """``content`` with bytes replaced, cut to a share of its length."""
    values = bytearray(content[: int(len(content) * length) + 1])
    for share, byte in hits:
        values[int(share * (len(values) - 1))] = byte
    return bytes(values)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(IMAGE, DAMAGE, st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.1]))
def test_images(place: Path, content: bytes, hits: list[tuple[float, int]], length: float) -> None:
    path = place / "frame.jpg"
    path.write_bytes(damaged(content, hits, length))
    swallow(lambda: read_image(path), UserError)


@given(st.binary(max_size=200))
def test_anything_as_an_image(place: Path, content: bytes) -> None:
    path = place / "any.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"any\.jpg"):
        read_image(path)


TENSOR_FILE = _tensor_file()


@given(DAMAGE, st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.1]))
def test_tensor_files(place: Path, hits: list[tuple[float, int]], length: float) -> None:
    path = place / "cam.pt"
    path.write_bytes(damaged(TENSOR_FILE, hits, length))
    swallow(lambda: load_tensors(path), ValueError)
    swallow(lambda: CamStore(place).read("cam"), UserError)
    swallow(lambda: read_weights(path), UserError)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    reader = MatProcess(patience=15)
    monkeypatch.setattr(matfiles, "_READER", reader)
    yield
    reader.close()


@pytest.mark.usefixtures("little_patience")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(DAMAGE, st.sampled_from([1.0, 0.9, 0.5]))
def test_mat_boxes(place: Path, hits: list[tuple[float, int]], length: float) -> None:
    path = place / "boxes.mat"
    path.write_bytes(damaged(_mat_file(place), hits, length))
    swallow(lambda: read_sticks(path), UserError)
    swallow(lambda: read_frame_boxes(path, "coor"), UserError)


@given(st.one_of(st.text(max_size=300), st.dictionaries(st.text(max_size=9), st.text(max_size=9)).map(str)))
def test_yaml_configurations(place: Path, content: str) -> None:
    path = place / "config.yml"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    swallow(lambda: Config.from_yaml(path), UserError)


@given(st.lists(st.text(max_size=20), max_size=6))
def test_command_lines(words: list[str]) -> None:
    if not {"-h", "--help"} & set(words):
        swallow(lambda: parse_args(words), UserError)


NAME = st.sampled_from(["a/b.jpg", "c.jpg", "../x", "/etc/passwd", "a//b", "", "ü.jpg", "a\tb", "a,b.jpg"])
NUMBER = st.sampled_from(["0", "1", "2", "-1", "1e9", "nan", "inf", "9" * 30, "", "x", "3.5"])
FIELDS = st.lists(st.tuples(NAME, st.lists(NUMBER, max_size=5)), max_size=4)


@given(st.lists(NAME, max_size=4), FIELDS, FIELDS, FIELDS, st.text(max_size=30))
def test_metadata(place: Path, ids: list[str], labels: list, sizes: list, boxes: list, classes: str) -> None:
    folder = place / "folds" / "val"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image_ids.txt").write_text("\n".join(ids))
    rows = {"class_labels.txt": labels, "image_sizes.txt": sizes, "localization.txt": boxes}
    for name, lines in rows.items():
        (folder / name).write_text("\n".join(",".join([line[0], *line[1]]) for line in lines))
    (folder.parent / "class_id.yaml").write_text(classes, encoding="utf-8")

    def read() -> None:
        split = read_split(place, place / "folds", "val", check_files=False)
        assert all(not name.startswith("/") and ".." not in name.split("/") for name in split.ids)
        assert all(np.isfinite(box).all() for box in split.boxes.values())

    swallow(read, UserError)


@pytest.mark.parametrize("side", [9000, 20000, 2**31 - 1])
def test_bomb_of_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (8, 8)).save(path)
    content = path.read_bytes()
    header = content[12:16] + struct.pack(">II", side, side) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with pytest.raises(UserError, match=r"bomb\.png: .*more than the 64000000"):
        read_image(path)


def test_cam_names_stay_in_their_folder(tmp_path: Path) -> None:
    store = CamStore(tmp_path / "store")
    for name in ("../../etc/x.jpg", "/etc/x.jpg", "a/../b.jpg"):
        assert store.path(name).parent == tmp_path / "store"


def test_checkpoint_with_a_member_outside(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.ones(2), path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../escaped", b"x")
    swallow(lambda: load_tensors(path), ValueError)
    assert not (tmp_path.parent.parent / "escaped").exists()
