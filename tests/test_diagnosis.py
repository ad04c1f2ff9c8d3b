"""What a run says of its maps and seeds: values worked by hand, and when they are measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlib.configure.config import Config
from dlib.datasets.splits import read_frames
from dlib.learning.messages import warn_of_collapse
from dlib.learning.trainer import Trainer
from dlib.learning.validation import Validation
from dlib.losses import LossInputs
from dlib.losses.colocam import SelfLearning
from dlib.metrics import BoxEvaluator, LocalizationReport
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.decoder.diagnosis import SeedPurity, diagnose_maps, seed_purity
from dlib.tasks.decoder.losses import build_losses
from dlib.utils.errors import UserError
from dlib.utils.logging import EventLog
from helpers.fake_training import trainer_of
from helpers.logs import events
from helpers.programs import start
from helpers.workplace import DATASET, Workplace, colocam_flags

IGNORE = -255


def inputs_of(foreground: list[list[float]], seeds: list[list[int]] | None = None) -> LossInputs:
    """Maps [B, 2, 1, W] whose foreground logits are given and whose background logits are 0."""
    logits = torch.zeros(len(foreground), 2, 1, len(foreground[0]))
    logits[:, 1, 0] = torch.tensor(foreground)
    logits.requires_grad_()
    count = torch.arange(len(logits))
    return LossInputs(
        map_logits=logits,
        probabilities=logits.softmax(dim=1),
        images=torch.zeros(len(logits), 3, 1, logits.shape[3]),
        sequence=count,
        order=count,
        seeds=None if seeds is None else torch.tensor(seeds)[:, None],
    )


def test_maps_by_hand() -> None:
    seeds = [[1, 1, 0, IGNORE], [0, 1, IGNORE, IGNORE]]
    found = diagnose_maps(inputs_of([[1, 2, 3, -1], [-1, -1, -1, -1]], seeds), {})
    # Shares 3/4 and 0; the second frame is nearly all background.
    assert float(found["fg_share_mean"]) == pytest.approx(0.375)
    assert float(found["fg_share_std"]) == pytest.approx(0.375)
    assert float(found["collapsed_share"]) == 0.5
    assert float(found["seed_agreement"]) == pytest.approx(3 / 5)  # not the third pixel, not the sixth
    assert "seed_agreement" not in diagnose_maps(inputs_of([[1.0, 2.0]]), {})
    full = diagnose_maps(inputs_of([[1.0] * 10, [1.0] * 9 + [-1]]), {})
    assert float(full["collapsed_share"]) == 0.5  # 90 % is the limit, and belongs to the living


def test_gradient_norms_by_hand() -> None:
    inputs = inputs_of([[0.0, math.log(3)]], [[1, 0]])
    terms = {
        "linear": 3 * inputs.map_logits.sum(),
        "sl_clc": SelfLearning(IGNORE, weight=2.0)(inputs).value,
        "elsewhere": torch.ones((), requires_grad=True) * 1.0,
        "constant": torch.ones(()),
    }
    found = diagnose_maps(inputs, terms)
    norms = {name: float(value) for name, value in found.items() if name.startswith("grad_norm/")}
    # Cross entropy: 2 (p - y) / n. First pixel p_fg = 1/2, y = 1; second p_fg = 3/4, y = 0; two maps each.
    by_hand = 2 / 2 * math.sqrt(2 * 0.5**2 + 2 * 0.75**2)
    assert norms == {
        "grad_norm/linear": pytest.approx(3 * math.sqrt(4)),
        "grad_norm/sl_clc": pytest.approx(by_hand, rel=1e-6),
        "grad_norm/elsewhere": 0.0,
    }
    total = terms["sl_clc"]
    total.backward()  # the graph is still there
    assert float(inputs.map_logits.grad.norm()) == pytest.approx(norms["grad_norm/sl_clc"])
    assert not any(name.startswith("grad_norm/") for name in diagnose_maps(inputs, terms, norms=False))


def test_balanced_seeds_by_hand() -> None:
    # Foreground seed with p = 1/2; background seeds with p_bg = 1/4 and 1/2; the last pixel is no seed.
    maps, seeds = [[0.0, math.log(3), 0.0, 5.0]], [[1, 0, 0, IGNORE]]
    ln2 = math.log(2)
    for balance, value in ((False, (ln2 + 2 * ln2 + ln2) / 3), (True, (ln2 + (2 * ln2 + ln2) / 2) / 2)):
        cfg = Config.from_values({"task": "CoLo-CAM", "sl_clc": True, "sl_clc_balance": balance})
        (term,) = (term for term in build_losses(cfg) if term.name == "sl_clc")
        assert float(term(inputs_of(maps, seeds)).unweighted) == pytest.approx(value, rel=1e-6)
    one_kind = SelfLearning(IGNORE, balance=True)(inputs_of(maps, [[IGNORE, 0, 0, IGNORE]]))
    assert float(one_kind.unweighted) == pytest.approx(
        (2 * ln2 + ln2) / 2 / 2, rel=1e-6
    )  # the empty set counts 0


def test_purity_by_hand() -> None:
    seeds = torch.full((3, 4, 4), IGNORE)
    seeds[0, 1, :] = 1  # columns 0..3 of row 1
    seeds[0, 3, 3] = 0  # background seeds do not count
    seeds[1, 0, 0] = seeds[1, 3, 3] = 1
    seeds[2, 2, 2] = 1
    boxes = [
        torch.tensor([[1, 1, 2, 3]]),  # columns 1 and 2
        torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]),  # the first seed, in both boxes, counts once
        torch.zeros(0, 4),
    ]
    assert seed_purity(seeds, boxes) == (3, 7)


class Seeds(SimpleNamespace):
    """A task whose foreground seeds are the high values of the CAM, and a seeder that sees the left half."""

    def __init__(self) -> None:
        super().__init__(device=torch.device("cpu"), own_model=None, passes=0, epochs=[])
        self.classifier = SimpleNamespace(device=self.device, low_resolution=self.low_resolution)

    seed_maps = None

    def recipe(self, epoch: int) -> Any:
        return CoLoCam.recipe(self, epoch)  # type: ignore[arg-type]

    def own_maps(self, epoch: int) -> Any:
        own = self.own_model is not None and CoLoCam.makes_own_maps(self, epoch)
        return SimpleNamespace(model=self.own_model) if own else None

    def low_resolution(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.passes += 1
        low = torch.zeros(len(images), 32, 32)
        low[:, :, :16] = 1.0
        return low, labels

    def source_cams(self, batch: Any, epoch: int) -> Tensor:
        return torch.ones(len(batch), 32, 32)

    def pseudo_labels(self, cams: Tensor, keys: Tensor, epoch: int) -> Any:
        self.epochs.append(epoch)
        return SimpleNamespace(seeds=(cams > 0.5).long())


def purity_of(place: Workplace, boxes: int, **flags: Any) -> tuple[Seeds, Callable[[int], float | None]]:
    cfg = Config.from_values(
        {
            "task": "CoLo-CAM",
            "sl_clc": True,
            "dataset": DATASET,
            "data_root": str(place.datasets),
            "metadata_root": str(place.folds),
            "crop_size": 32,
            "resize_size": 40,
            "batch_size": 16,
            "num_workers": 0,
            **flags,
        }
    )
    val = read_frames(cfg, "val")
    width, height = val.metadata.sizes[val.metadata.ids[0]]
    known = [np.array([[0.0, 0.0, width, height]]), np.array([[0.0, 0.0, width / 4, height]])]
    kept = dict(zip(val.metadata.ids, known[:boxes], strict=False))
    val.metadata = replace(val.metadata, boxes=kept)
    seeds = Seeds()
    seeds.cfg = cfg
    stop = SimpleNamespace(watch=lambda items: items, check=lambda: None, while_waiting=lambda: None)
    return seeds, SeedPurity(seeds, val, stop)  # type: ignore[arg-type]


def test_purity_leaves_frames_of_unknown_box_out(workplace: Workplace) -> None:
    _, purity = purity_of(workplace, boxes=2)
    # All of 16 columns, and of the quarter box (0 to 8, inclusive) 9 of 16. Ten more frames have no box.
    assert purity(1) == (16 + 9) / 32
    seeds, purity = purity_of(workplace, boxes=0)
    assert purity(1) is None
    assert seeds.passes == 0


def test_purity_is_found_again_where_the_seeds_change(workplace: Workplace) -> None:
    seeds, purity = purity_of(workplace, boxes=2)
    assert [purity(epoch) for epoch in range(1, 5)] == [25 / 32] * 4
    assert (seeds.passes, seeds.epochs) == (1, [1])
    flags = {"sl_clc_seed_tech": "seed_weighted", "sl_clc_seed_epoch_switch_uniform": 3}
    seeds, purity = purity_of(workplace, boxes=2, **flags)
    assert all(purity(epoch) for epoch in range(1, 6))
    assert (seeds.passes, seeds.epochs) == (1, [1, 3])  # another technique
    seeds, purity = purity_of(workplace, boxes=2, sl_clc_knn_t=5.0, sl_clc_min_t=1.0, **flags)
    assert all(purity(epoch) for epoch in range(1, 6))
    assert (seeds.passes, seeds.epochs) == (1, [1, 2, 3])  # another heat; the classifier's maps are kept


def test_purity_of_maps_of_its_own(workplace: Workplace) -> None:
    seeds, purity = purity_of(workplace, boxes=1, sl_clc_epoch_switch_to_sl=2)
    seeds.own_model = nn.Linear(1, 1)
    assert purity(1) == 1.0
    seeds.own_model = nn.Linear(1, 1)  # a new best: no matter, the classifier is the source
    assert purity(1) == 1.0
    assert seeds.epochs == [1]
    assert [purity(2), purity(3)] == [1.0, 1.0]
    assert seeds.epochs == [1, 2]
    seeds.own_model = nn.Linear(1, 1)
    assert purity(4) == 1.0
    assert seeds.epochs == [1, 2, 4]
    assert seeds.passes == 1


def asked(trainer: Trainer, epoch: int, steps: int | None = None) -> list[int]:
    """The places in the epoch at which the costly numbers are asked for."""
    found, step = [], trainer.task.training_step

    def watched(batch: Any, at: int, clock: Any, diagnose: bool) -> Any:
        if diagnose:
            found.append(trainer.position.step_in_epoch)
        return step(batch, at, clock, diagnose)

    trainer.task.training_step = watched  # type: ignore[method-assign]
    for _ in zip(range(steps or 99), trainer.train_epoch(epoch), strict=False):
        pass
    return found


@pytest.mark.parametrize(
    ("steps", "places"), [(1, [0]), (7, [0, 6]), (8, [0, 7]), (9, [0, 8]), (12, [0, 8, 11])]
)
def test_costly_numbers_come_first_and_last(steps: int, places: list[int], tmp_path: Path) -> None:
    assert asked(trainer_of(tmp_path, steps, set()), 1) == places


def test_costly_numbers_of_a_resumed_epoch(tmp_path: Path) -> None:
    first = trainer_of(tmp_path, 12, set())
    steps = first.train_epoch(1)
    for _ in range(3):
        next(steps)
    second = trainer_of(tmp_path, 12, set())
    second.load_state(first.state())
    assert asked(second, 1) == [8, 11]


def summary(epoch: int, collapsed: float | None, share: float = 0.0) -> dict[str, Any]:
    diagnostics = {} if collapsed is None else {"collapsed_share": collapsed, "fg_share_mean": share}
    return {"epoch": epoch, "step": 3 * epoch, "diagnostics": diagnostics}


def test_collapse_is_said_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.jsonl")
    for epoch, collapsed in enumerate((None, 0.5, 0.6, 1.0, 0.9)):
        warn_of_collapse(log, summary(epoch, collapsed, 0.97), CoLoCam.advice)
    (said,) = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert (said["event"], said["epoch"], said["step"]) == ("warning", 2, 6)
    assert "60% of the frames are nearly all foreground (mean foreground share 97%)" in said["message"]
    assert "cmds/colocam_small.sh" in said["message"]


def test_collapse_in_the_last_epoch_of_a_run(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cheap numbers of each of six minibatches an epoch; the norms of the first and the last."""
    norms: list[bool] = []

    def measured(inputs: Any, terms: Any, norms: bool, asked: list[bool] = norms) -> dict[str, Tensor]:
        asked.append(norms)
        share = torch.tensor(1.0 if len(asked) > 6 else 0.0)
        return {"collapsed_share": share, "fg_share_mean": torch.tensor(0.01)}

    monkeypatch.setattr("dlib.tasks.decoder.task.diagnose_maps", measured)
    place = Workplace(tmp_path, trained.datasets, trained.folds)
    flags = place.flags("CoLo-CAM", **colocam_flags(), pretrained_root=trained.folder / "pretrained")
    code, _, error = start(flags)
    assert code == 0, error
    assert norms == [True, False, False, False, False, True] * 2
    folder = place.experiment("CoLo-CAM")
    (said,) = events(folder, "warning")
    assert said["epoch"] == 2
    assert "100% of the frames are nearly all background" in said["message"]
    assert (folder / "log.txt").read_text().count("the maps collapse") == 1
    assert error.count("the maps collapse") == 1


def scored(hits: int, classes: list[str]) -> LocalizationReport:
    """A report with CorLoc 10·hits % in each of three classes."""
    evaluator = BoxEvaluator(classes, interval=0.5)
    cam = np.zeros((10, 10), np.float32)
    cam[2:6, 2:6] = 1.0
    for label in range(3):
        boxes = [[[2, 2, 6, 6]] if i < hits else [[8, 8, 9, 9]] for i in range(10)]
        indices = range(10 * label, 10 * label + 10)
        evaluator.update(
            np.stack([cam] * 10), np.full(10, label), np.tile(np.eye(3)[label], (10, 1)), boxes, indices
        )
    return evaluator.compute()


@pytest.mark.parametrize(("patience", "last"), [(2, 3), (3, 7), (0, 8)])
def test_early_stop_ends_the_run(
    patience: int, last: int, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CorLoc of epochs 0, 1, … as given; a tie is no progress."""
    scores = iter([1, 3, 3, 2, 5, 4, 5, 1, 0])

    def after_epoch(validation: Validation, maker: Any) -> Any:
        return scored(next(scores), validation._frames.metadata.class_names)

    monkeypatch.setattr(Validation, "after_epoch", after_epoch)
    monkeypatch.setattr(Trainer, "train_epoch", quick_epoch)
    code, out, error = start(workplace.flags(max_epochs=8, early_stop_patience=patience))
    assert code == 0, error
    folder = workplace.experiment()
    results = json.loads((folder / "results.json").read_text())
    assert [entry["epoch"] for entry in results["epochs"]] == list(range(last + 1))
    assert results["best"]["best_localization"]["epoch"] == (1 if patience == 2 else 4)
    assert ("training ends early" in out) == (last < 8)
    assert (folder / "passed.txt").exists()


def quick_epoch(trainer: Trainer, epoch: int) -> Any:
    """An epoch that trains nothing, one step long."""
    trainer.position = replace(
        trainer.position,
        epoch=epoch,
        step=epoch,
        trained=True,
        validated=False,
        sums={"images": 1.0, "elapsed": 1.0},
        counts={"images": 1.0, "elapsed": 1.0},
    )
    yield epoch


def test_a_resumed_epoch_says_the_same(
    trained: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after minibatch 9, the third of epoch 2, and gone on from 8."""
    pretrained = trained.folder / "pretrained"
    said, step = [], Trainer._step

    def failing(trainer: Trainer, *arguments: Any) -> Any:
        if trainer.position.step == 9:
            raise UserError("power cut")
        return step(trainer, *arguments)

    for name, cut in (("whole", False), ("cut", True)):
        place = Workplace(tmp_path / name, trained.datasets, trained.folds)
        more = colocam_flags(freeze_decoder_bn=False, opt__lr=1e-4, checkpoint_save=4)
        flags = place.flags("CoLo-CAM", **more, pretrained_root=pretrained, cams_root=tmp_path / "cams")
        if cut:
            with monkeypatch.context() as patch:
                patch.setattr(Trainer, "_step", failing)
                assert start(flags)[0] == 1
        code, out, error = start(flags)
        assert code == 0, error
        assert ("epoch 2, step 8" in out) == cut
        said.append([e["diagnostics"] for e in events(place.experiment("CoLo-CAM"), "epoch")])
    assert said[0] == said[1]
    assert [len(found["grad_norms"]) for found in said[0]] == [8, 8]
