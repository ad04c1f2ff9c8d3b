"""The store of maps on disk, and the transforms of maps."""

from __future__ import annotations

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dlib.cams import CamStore, normalize_cams, seed_technique_at, temper_at, temper_cams, upsample_cams
from dlib.utils.errors import UserError


def test_write_then_read(tmp_path: Path) -> None:
    store = CamStore(tmp_path / "a" / "b")
    cam = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    store.write("cat/0001/frame.jpg", cam)
    assert store.path("cat/0001/frame.jpg").name == "cat_0001_frame.jpg.pt"
    assert torch.equal(store.read("cat/0001/frame.jpg"), cam.float())
    store.write("cat/0001/frame.jpg", torch.zeros(2, 2))
    assert torch.equal(store.read("cat/0001/frame.jpg"), torch.zeros(2, 2))
    assert [p.name for p in store.folder.iterdir()] == ["cat_0001_frame.jpg.pt"]


def test_a_view_is_stored_without_its_batch(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    store.write("x", torch.zeros(500, 8, 8)[3])
    assert store.path("x").stat().st_size < 3000


def test_missing_keeps_order_and_ignores_unfinished_files(tmp_path: Path) -> None:
    store = CamStore(tmp_path / "none yet")
    ids = [f"v/{i}" for i in range(6)]
    assert store.missing(ids) == ids
    for i in (1, 4):
        store.write(ids[i], torch.ones(2, 2))
    (store.folder / ".v_2.pt.1-1.tmp").write_bytes(b"half")
    assert store.missing(ids) == [ids[0], ids[2], ids[3], ids[5]]


def test_ids_that_share_a_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'a/b_c' and 'a_b/c'"):
        CamStore(tmp_path).missing(["a/b_c", "a_b/c"])
    with pytest.raises(ValueError, match="empty"):
        CamStore(tmp_path).path("")


class _Evil:
    def __reduce__(self) -> tuple:
        return (print, ("code of a stored file ran",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"not a tensor", "damaged"),
        (pickle.dumps(_Evil(), protocol=2), "damaged"),
        ({"cam": 1}, "dict"),
        (torch.zeros(1, 3, 3), r"\[1, 3, 3\]"),
        (torch.zeros(3, 3, dtype=torch.int64), "int64"),
        (torch.eye(3) / torch.eye(3), "NaN"),  # NaN beside the diagonal
        (torch.full((3, 3), float("nan")), "NaN"),
    ],
)
def test_foreign_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, content: object, words: str
) -> None:
    store = CamStore(tmp_path)
    if isinstance(content, bytes):
        store.path("f").write_bytes(content)
    else:
        torch.save(content, store.path("f"))
    with pytest.raises(UserError, match=words) as caught:
        store.read("f")
    assert str(store.path("f")) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_truncated_and_absent_files_are_named(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    store.write("f", torch.rand(28, 28, generator=torch.Generator().manual_seed(0)))
    whole = store.path("f").read_bytes()
    store.path("f").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        store.read("f")
    with pytest.raises(UserError, match="missing"):
        store.read("g")


def test_a_flipped_bit_is_never_read_in_silence(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    cam = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    store.write("f", cam)
    whole = store.path("f").read_bytes()
    start = whole.find(cam.numpy().tobytes())
    refused = 0
    for at in (*range(0, len(whole), 97), start, start + 1000, start + cam.numel() * 4 - 1):
        content = bytearray(whole)
        content[at] ^= 8
        store.path("f").write_bytes(bytes(content))
        try:
            assert torch.equal(store.read("f"), cam), at
        except UserError:
            refused += 1
    assert refused > cam.numel() * 4 // 97


def test_files_of_older_versions_are_read(tmp_path: Path) -> None:
    store, cam = CamStore(tmp_path), torch.ones(1, 1)
    torch.save(cam, store.path("f"), _use_new_zipfile_serialization=False)
    assert torch.equal(store.read("f"), cam)
    assert store.missing(["f"]) == []


def test_what_a_power_cut_left_is_missing(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    store.write("whole", torch.ones(1, 1))
    store.path("empty").write_bytes(b"")
    store.path("begun").write_bytes(store.path("whole").read_bytes()[:100])
    assert store.missing(["empty", "whole", "begun"]) == ["empty", "begun"]


def test_only_usable_maps_are_written(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    whole, nothing = torch.zeros(2, 2, dtype=torch.int32), torch.zeros(0, 4)
    for cam in (torch.zeros(1, 2, 2), torch.full((2, 2), math.inf), whole, nothing):
        with pytest.raises(ValueError, match="'f'"):
            store.write("f", cam)
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        CamStore(tmp_path / "file").write("f", torch.zeros(2, 2))


def test_many_threads_write_the_same_and_other_frames(tmp_path: Path) -> None:
    store = CamStore(tmp_path)

    def work(i: int) -> torch.Tensor:
        store.write(f"f/{i % 5}", torch.full((4, 4), float(i % 5)))
        return store.read(f"f/{i % 5}")

    with ThreadPoolExecutor(8) as pool:
        for i, cam in enumerate(pool.map(work, range(80))):
            assert (cam == i % 5).all()
    assert len(list(tmp_path.iterdir())) == 5


def test_maps_of_half_precision_are_read_as_float32(tmp_path: Path) -> None:
    store, cam = CamStore(tmp_path), torch.rand(2, 3).half()
    torch.save(cam, store.path("a"))
    found = store.read("a")
    assert found.dtype == torch.float32
    assert torch.equal(found, cam.float())


def test_a_store_is_held_alone_or_shared(tmp_path: Path) -> None:
    one, two, three = (CamStore(tmp_path / "new" / "cams") for _ in range(3))
    assert one.hold_alone()
    assert not two.hold_alone()
    waits = []

    def while_waiting() -> None:
        waits.append(1)
        if len(waits) == 2:
            one.release()

    two.hold(while_waiting)
    assert len(waits) == 2
    three.hold()  # shared: no wait
    assert not one.hold_alone()
    assert pickle.loads(pickle.dumps(two))._lock is None  # the lock belongs to the process
    two.release()
    two.release()
    assert not one.hold_alone()
    three.release()
    assert one.hold_alone()
    one.release()
    (tmp_path / "file").write_text("")
    assert CamStore(tmp_path / "file" / "cams").hold_alone()  # nothing there that another run could clear


def test_clearing_removes_the_maps_alone(tmp_path: Path) -> None:
    store = CamStore(tmp_path)
    store.hold()
    store.write("a", torch.rand(3, 4))
    (tmp_path / "notes.txt").write_text("")
    store.clear()
    assert store.missing(["a"]) == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "notes.txt"]
    store.release()


def test_normalization() -> None:
    maps = torch.tensor([[[-1.0, 3.0]], [[2.0, 2.0]], [[math.nan, 1.0]], [[math.inf, 1.0]]])
    for given in (maps, maps.double()):
        assert normalize_cams(given).tolist() == [[[0, 1]], [[0, 0]], [[0, 0]], [[0, 0]]]
        assert normalize_cams(given).dtype == torch.float32


def test_upsampling_is_bilinear_without_aligned_corners() -> None:
    cams = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1))
    expected = functional.interpolate(cams[:, None], (9, 11), mode="bilinear", align_corners=False)[:, 0]
    assert torch.equal(upsample_cams(cams, (9, 11)), expected)


@pytest.mark.parametrize("t", [0.5, 4.0, 500.0])
def test_tempering_equals_its_formula(t: float) -> None:
    cams = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(2))
    powers = (t * (cams.double() + 1e-6)).exp()
    expected = powers / powers.amax(dim=(1, 2), keepdim=True)
    assert torch.allclose(temper_cams(cams, t).double(), expected, rtol=1e-3, atol=1e-7)
    assert torch.equal(temper_cams(cams, 0.0), cams)


def test_tempering_schedule() -> None:
    # By hand: 8 to fall in 4 epochs, 2 each, in the first epoch already.
    assert [temper_at(e, 10, 2, 4) for e in range(1, 8)] == [8, 6, 4, 2, 2, 2, 2]
    assert [temper_at(e, 10, 2, 0) for e in (1, 50)] == [10, 10]
    assert [temper_at(e, 10, 2, -1) for e in (1, 50)] == [10, 10]
    assert temper_at(1, 10, 2, 1) == 2
    assert [seed_technique_at(e, "seed_weighted", 3) for e in (2, 3)] == ["seed_weighted", "seed_uniform"]
    assert seed_technique_at(99, "seed_weighted", -1) == "seed_weighted"
