"""Studies whose runs are started for real, but whose results come from a formula."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dlib.study.plan import read_study
from dlib.study.runs import Run, Runner
from helpers.paths import ROOT

# Stands in for main.py: same flags, same folders, but results by a formula instead of training.
FAKE = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from dlib.configure.config import experiment_dir, model_tag, parse_args
cfg = parse_args(sys.argv[1:])
with open({calls!r}, "a") as calls:
    calls.write(json.dumps([cfg.exp_id, cfg.seed, cfg.task, cfg.method, cfg.split, cfg.eval_only]) + "\\n")
def report(value):
    taus = [0.0, 0.25, 0.5, 0.75]
    curves = {{"30": {{}}, "50": {{"cat": [0, value, 0, 0], "dog": [0, 0, value + 8, 0]}}, "70": {{}}}}
    best = {{"cat": 0.25, "dog": 0.5}}
    return {{"headline": value + 4, "classification": 90.0, "box_v2_metric": False,
        "curves": {{"taus": taus, **curves}},
        "at_val_taus": {{"corloc": {{"50": value - 1, "mean": 0}}}},
        "per_class": {{n: {{"corloc": {{"50": value + 8 * i}}, "best_tau": {{"50": best[n]}}}}
                      for i, n in enumerate(best)}}}}
if cfg.eval_only:
    folder = Path(cfg.fd_exp)
    assert list(folder.glob("*-cp_best_localization-*/1_best_model.pth")) and (folder / "config.yml").exists()
    name = f"eval_{{cfg.dataset}}_{{cfg.split}}_best_localization.json"
    (folder / name).write_text(json.dumps(report(40.0)))
    sys.exit()
folder = experiment_dir(cfg)
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yml").write_text(cfg.to_yaml())
if cfg.exp_id == "broken":
    sys.exit("Traceback ...\\nerror: the disk is full")
if cfg.exp_id == "slow":
    import signal
    def leave(*_):
        (folder / "saved").touch()
        sys.exit(0)
    signal.signal(signal.SIGTERM, leave)
    (folder / "started").touch()
    time.sleep(60)
if cfg.exp_id == "half" and not (folder / "begun").exists():
    (folder / "begun").touch()
    sys.exit()
if cfg.task == "CoLo-CAM":
    assert list(Path(cfg.pretrained_root).glob(f"{{cfg.dataset}}-*-{{cfg.method}}-*-cp_best_localization-*"))
else:
    for criterion in ("best_localization", "best_classification"):
        weights = folder / model_tag(cfg, criterion)
        weights.mkdir(exist_ok=True)
        (weights / "1_best_model.pth").touch()
        (weights / "config_model.yaml").touch()
value = 50.0 + 100 * cfg.opt__lr + 2 * cfg.seed
results = {{"val": {{"best_localization": report(value)}}, "test": {{"best_localization": report(value)}},
           "classifier_test": {{"headline": 51.0 + cfg.seed}} if cfg.task == "CoLo-CAM" else None,
           "times": {{"total_s": 1800.0}}, "peak_memory_mib": 900 + 200 * cfg.seed, "device": "a card",
           "seed": cfg.seed, "environment": {{"revision": "abc123"}},
           "command": f"/bin/python /a/main.py --exp_id {{cfg.exp_id}}"}}
(folder / "results.json").write_text(json.dumps(results))
(folder / "passed.txt").touch()
"""


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder, self.calls = folder, folder / "calls"
        self.program = folder / "fake.py"
        self.program.write_text(FAKE.format(root=str(ROOT), calls=str(self.calls)))

    def run(self, text: str, jobs: int = 1) -> list[Run]:
        path = self.folder / "s.yaml"
        path.write_text(text)
        return Runner(read_study(path), self.folder / "out", jobs, (sys.executable, str(self.program))).run()

    def started(self) -> list[list[object]]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.calls.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]
