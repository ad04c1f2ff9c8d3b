from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dlib import localize
from dlib.configure.constants import COLOCAM, STD_CL
from dlib.localizer import Localizer
from dlib.localizer import source as sources
from helpers.clips import encode_clip, joined, scene, write_clip, write_sound
from helpers.paths import ROOT
from helpers.saved_experiment import both_tasks


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    return both_tasks(tmp_path_factory.mktemp("experiments"))


def run(experiment: Path, source: object, out: Path, *more: str) -> int:
    return localize.main(["--fd_exp", str(experiment), "--input", str(source), "--out", str(out), *more])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_a_video_keeps_size_rate_and_length(
    experiments: dict, tmp_path: Path, rate: Fraction, capsys
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 11, rate=rate)
    out = tmp_path / "new" / "out"
    assert run(experiments[COLOCAM], clip, out, "--batch_size", "4", "--masks", "True") == 0
    with av.open(str(out / "overlay.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (48, 36, rate)
        # What browsers play: H.264 with 4:2:0 colours.
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert len(list(video.decode(stream))) == 11
    boxes = json.loads((out / "boxes.json").read_text())
    assert [entry["frame"] for entry in boxes["frames"]] == list(range(11))
    assert boxes["fps"] == pytest.approx(float(rate))
    with (out / "boxes.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row, entry in zip(rows, boxes["frames"], strict=True):
        assert row["class"] == entry["class"] in boxes["classes"]
        assert float(row["score"]) == entry["score"]
        if entry["box"] is not None:
            assert [int(row[c]) for c in ("x0", "y0", "x1", "y1")] == entry["box"]
            assert 0 <= entry["box"][0] <= entry["box"][2] < 48
            assert 0 <= entry["box"][1] <= entry["box"][3] < 36
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == 11
    assert Image.open(masks[0]).size == (48, 36)
    assert "11 frames" in (said := capsys.readouterr().out)
    assert "frames per second" in said


def test_a_folder_of_frames_with_odd_sides(experiments: dict, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(scene(i, 45 + (i == 2), 33)).save(folder / f"f{i}.png")
    assert run(experiments[STD_CL], folder, tmp_path / "out", "--fps", "5", "--smooth", "3") == 0
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (46, 34, 5)
    names = [e["name"] for e in json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]]
    assert names == ["f0", "f1", "f2"]


def test_joined_files_keep_their_length_in_the_overlay(experiments: dict, tmp_path: Path, capsys) -> None:
    part = [scene(i, 48, 36) for i in range(12)]
    assert run(experiments[STD_CL], joined(tmp_path / "a.ts", part, part), tmp_path / "out") == 0
    assert "a.ts: time stamps go backwards at frame 12; time continues there" in capsys.readouterr().err
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert times == pytest.approx(np.arange(24) / 25, abs=1e-4)
    found = json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]
    assert [entry["time"] for entry in found] == pytest.approx(times, abs=1e-4)


def test_pixels_that_are_not_square_are_so_in_the_overlay(experiments: dict, tmp_path: Path, capsys) -> None:
    path = encode_clip(tmp_path / "a.mkv", [scene(i, 48, 36) for i in range(3)], aspect=Fraction(16, 11))
    assert run(experiments[STD_CL], path, tmp_path / "out") == 0
    assert "boxes are in stored pixels, 48x36, which players show as 70x36" in capsys.readouterr().err
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height, stream.sample_aspect_ratio) == (48, 36, Fraction(16, 11))


def test_a_folder_is_read_in_the_order_of_numbers_without_litter(experiments: dict, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in (1, 2, 10, 11):
        Image.fromarray(scene(i, 32, 24)).save(folder / f"{i}.png")
    for name in ("._1.png", "Thumbs.db", ".DS_Store"):
        (folder / name).write_bytes(b"litter")
    assert run(experiments[STD_CL], folder, tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]
    assert [entry["name"] for entry in found] == ["1", "2", "10", "11"]


def test_a_picture_gives_a_picture(experiments: dict, tmp_path: Path) -> None:
    Image.fromarray(scene(0, 45, 33)).save(tmp_path / "a.jpg")
    assert run(experiments[STD_CL], tmp_path / "a.jpg", tmp_path / "out") == 0
    with Image.open(tmp_path / "out" / "overlay.png") as picture:
        assert picture.size == (45, 33)
    assert not (tmp_path / "out" / "overlay.mp4").exists()


def test_a_camera_until_enough_frames(experiments: dict, tmp_path: Path, monkeypatch) -> None:
    class Camera:
        def __init__(self, number: int) -> None:
            assert number == 5
            self.count = 0

        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 0.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.count += 1
            return True, scene(self.count, 32, 24)[..., ::-1]

        def release(self) -> None:
            pass

    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    assert run(experiments[STD_CL], 5, tmp_path / "out", "--max_frames", "3") == 0
    assert len(json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]) == 3


def test_a_cut_off_video_gives_the_frames_that_are_left(experiments: dict, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "whole.mkv", 30)
    data = clip.read_bytes()
    (tmp_path / "part.mkv").write_bytes(data[: len(data) * 2 // 3])
    assert run(experiments[STD_CL], tmp_path / "part.mkv", tmp_path / "out") == 0
    frames = json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]
    assert 1 <= len(frames) < 30


def test_pictures_of_one_stem_stay_apart(experiments: dict, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    names = ["a0.jpg", "a0.png", "a0.jpg.png", "b.jpg", "7.png"]
    for i, name in enumerate(names):
        Image.fromarray(scene(i, 32, 24)).save(folder / name)
    assert run(experiments[STD_CL], folder, tmp_path / "out", "--masks", "True") == 0
    entries = json.loads((tmp_path / "out" / "boxes.json").read_text())["frames"]
    assert [entry["name"] for entry in entries] == ["7", "a0.jpg", "a0.jpg.png", "a0.png", "b"]
    masks = {path.name for path in (tmp_path / "out" / "masks").iterdir()}
    assert masks == {"000000.png", "a0.jpg.png", "a0.jpg.png.png", "a0.png.png", "b.png"}


@pytest.mark.parametrize("kind", ["video", "picture", "masks", "a mask", "link"])
def test_the_input_is_never_overwritten(experiments: dict, tmp_path: Path, kind: str, capsys) -> None:
    out = tmp_path / "out"
    (out / "masks").mkdir(parents=True)
    write_clip(out / "overlay.mp4", 2)
    for path in (out / "overlay.png", out / "masks" / "a.png"):
        Image.fromarray(scene(0, 32, 24)).save(path)
    (tmp_path / "link.mp4").symlink_to(out / "overlay.mp4")
    inputs = {
        "video": out / "overlay.mp4",
        "picture": out / "overlay.png",
        "masks": out / "masks",
        "a mask": out / "masks" / "a.png",
        "link": tmp_path / "link.mp4",
    }
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run(experiments[STD_CL], inputs[kind], out, "--masks", "True") == 1
    error = capsys.readouterr().err
    assert "would overwrite the input" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_results_from_before_are_replaced(experiments: dict, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    for _ in range(2):
        assert run(experiments[STD_CL], clip, tmp_path / "out", "--masks", "True") == 0
    masks = tmp_path / "out" / "masks"
    assert run(experiments[STD_CL], masks, tmp_path / "out") == 0  # without --masks they are read only


def test_masks_of_a_longer_video_do_not_stay(experiments: dict, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    long, short = write_clip(tmp_path / "long.mp4", 5), write_clip(tmp_path / "short.mp4", 2)
    assert run(experiments[STD_CL], long, out, "--masks", "True") == 0
    mine = out / "masks" / "mine.png"
    Image.fromarray(scene(0, 32, 24)).save(mine)
    assert run(experiments[STD_CL], short, out, "--masks", "True") == 0
    assert {path.name for path in (out / "masks").iterdir()} == {"000000.png", "000001.png", "mine.png"}
    assert f"note: {out / 'masks'}: 1 masks are not of this input" in capsys.readouterr().err
    assert run(experiments[STD_CL], long, out) == 0
    assert len(list((out / "masks").iterdir())) == 3  # masks are not wanted: nothing of them changes
    assert "3 masks are not of this input" in capsys.readouterr().err


def test_a_damaged_list_of_boxes_removes_nothing_elsewhere(experiments: dict, tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "kept.png"
    kept.write_bytes(b"mine")
    clip = write_clip(tmp_path / "clip.mp4", 1)
    (out / "masks").mkdir(parents=True)
    for text in ('{"frames": [{"frame": 0, "name": "../../kept"}]}', '{"frames": [', "[]", '{"frames": [3]}'):
        (out / "boxes.json").write_text(text)
        assert run(experiments[STD_CL], clip, out, "--masks", "True") == 0
    assert kept.read_bytes() == b"mine"


def test_a_folder_of_videos_gives_a_folder_for_each(experiments: dict, tmp_path: Path, capsys) -> None:
    videos = tmp_path / "videos"
    for name, frames in (("a.mp4", 3), ("cats/b.mp4", 2), ("cats/b.mkv", 4), (".hidden.mp4", 2)):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        write_clip(videos / name, frames)
    (videos / "notes.txt").write_text("")
    (videos / "broken.mp4").write_bytes(b"none")
    out = tmp_path / "out"
    assert run(experiments[STD_CL], videos, out) == 0
    said = capsys.readouterr()
    lengths = {
        path.parent.relative_to(out).as_posix(): len(json.loads(path.read_text())["frames"])
        for path in out.rglob("boxes.json")
    }
    assert lengths == {"a": 3, "cats/b.mp4": 2, "cats/b.mkv": 4}
    assert all((out / name / "overlay.mp4").exists() for name in lengths)
    assert said.err.count("\n") == 1
    assert f"note: left out: {videos / 'broken.mp4'}: not a readable video" in said.err
    assert "a: 3 frames: " in said.out
    assert said.out.splitlines()[-2].startswith("9 frames: ")
    for name in ("a.mp4", "cats/b.mp4", "cats/b.mkv"):
        (videos / name).write_bytes(b"none")
    assert run(experiments[STD_CL], videos, tmp_path / "none") == 1
    error = capsys.readouterr().err
    assert "none of 4 videos can be used; the first: " in error
    assert error.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_how_maps_are_drawn(experiments: dict, tmp_path: Path) -> None:
    """A frame without its map is the frame itself off the box; an opaque grey map is the map itself."""
    picture = tmp_path / "a.png"
    Image.fromarray(scene(0, 96, 72)).save(picture)
    drawn = {}
    for name, flags in {
        "boxes": ("--boxes_only", "True"),
        "nothing": ("--opacity", "0"),
        "gray": ("--opacity", "1", "--colormap", "gray"),
        "usual": (),
    }.items():
        assert run(experiments[STD_CL], picture, tmp_path / name, *flags) == 0
        with Image.open(tmp_path / name / "overlay.png") as image:
            drawn[name] = np.asarray(image.convert("RGB")).astype(int)
    (found,) = Localizer(experiments[STD_CL]).localize(picture)
    assert found.box is not None
    x0, y0, x1, y1 = found.box
    free = np.ones((72, 96), bool)  # off the lines of the box and the caption
    free[:16] = False
    free[max(0, y0 - 4) : y1 + 5, max(0, x0 - 4) : x1 + 5] = False
    free[y0 + 4 : y1 - 3, x0 + 4 : x1 - 3] = True
    free[:16] = False
    assert free.sum() > 500
    assert (drawn["boxes"][free] == scene(0, 96, 72)[free]).all()
    assert (drawn["boxes"] == drawn["nothing"]).all()
    value = found.full_map()[free][:, None]
    expected = (1 - value) * scene(0, 96, 72)[free] + value * 255 * value
    assert np.abs(drawn["gray"][free] - expected).max() <= 4  # maps have 256 levels
    assert np.abs(drawn["usual"] - drawn["boxes"]).max() > 30


def test_a_terminal_sees_a_progress_bar(experiments: dict, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))  # rows, columns
    command = ["-m", "dlib.localize", "--fd_exp", str(experiments[STD_CL]), "--input", str(clip)]
    command += ["--out", str(tmp_path / "out"), "--max_frames", "4", "--batch_size", "1"]
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    said = b""
    try:
        while block := os.read(master, 4096):
            said += block
    except OSError:  # how Linux tells that the other side is closed
        pass
    finally:
        os.close(master)
    assert process.wait() == 0
    assert b"localizing:" in said
    assert b"0/4" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file or folder"),
        ("noise", "not a readable video"),
        ("empty", "not a readable video"),
        ("sound", "audio only"),
        ("picture", "unreadable frame"),
        ("folder", "holds no pictures"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    experiments: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / ("x.jpg" if content == "picture" else "x.mp4")
    if content in ("noise", "picture"):
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "sound":
        write_sound(path)
    elif content == "folder":
        path.mkdir()
    assert run(experiments[STD_CL], path, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert said in error
    assert str(path) in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_line(experiments: dict, tmp_path: Path, capsys) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    (tmp_path / "file").write_text("")
    for arguments, code in (
        ((tmp_path / "none", clip, tmp_path / "o"), 1),
        ((experiments[STD_CL], clip, tmp_path / "file"), 1),
        ((experiments[STD_CL], 77, tmp_path / "o"), 1),
        ((experiments[STD_CL], "9" * 20, tmp_path / "o"), 1),
        ((experiments[STD_CL], "9" * 5000, tmp_path / "o"), 1),
        ((experiments[STD_CL], clip, tmp_path / "o", "--max_frames", "-3"), 2),
        ((experiments[STD_CL], clip, tmp_path / "o", "--label", "x"), 2),
        ((experiments[STD_CL], clip, tmp_path / "o", "--tau", "2"), 2),
        ((experiments[STD_CL], clip, tmp_path / "o", "--box_rule", "size"), 2),
        ((experiments[STD_CL], clip, tmp_path / "o", "--box_rule", "colors", "--tau", "0.2"), 2),
    ):
        assert run(*arguments) == code
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "o").exists()


def test_the_files_say_what_made_the_boxes(experiments: dict, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    for flags, rule, taus in (
        ((), "colors", {None}),
        (("--box_rule", "threshold"), "threshold", {0.2, 0.3, 0.4}),
        (("--tau", "0.5"), "threshold", {0.5}),
    ):
        assert run(experiments[COLOCAM], clip, tmp_path / rule, *flags) == 0
        content = json.loads((tmp_path / rule / "boxes.json").read_text())
        assert content["box_rule"] == rule
        assert {e["tau"] and round(e["tau"], 6) for e in content["frames"]} <= taus
        with (tmp_path / rule / "boxes.csv").open() as file:
            written = [row["tau"] for row in csv.DictReader(file)]
        assert written == ["" if e["tau"] is None else str(e["tau"]) for e in content["frames"]]


def test_help_needs_no_torch() -> None:
    code = "import sys; from dlib import localize; localize.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
