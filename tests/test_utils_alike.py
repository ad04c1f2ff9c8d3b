"""Files of tensors that are alike: read as ``torch.load`` reads them, and no damage passes."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
import torch
from torch import Tensor

from dlib.utils import alike
from dlib.utils.alike import AlikeTensors


def saved(value: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def map_of(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the files that were read as any file."""
    read: list[int] = []
    load = alike.load_tensors

    def noted(stream: io.BytesIO, **options: Any) -> Any:
        read.append(len(stream.getvalue()))
        return load(stream, **options)

    monkeypatch.setattr(alike, "load_tensors", noted)
    return read


def test_only_the_first_of_a_kind_is_read_as_any_file(slow: list[int]) -> None:
    files = AlikeTensors()
    for shape in ((5, 7), (7, 5), (1, 1)):
        for seed in range(3):
            value = map_of(seed, *shape)
            found = files.load(saved(value))
            assert torch.equal(found, value)
            found += 1  # it owns its memory
            assert torch.equal(files.load(saved(value)), value)
    assert len(slow) == 3


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize(
    "value",
    [
        map_of(0, 4, 4).t(),
        map_of(0, 8, 4)[2:6],  # a view is saved with the storage of the whole
        map_of(0, 4, 8)[:, ::2],
        map_of(0, 4, 4).double(),
        map_of(0, 4, 4).bfloat16(),
        torch.arange(16).reshape(4, 4),
        map_of(0, 4, 4).requires_grad_(),
        torch.nn.Parameter(map_of(0, 4, 4)),
        map_of(0, 4, 4).to_sparse(),
        torch.zeros(0, 4),
        {"cam": map_of(0, 4, 4)},
        [map_of(0, 4, 4), map_of(1, 4, 4)],
    ],
)
def test_other_content_is_what_torch_loads(value: Any) -> None:
    files = AlikeTensors()
    files.load(saved(map_of(0, 4, 4)))
    for _ in range(2):
        found = files.load(saved(value))
        expected = torch.load(io.BytesIO(saved(value)), weights_only=True)
        assert type(found) is type(expected)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        if isinstance(found, Tensor):
            assert found.requires_grad == expected.requires_grad


def test_no_flipped_bit_passes() -> None:
    files, value = AlikeTensors(), map_of(0, 9, 9)
    content = saved(value)
    files.load(saved(map_of(1, 9, 9)))
    refused = 0
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << at % 8
        try:
            assert torch.equal(files.load(bytes(damaged)), value), at
        except ValueError:
            refused += 1
    assert refused > 9 * 9 * 4
    for length in range(0, len(content), 50):
        with pytest.raises(ValueError, match=r"\w"):
            files.load(content[:length])


@pytest.mark.parametrize("changed", ["byteorder", "compressed", "shorter"])
def test_files_that_differ_in_more_than_values(changed: str) -> None:
    """The same description, but its values are in another order of bytes, compressed, or too few."""
    value = map_of(0, 3, 3)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved(value))) as archive, zipfile.ZipFile(stream, "w") as other:
        for part in archive.infolist():
            content = archive.read(part)
            if part.filename.endswith("byteorder") and changed == "byteorder":
                content = b"big"
            if part.filename.endswith("data/0") and changed == "shorter":
                content = content[:-4]
            kind = zipfile.ZIP_DEFLATED if changed == "compressed" else zipfile.ZIP_STORED
            other.writestr(part.filename, content, kind)
    files = AlikeTensors()
    files.load(saved(value))
    try:
        expected = torch.load(io.BytesIO(stream.getvalue()), weights_only=True)
    except Exception:
        with pytest.raises(ValueError, match=r"\w"):
            files.load(stream.getvalue())
    else:
        assert torch.equal(files.load(stream.getvalue()), expected)


def test_files_of_older_versions() -> None:
    files, value = AlikeTensors(), map_of(0, 3, 3)
    for _ in range(2):
        assert torch.equal(files.load(saved(value, _use_new_zipfile_serialization=False)), value)
