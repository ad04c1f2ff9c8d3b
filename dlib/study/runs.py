"""Running a study: each run is main.py in a process of its own, skipped when done, continued when interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlib.configure.config import Config, experiment_dir
from dlib.configure.constants import TEST, VAL
from dlib.study.plan import Flags, Study, Variant, folder_name
from dlib.utils.errors import UserError
from dlib.utils.files import write_text

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """A variant (or classifier) with one seed; ``folder`` holds its results unless ``error`` says why not."""

    variant: Variant
    seed: int
    folder: Path
    error: str = ""


@dataclass
class Runner:
    """Starts the runs of ``study`` below ``out``, ``jobs`` at a time. ``program``: interpreter and main.py."""

    study: Study
    out: Path
    jobs: int = 1
    program: tuple[str, ...] = (sys.executable, str(ROOT / "main.py"))
    _trained: dict[tuple[Any, int], Run] = field(default_factory=dict)
    _alive: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> list[Run]:
        """All classifiers, then all variants; the variants' outcomes in the study's order.

        Raises KeyboardInterrupt after Ctrl-C or SIGTERM, once every started run has saved itself.
        """
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._trained = self._all(self._classifier, self.study.classifiers)
            for (name, seed), found in self._trained.items():
                if not found.error:
                    _promote(found.folder, self._pretrained(name, seed))
            return list(self._all(self._variant, range(len(self.study.variants))).values())
        finally:
            signal.signal(signal.SIGTERM, before)

    def _all(self, work: Callable[[Any, int], Run], items: Iterable[Any]) -> dict[tuple[Any, int], Run]:
        with ThreadPoolExecutor(self.jobs) as pool:
            started = {(i, seed): pool.submit(work, i, seed) for i in items for seed in self.study.seeds}
            try:
                return {key: future.result() for key, future in started.items()}
            except KeyboardInterrupt:
                self._stopping.set()
                for process in list(self._alive):
                    process.terminate()
                raise

    def _classifier(self, name: str, seed: int) -> Run:
        return self._experiment(Variant(name, self.study.classifiers[name]), seed, {})

    def _variant(self, index: int, seed: int) -> Run:
        variant = self.study.variants[index]
        name = variant.classifier
        if not name:
            return self._experiment(variant, seed, {})
        classifier = self._trained[name, seed]
        if classifier.error:
            return Run(variant, seed, classifier.folder, "its classifier failed")
        if variant.evaluates_only:
            return self._evaluate(variant, seed, classifier.folder)
        # Stored CAMs of another size would be computed anew by each variant in turn.
        cams = f"{folder_name(name)}-crop_{variant.flags.get('crop_size', 'default')}"
        own = {
            "pretrained_root": str(self._pretrained(name, seed)),
            "cams_root": str(self.out / "cams" / cams / f"seed_{seed}"),
        }
        return self._experiment(variant, seed, own)

    def _experiment(self, variant: Variant, seed: int, more: Flags) -> Run:
        own = {"MYSEED": str(seed), "exp_id": folder_name(variant.name), "exps_root": str(self.out / "exps")}
        flags = {**variant.flags, **more, **own}
        folder = experiment_dir(Config.from_values(flags))
        if (folder / "passed.txt").exists():
            return Run(variant, seed, folder)
        error = self._start(f"{variant.name} seed {seed}", flags)
        if not error and not (folder / "passed.txt").exists():
            error = "stopped before its end; start the study again to go on"
        return Run(variant, seed, folder, error)

    def _evaluate(self, variant: Variant, seed: int, trained: Path) -> Run:
        """Validation and test of a trained classifier with the variant's method, in a folder of their own."""
        folder = self.out / "evaluations" / folder_name(variant.name) / f"seed_{seed}"
        write_text(folder / "config.yml", (trained / "config.yml").read_text(encoding="utf-8"))
        for weights in trained.glob("*-cp_best_*"):
            (folder / weights.name).unlink(missing_ok=True)
            (folder / weights.name).symlink_to(weights.resolve(), target_is_directory=True)
        for split in (VAL, TEST):
            if not any(folder.glob(f"eval_*_{split}_*.json")):
                flags = {**variant.flags, "fd_exp": str(folder), "split": split}
                if error := self._start(f"{variant.name} seed {seed} {split}", flags):
                    return Run(variant, seed, folder, error)
        return Run(variant, seed, folder)

    def _start(self, title: str, flags: Flags) -> str:
        """Run main.py to its end; its error in one line, empty when it has none."""
        if self._stopping.is_set():
            return "not started"
        log = self.out / "logs" / f"{folder_name(title.replace(' ', '-'))}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{title}: see {log}", flush=True)
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        with log.open("ab") as stream:
            start = stream.tell()
            # A session of its own: Ctrl-C reaches this program alone, which then asks each run once to stop.
            process = subprocess.Popen(
                [*self.program, *words], stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
            self._alive.add(process)
            if self._stopping.is_set():
                process.terminate()
            code = process.wait()
            self._alive.discard(process)
        if code == 0:
            return ""
        lines = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
        reason = lines[-1].strip() if lines else f"ended with code {code}"
        print(f"{title}: failed: {reason}", flush=True)
        return reason

    def _pretrained(self, classifier: str, seed: int) -> Path:
        return self.out / "pretrained" / folder_name(classifier) / f"seed_{seed}"


def _promote(experiment: Path, target: Path) -> None:
    command = ["bash", str(ROOT / "cmds" / "promote.sh"), str(experiment), str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])
