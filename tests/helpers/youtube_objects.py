"""Small trees in the original layouts of YouTube-Objects, with real .mat files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image


def jpeg(path: Path, size: tuple[int, int] = (64, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 30)).save(path)
    return path


def sticks(frame: Path, *boxes: tuple[float, ...]) -> None:
    cells = np.empty((1, len(boxes)), object)
    for i, box in enumerate(boxes):
        cells[0, i] = np.array([box], np.float64)
    scipy.io.savemat(f"{frame}_sticks.mat", {"coor": cells})


def v1_tree(root: Path, name: str, n_boxed: int, n_plain: int, n_test: int) -> None:
    """Videos 0001.. boxed, then plain ones, then test ones; each has two shots of two frames."""
    total = n_boxed + n_plain + n_test
    for video in range(1, total + 1):
        for shot in ("001", "002"):
            for k in (1, 2):
                frame = jpeg(root / name / "data" / f"{video:04d}" / "shots" / shot / f"frame{k:04d}.jpg")
                if k == 1 and shot == "001" and (video <= n_boxed or video > n_boxed + n_plain):
                    sticks(frame, (1, 2, 30, 40))
    sets = root / name / "sets"
    sets.mkdir(parents=True)
    train = [f"{video:04d}" for video in range(1, n_boxed + n_plain + 1)]
    (sets / "train.txt").write_text("\n".join(train) + "\n")
    (sets / "test.txt").write_text("".join(f"{v:04d}\n" for v in range(n_boxed + n_plain + 1, total + 1)))


def v2_tree(root: Path, name: str, as_struct: bool) -> None:
    """Ten frames in each of 8 shots (frame 30 in two); videos 1..6, of which 6 has no boxes."""
    for frame in range(1, 81):
        jpeg(root / name / f"{frame:08d}.jpg", (80, 60))
    videos = (1, 1, 2, 3, 4, 5, 5, 6)
    rows = [[10 * i + 1, 10 * i + 10, video] for i, video in enumerate(videos)]
    rows[3][0] = 30  # the last frame of shot 2 is also the first of shot 3
    for folder in ("Ranges", f"GroundTruth/{name}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(root / "Ranges" / f"ranges_{name}.mat", {"ranges": np.array(rows)})
    training = [
        (25, [[1, 2, 30, 40]]),
        (3, [[-5, 2, 30, 40]]),
        (33, [[1, 2, 80, 60.5]]),
        (45, [[1, 1, 9, 9]]),
    ]
    test = [(55, [[1, 2, 30, 40], [2, 3, 31, 41]]), (66, [[5, 5, 10, 10]]), (67, np.zeros((0, 4)))]
    for part, entries in (("Training", training), ("Test", test)):
        ids = [f"{name}{frame:08d}" for frame, _ in entries]
        boxes = [np.array(b, np.float64).reshape(-1, 4) for _, b in entries]
        value: np.ndarray
        if as_struct:
            value = np.zeros((1, len(ids)), dtype=[("id", object), ("bb", object)])
            for i, pair in enumerate(zip(ids, boxes, strict=True)):
                value[0, i] = pair
        else:
            value = np.empty((len(ids), 2), object)
            value[:, 0] = ids
            for i, box in enumerate(boxes):
                value[i, 1] = box
        path = root / "GroundTruth" / name / f"bb_gt{part}_{name}.mat"
        scipy.io.savemat(path, {f"bb_gt{part}": value})
