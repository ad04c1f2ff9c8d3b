"""One experiment from its flags to ``passed.txt``: read ``TrainingRun.run`` from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch

from dlib.configure.config import Config, experiment_dir
from dlib.configure.constants import BEST_LOCALIZATION, tested_criteria
from dlib.datasets.splits import Data, build_train_loader, load_data
from dlib.learning.best import BestModels
from dlib.learning.checkpoints import CheckpointFolder
from dlib.learning.dry_run import show_plan
from dlib.learning.evaluation import evaluate
from dlib.learning.folder import ExperimentFolder, command_line, locked
from dlib.learning.messages import (
    epoch_summary,
    say_epoch,
    say_final_validation,
    say_length,
    say_validation,
    say_what_runs,
    warn_of_collapse,
)
from dlib.learning.pictures import draw_examples, draw_progress, draw_test, draw_train_progress
from dlib.learning.precision import choose_precision
from dlib.learning.preferred import keep_better
from dlib.learning.profiling import StepProfile
from dlib.learning.results import Results, as_text
from dlib.learning.trackers import open_event_log
from dlib.learning.trainer import Trainer
from dlib.learning.validation import Validation
from dlib.models import MapMaker, load_best_model
from dlib.tasks import build_task
from dlib.utils import distributed
from dlib.utils.environment import most_memory
from dlib.utils.errors import Diverged, UserError
from dlib.utils.logging import logger, start_logging
from dlib.utils.reproducibility import seed_all, use_deterministic_algorithms
from dlib.utils.signals import Interrupted, StopRequest
from dlib.utils.text import duration


def run(cfg: Config) -> None:
    """Run the experiment that the flags describe, or resume it.

    Raises UserError for what the user can fix, Interrupted when a signal asked the run to stop.
    """
    device = distributed.device_of_process(cfg.device, cfg.cudaid, cfg.local_rank)
    with distributed.process_group(cfg.dist_backend, cfg.local_world_size, cfg.init_method, device):
        start_logging(None, distributed.is_main(), cfg.verbose, cfg.progress)
        folder = ExperimentFolder(experiment_dir(cfg))
        if distributed.broadcast_object(folder.passed):
            logger.info(
                f"finished before: {folder.path / 'passed.txt'} is there; another --exp_id starts a new run"
            )
            return
        data = load_data(cfg)
        cfg = cfg.replace(num_classes=len(data.classes))
        if cfg.dry_run:
            show_plan(cfg, data, device)
            return
        with locked(folder, cfg):
            training = TrainingRun(cfg, folder, data, device)
            try:
                training.run()
            finally:
                training.task.close()


class TrainingRun:
    """The parts of one run, and the order in which they are used."""

    def __init__(self, cfg: Config, folder: ExperimentFolder, data: Data, device: torch.device) -> None:
        self.cfg, self.folder, self.path, self.data = cfg, folder, folder.path, data
        self.stop = StopRequest(device)
        log = folder.path / "log.jsonl" if distributed.is_main() else None
        self.events = open_event_log(log, cfg.log_to, cfg.tensorboard, cfg.to_dict())
        environment = folder.describe(cfg, device) if distributed.is_main() else {"device": ""}
        say_what_runs(cfg, data, environment, folder.path)
        seed_all(cfg.seed)
        use_deterministic_algorithms(cfg.deterministic)
        self.task = build_task(cfg, data.classes, device)
        self.task.set_sampling(data.train)
        loader = build_train_loader(cfg, data.train, pin_memory=device.type == "cuda")
        loader.while_waiting = self.stop.while_waiting
        say_length(cfg, loader)
        self.trainer = Trainer(cfg, self.task, loader, self.events)
        self.profile = StepProfile(cfg.profile if distributed.is_main() else 0, folder.path, device)
        self.validation = Validation(cfg, data.val, device, self.stop)
        self.checkpoints = CheckpointFolder(
            folder.path / "checkpoints", cfg.keep_last_n_checkpoints, folder.path.name
        )
        self.best = BestModels(cfg, folder.path, self.checkpoints, data.classes, self.task.trains_maps)
        self.results = Results(folder.path, cfg, data.classes, environment, command_line())
        splits = {"train": data.train, "val": data.val, "test": data.test}
        self.results.content["data"] = {name: split.metadata.fingerprint for name, split in splits.items()}
        self.results.content["parameters"] = sum(p.numel() for p in self.task.model.parameters())

    def run(self) -> None:
        """The complete run. If the network diverges: UserError that names the checkpoint to resume from."""
        try:
            self._run()
        except Diverged as error:
            intact = self.checkpoints.set_aside_unproven() if distributed.is_main() else None
            more = f"; the same command then resumes from {intact}" if intact else ""
            raise UserError(f"{error}{more}") from error
        finally:
            self.profile.close()
            self.events.flush()

    def _run(self) -> None:
        """Train, validating after every epoch (and before the first), then test the best weights."""
        start = time.perf_counter()
        self.task.prepare(self.data, self.stop)
        prepared = time.perf_counter() - start
        resumed = self._resume()
        choose_precision(self.cfg, self.task)
        # A resumed run has just restored the seconds before it.
        self.results.add_seconds("prepare_s", prepared)
        if distributed.is_main():
            self.folder.write(self.cfg, self.results.content["environment"])
        if not resumed:
            self._begin()
        if not self.trainer.position.trained:
            self._train(self.trainer.position.epoch)
        if not self.trainer.position.validated:
            self._validate()
        while not self._finished():
            self._train(self.trainer.position.epoch + 1)
            self._validate()
        self._test()

    def _begin(self) -> None:
        environment = self.results.content["environment"]
        config = self.cfg.to_dict()
        self.events.forget_after(-1, validated=False)
        self.events.write(
            "start", task=self.cfg.task, config=config, command=command_line(), environment=environment
        )
        if distributed.is_main():
            draw_examples(self.task.examples(self.data), self.path)

    def _train(self, epoch: int) -> None:
        start = time.perf_counter()
        for step in self._steps(epoch):
            self.profile.step()
            if self.trainer.sound_since_state and distributed.is_main():
                self.checkpoints.prove()
            stopping = self.stop.agreed()
            if stopping or step % self.cfg.checkpoint_save == 0:
                start = self._count_seconds("train_s", start)
                self._save()
            if stopping:
                raise Interrupted(
                    f"{self.stop.reason}: step {step} is saved, the same command resumes from there"
                )
        self._count_seconds("train_s", start)
        self._save()

    def _steps(self, epoch: int) -> Iterator[int]:
        """The steps of an epoch. A run that must stop while it waits for data saves the steps before, if it can."""
        try:
            yield from self.trainer.train_epoch(epoch)
        except Interrupted as reason:
            if distributed.world_size() > 1:  # the other processes still compute
                raise
            self._save()
            step = self.trainer.position.step
            raise Interrupted(f"{reason}, step {step} is saved") from None

    def _conclude_epoch(self) -> None:
        """Log how the epoch went: after its checkpoint, and again in a run that resumes from that checkpoint."""
        summary = epoch_summary(self.trainer, self.task.diagnostics(self.trainer.position.epoch))
        self.events.write("epoch", **summary)
        say_epoch(self.cfg, summary)
        warn_of_collapse(self.events, summary, self.task.advice)

    def _validate(self) -> None:
        position = self.trainer.position
        if position.epoch > 0:
            self._conclude_epoch()
        start = time.perf_counter()
        average = self.trainer.average
        with average.applied_to(self.task.model) if average else nullcontext():
            report = self.validation.after_epoch(self.task.maps)
            improved = self.best.update(report, position.epoch, position.step, self.task.maps)
            if BEST_LOCALIZATION in improved:
                self.task.on_new_best()
        for criterion in improved:
            self.results.content["val"][criterion] = report.to_dict()
        best = self.best.state()
        self.results.add_validation(position.epoch, position.step, report, position.means(), best)
        position.validated = True
        self._count_seconds("validation_s", start)
        plain = report.to_dict(curves=False)
        self.events.write("validation", epoch=position.epoch, step=position.step, report=plain, best=best)
        tested = tested_criteria(self.cfg.task, self.cfg.freeze_cl)
        say_validation(position.epoch, report, [criterion for criterion in improved if criterion in tested])
        self._save()
        if distributed.is_main():
            self.results.write()
            draw_progress(self.cfg, self.path, curves=False)
            if self.cfg.plot_tr_cam_progress:
                draw_train_progress(self.cfg, self.task, self.data.train, position.epoch, self.path)

    def _test(self) -> None:
        start = time.perf_counter()
        self.validation.close()
        if distributed.is_main():
            self.checkpoints.prove()  # the numbers of the validation were finite
        makers = self.task.references()
        references = {name: self._measure_reference(name, maker) for name, maker in makers.items()}
        for criterion in tested_criteria(self.cfg.task, self.cfg.freeze_cl):
            load_best_model(self.task.model, self.best.weights(criterion))
            if self.cfg.val_fast:
                self._validate_as_tested(criterion)
            report = evaluate(
                self.task.maps, self.data.test, self.cfg, self.cfg.cam_curve_interval, self.stop, "test"
            )
            if distributed.is_main():
                entry = self.results.add_test(criterion, report)
                self.events.write("test", criterion=criterion, report={**entry, "curves": None})
                logger.info("\n" + as_text(criterion, entry))
                draw_test(self.cfg, self.task, self.data.test, report, self.path / criterion, references)
        self._count_seconds("test_s", start)
        total = self.results.times["total_s"]
        self.results.content["peak_memory_mib"] = round(most_memory(self.task.device) / 2**20)
        self.events.write("end", seconds=total)
        if distributed.is_main():
            if classifier := makers.get("classifier"):
                keep_better(self.path, self.cfg, self.data.classes, classifier, self.results)
            self.results.write()
            draw_progress(self.cfg, self.path, curves=True)
            entry = self.results.content["test"][BEST_LOCALIZATION]
            self.folder.pass_(as_text(BEST_LOCALIZATION, entry))
            logger.info(f"done in {duration(total)}: {self.path}")
        distributed.barrier()

    def _validate_as_tested(self, criterion: str) -> None:
        """Validate the best weights in all views: thresholds and the comparison with the classifier need it."""
        report = self.validation.as_tested(self.task.maps)
        self.results.content["val"][criterion] = report.to_dict()
        say_final_validation(criterion, report)

    def _measure_reference(self, name: str, maker: MapMaker) -> dict[str, Any]:
        """CorLoc of a reference's maps on validation and on test; returns that of test."""
        cfg, label = self.cfg, f"{name}'s CAMs on"
        val = self.validation.as_tested(maker, f"{label} val")
        test = evaluate(maker, self.data.test, cfg, cfg.cam_curve_interval, self.stop, f"{label} test")
        return self.results.add_reference(name, val.to_dict(), test)

    def _finished(self) -> bool:
        epoch = self.trainer.position.epoch
        patience = self.cfg.early_stop_patience
        best = self.best.records.get(BEST_LOCALIZATION)
        if patience > 0 and best and epoch - best["epoch"] >= patience:
            logger.info(f"no better validation localization for {patience} epochs: training ends early")
            return True
        return epoch >= self.cfg.max_epochs

    def _save(self) -> None:
        self.trainer.check_finite()
        if distributed.is_main():
            state = {**self.trainer.state(), "best": self.best.state(), "results": self.results.history()}
            self.checkpoints.save(self.trainer.position.step, state)
        distributed.barrier()

    def _resume(self) -> bool:
        """Resume from the newest intact checkpoint; False if there is none."""
        found = distributed.broadcast_object(self.checkpoints.newest() if distributed.is_main() else None)
        if found is None:
            return False
        path, state = found
        try:
            self.trainer.load_state(state)
            self.best.restore(state["best"])
            self.results.restore(state["results"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{path} does not fit the flags of this run ({reason}): give the flags that it was started with "
                f"({self.path / 'config.yml'}), or another --exp_id"
            ) from error
        if self.best.records:
            self.task.restore_best(self.best.weights(BEST_LOCALIZATION))
        position = self.trainer.position
        self.events.forget_after(position.step, position.validated)
        self.events.write("resume", at_step=position.step, checkpoint=str(path))
        logger.info(f"resuming from {path}: epoch {position.epoch}, step {position.step}")
        return True

    def _count_seconds(self, kind: str, start: float) -> float:
        now = time.perf_counter()
        self.results.add_seconds(kind, now - start)
        return now
