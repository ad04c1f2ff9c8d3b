"""Gradients of one minibatch of every task, in a run of one or of several processes."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from dlib.configure.config import Config, experiment_dir, parse_args
from dlib.datasets.splits import load_data
from dlib.learning.experiment import TrainingRun
from dlib.learning.folder import ExperimentFolder, locked
from dlib.utils import distributed
from dlib.utils.timing import StepClock

DEVICE = torch.device("cpu")


def gradients_by_task(lines: list[list[str]], processes: int) -> dict[str, dict[str, Any]]:
    """By the second word of each command line: ids of the first minibatch, and gradients by parameter's name. Batch
    norm evaluates.
    """
    with distributed.process_group("gloo", processes, "", DEVICE):
        return {words[1]: _gradients(parse_args(words)) for words in lines}


def _gradients(cfg: Config) -> dict[str, Any]:
    data, folder = load_data(cfg), ExperimentFolder(experiment_dir(cfg))
    cfg = cfg.replace(num_classes=len(data.classes))
    with locked(folder, cfg):
        experiment = TrainingRun(cfg, folder, data, DEVICE)
        task = experiment.task
        task.prepare(data, experiment.stop)
        task.model.train()
        for module in task.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        loader = experiment.trainer.loader
        loader.set_epoch(1)
        batch = next(iter(loader.iterate(1)))
        result = task.training_step(batch, 1, StepClock(), False)
        result.loss.backward()
        found = {n: p.grad for n, p in task.model.named_parameters() if p.grad is not None}
        task.close()
        return {"ids": sorted(batch.ids), "gradients": found}
