"""The loaders of evaluation: worker processes that stay for the run, and memory that cards can copy from."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlib.configure.config import Config, parse_args
from dlib.datasets.batch import Batch
from dlib.datasets.splits import read_frames
from dlib.datasets.video_dataset import VideoDataset
from dlib.learning.evaluation import build_eval_loader, evaluate
from dlib.tasks.decoder import classifier
from dlib.tasks.std_cl import StdCl
from dlib.utils.signals import StopRequest
from helpers.workplace import DATASET, Workplace

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def settings(place: Workplace, **flags: Any) -> tuple[Config, VideoDataset]:
    cfg = parse_args(place.flags(dataset=DATASET, **flags))
    return cfg, read_frames(cfg, "val")


def test_one_loader_serves_every_validation_with_the_same_processes(workplace: Workplace) -> None:
    cfg, dataset = settings(workplace, num_workers=2)
    task = StdCl(cfg, dataset.metadata.class_names, CPU)
    stop = StopRequest(CPU)
    fresh = evaluate(task.maps, dataset, cfg, 0.1, stop, "fresh").to_dict()
    loader = build_eval_loader(cfg, dataset, CPU, keep_workers=True)
    processes, reports = [], []
    for _ in range(2):
        reports.append(evaluate(task.maps, dataset, cfg, 0.1, stop, "kept", loader).to_dict())
        processes.append([worker.pid for worker in loader._loader._iterator._workers])
    assert processes[0] == processes[1]
    assert len(processes[0]) == 2
    assert reports == [fresh, fresh]
    workers = loader._loader._iterator._workers
    loader.close()
    assert not any(worker.is_alive() for worker in workers)


def test_batches_for_a_card_are_page_locked(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, dataset = settings(workplace)
    assert build_eval_loader(cfg, dataset, CUDA)._loader.pin_memory
    assert not build_eval_loader(cfg, dataset, CPU)._loader.pin_memory

    asked: list[bool] = []

    class NoBatches(list[Batch]):
        while_waiting: Any = None

    def loader(*_: Any, pin_memory: bool, **__: Any) -> list[Batch]:
        asked.append(pin_memory)
        return NoBatches()

    monkeypatch.setattr(classifier, "frame_loader", loader)
    monkeypatch.setattr(classifier, "_fingerprint", lambda *_: {})
    cfg = cfg.replace(task="CoLo-CAM", sl_clc=True, freeze_cl=True)
    for device in (CUDA, CPU):
        seeder: Any = SimpleNamespace(model=torch.nn.Linear(1, 1), device=device)
        classifier.fill_cam_store(cfg, seeder, read_frames(cfg, "train"), StopRequest(CPU))
    assert asked == [True, False]


def test_numbers_that_group_frames_stay_on_the_cpu() -> None:
    numbers = torch.arange(3)
    raw = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    batch = Batch(raw, numbers, ["a", "b", "c"], numbers, numbers, numbers, numbers, torch.zeros(3, 4, 4))
    there = batch.to("meta")
    assert there.sequence.tolist() == there.order.tolist() == [0, 1, 2]
    assert {
        t.device.type
        for t in (there.frames, there.labels, there.indices, there.keys, there.cams)
        if t is not None
    } == {"meta"}
