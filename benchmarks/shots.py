"""CoLo-CAM against its classifier with few shots: the small-data recipe on parts of a dataset.

    python -m benchmarks.shots --shots 3 7 20 50 108 --seeds 0 1 2 --out exps/shots \
      --dataset NAME --data_root DIR --metadata_root DIR

The train shots are taken from each class in turn, those of different videos first. Classes without a train shot are
left out of all splits. Each number of shots is one study (``cmds/studies/small_data.yaml``), which resumes. One line a
number and seed: CorLoc of the classifier's CAM and of the recipe, on validation and test, and of boxes without
thresholds on test; then which of them ``colocam localize`` uses, the better one on validation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from dlib.configure.constants import BEST_LOCALIZATION, SPLITS, TRAIN
from dlib.datasets.metadata import BOXES_FILE, CLASSES_FILE, IDS_FILE, LABELS_FILE, SIZES_FILE
from dlib.utils.files import read_json, write_text
from dlib.utils.text import percent
from dlib.visualization.measured import BOX_RULE, headline_by

STUDY = Path(__file__).parents[1] / "cmds" / "studies" / "small_data.yaml"


def choose(shots: list[str], count: int) -> list[str]:
    """``count`` of ``<class>/data/<video>/shots/<shot>``: classes in turn, and in each class its videos in turn."""
    by_class: dict[str, dict[str, list[str]]] = {}
    for shot in shots:
        name, _, video = shot.split("/")[:3]
        by_class.setdefault(name, {}).setdefault(video, []).append(shot)
    queues = {name: _in_turn(list(videos.values())) for name, videos in by_class.items()}
    return _in_turn(list(queues.values()))[:count]


def _in_turn(lists: list[list[str]]) -> list[str]:
    longest = max(map(len, lists))
    return [items[i] for i in range(longest) for items in lists if i < len(items)]


def write_part(folds: Path, target: Path, count: int) -> None:
    """Folds in ``target`` with ``count`` train shots of those in ``folds``."""
    kept = set(choose((folds / TRAIN / IDS_FILE).read_text().split(), count))
    names = sorted({shot.split("/")[0] for shot in kept})
    write_text(target / CLASSES_FILE, yaml.safe_dump({name: i for i, name in enumerate(names)}))
    for split in SPLITS:
        for file in (IDS_FILE, LABELS_FILE, SIZES_FILE, BOXES_FILE):
            lines = []
            for line in (folds / split / file).read_text().splitlines():
                item = line.split(",")[0]
                if item.split("/")[0] in names and (split != TRAIN or item in kept):
                    lines.append(f"{item},{names.index(item.split('/')[0])}" if file == LABELS_FILE else line)
            write_text(target / split / file, "".join(f"{line}\n" for line in lines))


def measured(out: Path, seed: int) -> tuple[list[float | None], str]:
    """CorLoc on validation and on test, and on test without thresholds, of the classifier, then of the recipe, of a
    finished study; which of the two localizes."""
    (path,) = out.glob(f"exps/*/*/CoLo-CAM/*/id_recipe-*-sd_{seed}-*/results.json")
    results = read_json(path)
    pairs = [(results["classifier_val"], results["classifier_test"])]
    pairs.append((results["val"][BEST_LOCALIZATION], results["test"][BEST_LOCALIZATION]))
    numbers = [(val["headline"], test["headline"], headline_by(test, BOX_RULE)) for val, test in pairs]
    return [number for three in numbers for number in three], results["better_on_validation"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shots",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 7, 20, 50, 108])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("exps/shots"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data_root", type=Path, required=True)
    parser.add_argument("--metadata_root", type=Path, required=True)
    args, more = parser.parse_known_args()
    three = ("val", "test", "without thresholds")
    head = ["shots", "seed", *(f"{name} {of}" for name in ("classifier", "CoLo-CAM") for of in three), "used"]
    print(f"| {' | '.join(head)} |\n|{'--:|' * len(head)}", flush=True)
    for count in args.shots:
        out = args.out / str(count)
        write_part(args.metadata_root / args.dataset, out / "folds" / args.dataset, count)
        study = yaml.safe_load(STUDY.read_text()) | {"seeds": args.seeds}
        write_text(out / "study.yaml", yaml.safe_dump(study, sort_keys=False))
        words = [
            sys.executable,
            "-m",
            "dlib.study",
            out / "study.yaml",
            "--out",
            out,
            "--only",
            "recipe",
            "--",
        ]
        words += ["--dataset", args.dataset, "--data_root", args.data_root]
        words += ["--metadata_root", out / "folds", *more]
        with (out / "study.txt").open("wb") as log:
            if code := subprocess.run(list(map(str, words)), stdout=log, stderr=log).returncode:
                print(f"{count} shots: the study failed, see {out / 'study.txt'}", file=sys.stderr)
                return code
        for seed in args.seeds:
            numbers, used = measured(out, seed)
            print(f"| {count} | {seed} | {' | '.join(map(percent, numbers))} | {used} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
