"""Two checkouts train the same networks: every weight, score and logged loss of both tasks, bit for bit, on the CPU.

    python tests/stress/same_bits.py OTHER_CHECKOUT

Run it before and after a change of structure: OTHER_CHECKOUT is another work tree of this project, whose program runs
with this one's Python and extensions. The data are synthetic, made by this checkout. Exits with 1 at a difference.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parents[2]
SMALL = shlex.split(
    "--dataset synthetic --encoder_name resnet18 --encoder_weights None --method LayerCAM --crop_size 48 "
    "--resize_size 56 --batch_size 8 --num_workers 0 --max_epochs 2 --exp_id same "
    "--vizu_n 0 --report False --log_every 1 --device cpu"
)
COLOCAM = shlex.split(
    "--task CoLo-CAM --freeze_cl True --opt__lr 0.01 --sample_n_from_seq 3 --sample_n_from_seq_style before "
    "--sl_clc True --sl_clc_min 40 --sl_clc_max 40 --sl_clc_seed_tech seed_weighted --sl_clc_use_roi True "
    "--sl_clc_roi_method largest --soft_cam_clc True --crf_clc True --rgb_jcrf_clc True --rgb_jcrf_clc_lambda 3 "
    "--rgb_jcrf_clc_lambda_style adaptive --max_sizepos_clc True --min_entropy_clc True --size_bg_g_fg_clc True "
    "--sizefg_tmp_clc True --sl_clc_epoch_switch_to_sl 2 --map_refine_sigma_xy 4"
)
PLAN = shlex.split("--classes 3 --videos 5 --shots 2 --frames 5 --size 60")


def main() -> int:
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "main.py").is_file():
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        make_data(place)
        found = [
            outcome(checkout, place, name)
            for name, checkout in (("here", HERE), ("there", Path(sys.argv[1])))
        ]
    for kind in found[0]:
        if not same(found[0][kind], found[1].get(kind)):
            print(f"{kind} differs")
            return 1
        print(f"{kind}: the same")
    return 0


def make_data(place: Path) -> None:
    run(HERE, "-m", "dlib.datasets.synthetic", "--dst", str(place / "original"), *PLAN)
    build = ["-m", "dlib.datasets._video_ds_ytov1_0", "--src", str(place / "original")]
    run(
        HERE,
        *build,
        "--dst",
        str(place / "data" / "synthetic"),
        "--metadata",
        str(place / "folds" / "synthetic"),
    )


def outcome(checkout: Path, place: Path, name: str) -> dict[str, Any]:
    """What a checkout's program makes of both tasks."""
    roots = ["--data_root", str(place / "data"), "--metadata_root", str(place / "folds")]
    for root in ("exps", "pretrained", "cams"):
        roots += [f"--{root}_root", str(place / name / root)]
    found: dict[str, Any] = {}
    for task, flags in (("STD_CL", []), ("CoLo-CAM", COLOCAM)):
        run(checkout, "main.py", *SMALL, *roots, *flags)
        (experiment,) = (place / name / "exps").glob(f"synthetic/resnet18/{task}/LayerCAM/id_same-*")
        if task == "STD_CL":
            promote = [
                "bash",
                str(checkout / "cmds" / "promote.sh"),
                str(experiment),
                str(place / name / "pretrained"),
            ]
            subprocess.run(promote, check=True, capture_output=True)
        found |= {f"{task} {kind}": value for kind, value in content(experiment).items()}
    return found


def content(experiment: Path) -> dict[str, Any]:
    """Weights, validation and test scores, and the losses of every step."""
    (weights,) = experiment.glob("*cp_best_localization*/*_best_model.pth")
    results = json.loads((experiment / "results.json").read_text())
    events = map(json.loads, (experiment / "log.jsonl").read_text().splitlines())
    kept = ("loss", "terms", "raw")
    return {
        "weights": torch.load(weights, weights_only=True),
        "scores": {key: results.get(key) for key in ("val", "test", "best", "classifier_test")},
        "losses": [[event[key] for key in kept] for event in events if event["event"] == "step"],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(same(one[k], other[k]) for k in one)
        )
    return bool(one == other)


def run(checkout: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, *words], cwd=checkout, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(words[:2])} failed: {done.stderr.strip()[-300:]}")


if __name__ == "__main__":
    sys.exit(main())
