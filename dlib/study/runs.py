"""Running a study: each run is a training in its own process. A finished run is skipped, an interrupted one resumed."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dlib.configure.config import Config, command_line_words, experiment_dir
from dlib.configure.constants import TEST, VAL, spellings
from dlib.promote import promote
from dlib.study.kept import is_begun, is_evaluated, refuse_changed
from dlib.study.plan import Flags, Study, Variant, folder_name
from dlib.utils.files import write_text
from dlib.utils.filesystem import link_folder

_SPLITS = (VAL, TEST)
# Flags kept beside a result: of the classifier that a run builds on, and of an evaluation.
_BUILT_ON, _EVALUATED_AS = "classifier.yml", "evaluation.yml"


@dataclass(frozen=True)
class Run:
    """A variant (or classifier) with one seed; ``folder`` holds its results, or ``error`` says why not."""

    variant: Variant
    seed: int
    folder: Path
    error: str = ""


@dataclass
class Runner:
    """Starts the runs of ``study`` below ``out``, ``jobs`` at a time. ``program``: what stands for ``main.py``.

    Raises UserError before the first run if ``out`` holds results of other flags.
    """

    study: Study
    out: Path
    jobs: int = 1
    program: tuple[str, ...] = (sys.executable, "-m", "dlib.train")
    _trained: dict[tuple[str, int], Run] = field(default_factory=dict)
    _alive: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        variants = [*self.study.classifiers.values(), *self.study.variants]
        for variant, seed in itertools.product(variants, self.study.seeds):
            self._refuse_changed(variant, seed)

    def run(self) -> list[Run]:
        """All classifiers, then all variants; the variants' outcomes in the study's order.

        Raises KeyboardInterrupt after Ctrl-C or SIGTERM, once every started run has saved itself.
        """
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for found in self._all(self.study.classifiers.values()):
                self._trained[found.variant.name, found.seed] = found
                if not found.error:
                    promote(found.folder, self._pretrained(found.variant.name, found.seed))
            return self._all(self.study.variants)
        finally:
            signal.signal(signal.SIGTERM, before)

    def _all(self, variants: Iterable[Variant]) -> list[Run]:
        with ThreadPoolExecutor(self.jobs) as pool:
            started = [pool.submit(self._run, v, seed) for v in variants for seed in self.study.seeds]
            try:
                return [future.result() for future in started]
            except KeyboardInterrupt:
                self._stopping.set()
                for process in list(self._alive):
                    process.terminate()
                raise

    def _run(self, variant: Variant, seed: int) -> Run:
        name = variant.classifier
        if not name:
            return self._experiment(variant, seed, {})
        classifier = self._trained[name, seed]
        if classifier.error:
            return Run(variant, seed, classifier.folder, "its classifier failed")
        if variant.evaluates_only:
            return self._evaluate(variant, seed, classifier.folder)
        # With one folder, variants with different crop sizes would compute each other's stored CAMs again.
        crop = variant.flags.get("crop_size", "default")
        cams = _existing(name, lambda named: self.out / "cams" / f"{named}-crop_{crop}" / f"seed_{seed}")[1]
        own = {"pretrained_root": str(self._pretrained(name, seed)), "cams_root": str(cams)}
        if not is_begun(folder := self._place(variant, seed)[0]):
            write_text(folder / _BUILT_ON, (classifier.folder / "config.yml").read_text(encoding="utf-8"))
        return self._experiment(variant, seed, own)

    def _place(self, variant: Variant, seed: int) -> tuple[Path, Flags]:
        """The run's folder, and its flags, those included that the study sets itself."""
        if variant.evaluates_only:
            folder = _existing(variant.name, lambda name: self.out / "evaluations" / name / f"seed_{seed}")[1]
            return folder, {**variant.flags, "fd_exp": str(folder)}

        def flags(name: str) -> Flags:
            own = {"MYSEED": str(seed), "exp_id": name, "exps_root": str(self.out / "exps")}
            return {**variant.flags, **own}

        name, folder = _existing(variant.name, lambda name: experiment_dir(Config.from_values(flags(name))))
        return folder, flags(name)

    def _refuse_changed(self, variant: Variant, seed: int) -> None:
        """UserError if the run's folder holds results, complete or not, of other flags."""
        (folder, flags), evaluates = self._place(variant, seed), variant.evaluates_only
        if not (is_evaluated(folder) if evaluates else is_begun(folder)):
            return
        title = f"{variant.name} seed {seed}"
        own, built_on = (_EVALUATED_AS, "config.yml") if evaluates else ("config.yml", _BUILT_ON)
        if name := variant.classifier:
            _, classifier = self._place(self.study.classifiers[name], seed)
            refuse_changed(folder / built_on, Config.from_values(classifier), title, of=" of its classifier")
        refuse_changed(folder / own, Config.from_values(flags), title, evaluation=evaluates)

    def _experiment(self, variant: Variant, seed: int, more: Flags) -> Run:
        folder, flags = self._place(variant, seed)
        if (folder / "passed.txt").exists():
            return Run(variant, seed, folder)
        error = self._start(f"{variant.name} seed {seed}", {**flags, **more})
        if not error and not (folder / "passed.txt").exists():
            error = "stopped before its end; start the study again to continue"
        return Run(variant, seed, folder, error)

    def _evaluate(self, variant: Variant, seed: int, trained: Path) -> Run:
        """Validation and test of a trained classifier with the variant's method, in their own folder."""
        folder, flags = self._place(variant, seed)
        if not (is_evaluated(folder) and (folder / _EVALUATED_AS).exists()):
            # It is not known how a result that may already be here was measured.
            for left in folder.glob("eval_*.json"):
                left.unlink()
            write_text(folder / _EVALUATED_AS, Config.from_values(flags).to_yaml())
        write_text(folder / "config.yml", (trained / "config.yml").read_text(encoding="utf-8"))
        for weights in trained.glob("*-cp_best_*"):
            link_folder(weights, folder / weights.name)
        for split in _SPLITS:
            title = f"{variant.name} seed {seed} {split}"
            if not is_evaluated(folder, split) and (error := self._start(title, {**flags, "split": split})):
                return Run(variant, seed, folder, error)
        return Run(variant, seed, folder)

    def _start(self, title: str, flags: Flags) -> str:
        """Run main.py to its end; its error in one line, empty when it has none."""
        if self._stopping.is_set():
            return "not started"
        log = self.out / "logs" / f"{folder_name(title.replace(' ', '-'))}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"{title}: see {log}", flush=True)
        with log.open("ab") as stream:
            start = stream.tell()
            words = [*self.program, *command_line_words(flags)]
            # Its own session: Ctrl-C reaches only this program, which then asks each run once to stop.
            process = subprocess.Popen(words, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
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


def _existing(title: str, place: Callable[[str], Path]) -> tuple[str, Path]:
    """Name for files and folder of ``title``; an existing one with an earlier spelling of a CAM method is kept."""
    named = [(name, place(name)) for name in map(folder_name, spellings(title))]
    return next((found for found in named if found[1].is_dir()), named[0])
