"""Flags of CoLo-CAM's losses and seeds, and of the classifier's loss, through the task that a run builds of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from skimage.filters import threshold_otsu

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.learning.pictures import draw_train_progress
from dlib.losses import LossInputs
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.decoder.labels import PseudoLabels
from dlib.tasks.decoder.losses import build_losses
from dlib.tasks.std_cl import StdCl, classification_loss
from dlib.utils.timing import StepClock

CPU = torch.device("cpu")
SIDE = 24


def config(**flags: Any) -> Config:
    tiny = {"encoder_name": "resnet18", "encoder_weights": None, "crop_size": SIDE, "resize_size": SIDE}
    return Config.from_values({"task": "CoLo-CAM", "freeze_cl": True, "sl_clc": True, **tiny, **flags})


def inputs(**more: Any) -> LossInputs:
    """Two frames of one video with maps, seeds and everything else that a term may ask for."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, SIDE, SIDE, generator=generator)
    given: dict[str, Any] = {
        "map_logits": logits,
        "probabilities": logits.softmax(dim=1),
        "images": torch.rand(2, 3, SIDE, SIDE, generator=generator) * 255,
        "sequence": torch.zeros(2, dtype=torch.int64),
        "order": torch.arange(2),
        "seeds": torch.randint(0, 2, (2, SIDE, SIDE), generator=generator),
        "deep_features": torch.rand(2, 4, SIDE, SIDE, generator=generator) * 255,
        "roi_boxes": torch.tensor([[2, 2, 9, 9], [0, 0, 5, 5]]),
        "fg_sizes": torch.tensor([0.2, 0.1]),
        "class_logits": torch.randn(2, 3, generator=generator),
        "labels": torch.tensor([0, 2]),
    }
    return LossInputs(**{**given, **more})


def loss(epoch: int = 1, given: LossInputs | None = None, **flags: Any) -> dict[str, float]:
    """Weighted value of every term that is on in ``epoch``."""
    _, terms, _ = build_losses(config(**flags))(given or inputs(), epoch, StepClock())
    return {name: float(value) for name, value in terms.items()}


TERMS = (
    "crf_clc",
    "rgb_jcrf_clc",
    "max_sizepos_clc",
    "min_entropy_clc",
    "size_bg_g_fg_clc",
    "sizefg_tmp_clc",
)
TERMS += ("empty_out_bb_clc", "sl_clc")


@pytest.mark.parametrize("term", TERMS)
def test_every_term_has_its_switch_weight_and_epochs(term: str) -> None:
    off = {"sl_clc": False, "min_entropy_clc": True}
    other = "min_entropy_clc" if term != "min_entropy_clc" else "sl_clc"
    assert term not in loss(**{**off, other: True, term: False})
    flags = {**off, term: True, f"{term}_lambda": 2.0, f"{term}_start_ep": 3, f"{term}_end_ep": 4}
    assert [term in loss(epoch, **flags) for epoch in range(1, 7)] == [False, False, True, True, False, False]
    value = loss(3, **flags)[term]
    assert value != 0
    assert loss(3, **{**flags, f"{term}_lambda": 4.0})[term] == pytest.approx(2 * value, rel=1e-5)
    assert term in loss(1000, **{**flags, f"{term}_end_ep": -1})


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("crf_clc_scale", (1.0, 0.5)),
        ("crf_clc_sigma_rgb", (15.0, 60.0)),
        ("crf_clc_sigma_xy", (100.0, 3.0)),
        ("rgb_jcrf_clc_scale", (1.0, 0.5)),
        ("rgb_jcrf_clc_sigma_rgb", (15.0, 60.0)),
        ("rgb_jcrf_clc_input_data", ("image", "deep_features", "cam_logits")),
        ("sizefg_tmp_clc_eps", (0.001, 0.3)),
        ("elb_init_t", (1.0, 5.0)),
    ],
)
def test_every_setting_changes_its_term(flag: str, values: tuple[Any, ...]) -> None:
    term = flag.split("_clc")[0] + "_clc" if "_clc" in flag else "size_bg_g_fg_clc"
    found = [loss(**{term: True, f"{term}_lambda": 1.0, flag: value})[term] for value in values]
    assert all(abs(a - b) > 1e-3 * abs(a) for a, b in itertools.pairwise(found))


def test_deep_features_are_averaged_to_the_named_number() -> None:
    flags = {"rgb_jcrf_clc": True, "rgb_jcrf_clc_lambda": 1.0, "rgb_jcrf_clc_input_data": "deep_features"}
    deep = inputs().deep_features
    assert deep is not None
    halves = deep.view(2, 2, 2, SIDE, SIDE).mean(dim=2)
    assert loss(**flags, rgb_jcrf_clc_input_re_dim=2) == pytest.approx(
        loss(given=inputs(deep_features=halves), **flags)
    )
    assert loss(**flags, rgb_jcrf_clc_input_re_dim=2) != pytest.approx(loss(**flags))


def test_joint_term_is_adaptive_warmed_up_and_weighted_by_agreement() -> None:
    flags = {"rgb_jcrf_clc": True, "rgb_jcrf_clc_lambda": 9.0, "rgb_jcrf_clc_lambda_style": "adaptive"}
    assert loss(**flags)["rgb_jcrf_clc"] == pytest.approx(-9)
    ramp = [loss(epoch, **flags, rgb_jcrf_clc_warmup_ep=3)["rgb_jcrf_clc"] for epoch in range(1, 6)]
    assert ramp == pytest.approx([-3, -6, -9, -9, -9])
    # Seeds that are the maps' own labels, then with the first frame's foreground seeds turned to background.
    says = inputs().map_logits.argmax(dim=1)
    mixed = torch.stack([torch.zeros_like(says[0]), says[1]])
    flags["rgb_jcrf_clc_seed_agreement"] = True
    assert loss(given=inputs(seeds=says), **flags)["rgb_jcrf_clc"] == pytest.approx(-9)
    right = float(((says == 0) & (mixed == 0)).sum() / (mixed == 0).sum())
    assert loss(given=inputs(seeds=mixed), **flags)["rgb_jcrf_clc"] == pytest.approx(-9 * right, rel=1e-5)
    assert loss(given=inputs(seeds=1 - says), **flags)["rgb_jcrf_clc"] == 0


def test_the_barrier_hardens_by_its_flags() -> None:
    losses = build_losses(config(max_sizepos_clc=True, elb_init_t=2.0, elb_mulcoef=3.0, elb_max_t=10.0))
    seen = []
    for _ in range(3):
        seen.append([float(v) for k, v in losses.state_dict().items() if k.endswith(".t")])
        losses.update_t()
    assert [set(values) for values in seen] == [{2.0}, {6.0}, {10.0}]


@pytest.mark.parametrize(("on", "share"), [(True, 0.3), (True, 0.0), (False, 0.3)])
def test_label_smoothing_by_hand(on: bool, share: float) -> None:
    flags = {"std_label_smooth": on, "std_label_smooth_e": share}
    given = inputs()
    logits, labels = given.class_logits, given.labels
    assert logits is not None
    assert labels is not None
    target = torch.nn.functional.one_hot(labels, 3) * (1 - share * on) + share * on / 3
    truth = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
    found, correct = classification_loss(Config.from_values(flags), logits, labels)
    assert float(found) == pytest.approx(float(truth), rel=1e-5)
    assert int(correct) == int((logits.argmax(1) == labels).sum())
    # CoLo-CAM with a classifier that is not frozen has the same term.
    terms = loss(**flags, freeze_cl=False)
    assert any(value == pytest.approx(float(truth), rel=1e-5) for value in terms.values())
    assert len(terms) == len(loss(**flags)) + 1


@pytest.fixture(scope="module")
def task() -> CoLoCam:
    return CoLoCam(config(), ["a", "b", "c"], CPU, initialize=False)


@pytest.fixture
def cams() -> torch.Tensor:
    """A wide low blob, apart from it a small high one, on a slope."""
    cam = torch.linspace(0, 0.1, SIDE).repeat(SIDE, 1)
    cam[3:15, 3:13] += 0.6
    cam[16:22, 16:22] += 0.85
    return cam[None] / cam.max()


def labels(task: CoLoCam, cams: torch.Tensor, epoch: int = 1, **flags: Any) -> PseudoLabels:
    given = {"sl_clc_max": 40, "sl_clc_min": 40, "sl_clc_ksz": 1, "sl_clc_use_roi": True}
    task.cfg = config(**{**given, "sl_clc_roi_method": "largest", **flags})
    return task.pseudo_labels(cams, torch.tensor([7]), epoch)


def test_region_of_interest_flags(task: CoLoCam, cams: torch.Tensor) -> None:
    def box(**flags: Any) -> list[int]:
        return labels(task, cams, **flags).roi_boxes[0].tolist()

    assert box(sl_clc_roi_method="largest") == [3, 3, 12, 14]
    assert box(sl_clc_roi_method="roi_high_density") == [16, 16, 21, 21]
    # Its 36 pixels are 6.25 % of the frame: below a least size of 10 % the biggest takes its place.
    assert box(sl_clc_roi_method="roi_high_density", sl_clc_roi_min_size=0.1) == [3, 3, 12, 14]
    assert box(sl_clc_roi_method="roi_all") == [0, 0, SIDE - 1, SIDE - 1]

    def foreground(**flags: Any) -> torch.Tensor:
        return labels(task, cams, sl_clc_max_p=1.0, sl_clc_max=10_000, sl_clc_min=0, **flags).seeds[0] == 1

    assert int(foreground().sum()) == 120
    assert int(foreground(sl_clc_fg_erode_k=3, sl_clc_fg_erode_iter=1).sum()) == 80
    assert int(foreground(sl_clc_fg_erode_k=3, sl_clc_fg_erode_iter=2).sum()) == 48
    assert int(foreground(sl_clc_use_roi=False).sum()) == SIDE * SIDE
    cams[0, 3:8, 3:8] = 0
    assert int(foreground(sl_clc_roi_mask="box").sum()) == 120
    assert int(foreground(sl_clc_roi_mask="region").sum()) == 95


def test_seed_counts_shares_and_sizes(task: CoLoCam, cams: torch.Tensor) -> None:
    def counts(**flags: Any) -> tuple[int, int]:
        seeds = labels(task, cams, **flags).seeds
        return int((seeds == 1).sum()), int((seeds == 0).sum())

    shares = {"sl_clc_max_p": 0.5, "sl_clc_min_p": 0.25}
    assert counts(**shares) == (40, 40)
    assert counts(**shares, sl_clc_max=10, sl_clc_min=5) == (10, 5)
    # 120 pixels of region, 576 of frame.
    assert counts(**shares, sl_clc_max=9999, sl_clc_min=9999) == (60, 144)
    assert counts(sl_clc_max_p=0.1, sl_clc_min_p=0.01) == (12, 5)
    grown = counts(sl_clc_max=1, sl_clc_min=1, sl_clc_ksz=5, sl_clc_max_p=0.2, sl_clc_min_p=0.2)
    assert 9 <= grown[0] <= 25
    assert set(labels(task, cams, seg_ignore_idx=-7).seeds.unique().tolist()) == {-7, 0, 1}


def test_tempering_and_the_switch_to_uniform_seeding(task: CoLoCam, cams: torch.Tensor) -> None:
    def heat(epoch: int, **flags: Any) -> float:
        """The foreground size is Σ of the tempered map over Otsu's blobs."""
        return float(
            labels(task, cams, epoch, sl_clc_roi_method="roi_all", sl_clc_use_roi=False, **flags).fg_sizes[0]
        )

    def by_hand(t: float) -> float:
        tempered = torch.exp(t * (cams - 1)) if t > 0 else cams
        blobs = 255 * tempered >= float(threshold_otsu(torch.floor(255 * tempered).numpy()))
        return float((tempered * blobs).mean())

    decay = {"sl_clc_knn_t": 9.0, "sl_clc_min_t": 1.0, "sl_clc_seed_epoch_switch_uniform": 4}
    assert [heat(e, **decay) for e in range(1, 7)] == pytest.approx(
        [by_hand(t) for t in (7, 5, 3, 1, 1, 1)], rel=1e-4
    )
    assert heat(3) == pytest.approx(by_hand(0), rel=1e-4)
    assert heat(3, sl_clc_knn_t=4.0) == pytest.approx(by_hand(4), rel=1e-4)

    flags = {"sl_clc_max": 5, "sl_clc_max_p": 1.0, "sl_clc_use_roi": False}
    weighted, uniform = (
        labels(task, cams, 2, sl_clc_seed_tech=f"seed_{t}", **flags).seeds for t in ("weighted", "uniform")
    )
    assert not torch.equal(weighted, uniform)
    switch = {"sl_clc_seed_tech": "seed_weighted", "sl_clc_seed_epoch_switch_uniform": 3}
    assert torch.equal(labels(task, cams, 2, **flags, **switch).seeds, weighted)
    assert torch.equal(labels(task, cams, 3, **flags, **switch).seeds, uniform)


def batch(cams: torch.Tensor | None = None) -> Batch:
    raw = torch.randint(
        0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    numbers = torch.arange(2)
    return Batch(
        raw, numbers, ["f0", "f1"], numbers, torch.zeros(2, dtype=torch.int64), numbers, numbers, cams
    )


def test_self_learning_starts_at_its_epoch_from_the_best_model(cams: torch.Tensor) -> None:
    given = batch(cams.repeat(2, 1, 1))
    never = CoLoCam(config(), ["a", "b"], CPU, initialize=False)
    never.on_new_best()
    later = CoLoCam(config(sl_clc_epoch_switch_to_sl=3), ["a", "b"], CPU, initialize=False)
    later.model.eval()
    later.on_new_best()
    best, _ = later.maps(given.images, given.frames)
    with torch.no_grad():
        for parameter in later.model.segmentation_head.parameters():
            parameter.add_(1.0)  # training goes on, the best model stays
    assert torch.equal(never.source_cams(given, 100), cams.repeat(2, 1, 1))
    assert torch.equal(later.source_cams(given, 2), cams.repeat(2, 1, 1))
    assert torch.allclose(later.source_cams(given, 3), best, atol=1e-6)


def test_the_empty_outside_term_takes_the_best_models_maps_from_its_start_on(cams: torch.Tensor) -> None:
    given = batch(cams.repeat(2, 1, 1))
    flags = {"empty_out_bb_clc": True, "empty_out_bb_clc_start_ep": 2}
    term = CoLoCam(config(**flags), ["a", "b"], CPU, initialize=False)
    term.model.eval()
    assert torch.equal(term.source_cams(given, 2), cams.repeat(2, 1, 1))  # nothing was validated yet
    term.on_new_best()
    own, _ = term.maps(given.images, given.frames)
    assert torch.equal(term.source_cams(given, 1), cams.repeat(2, 1, 1))
    assert torch.allclose(term.source_cams(given, 2), own, atol=1e-6)


def test_the_foreground_size_is_summed_over_the_region_and_not_over_its_box(
    task: CoLoCam, cams: torch.Tensor
) -> None:
    cams[0, 3:8, 3:8] = 0  # a corner of the largest blob's box
    inside = labels(task, cams, sl_clc_roi_mask="box", sl_clc_fg_erode_iter=1).fg_sizes
    region = torch.zeros_like(cams)
    region[0, 3:15, 3:13] = 1
    region[0, 3:8, 3:8] = 0
    torch.testing.assert_close(inside, (cams * region).sum(dim=(1, 2)) / SIDE**2)


class FakeTrain:
    """Three shots; frames are noise."""

    def __len__(self) -> int:
        return 3

    def allowed(self, item: int) -> list[int]:
        return [0]

    def load(self, requests: list[Any]) -> Batch:
        at = [request.item % 2 for request in requests]
        numbers = torch.tensor(at)
        return Batch(
            batch().frames[at], numbers, [f"f{i}" for i in at], numbers, 0 * numbers, numbers, numbers
        )


@pytest.mark.parametrize(("number", "drawn"), [(0, 3), (2, 2), (9, 3)])
def test_cams_of_train_frames_are_drawn(tmp_path: Path, number: int, drawn: int) -> None:
    cfg = config(task="STD_CL", freeze_cl=False, plot_tr_cam_progress=True, plot_tr_cam_progress_n=number)
    task = StdCl(cfg, ["a", "b"], CPU)
    for epoch in (0, 1):
        draw_train_progress(cfg, task, FakeTrain(), epoch, tmp_path)  # type: ignore[arg-type]
    files = [str(path.relative_to(tmp_path / "train_cams")) for path in tmp_path.rglob("*.png")]
    assert len(files) == 2 * drawn
    assert {"00000/0000.png", "00000/0001.png"} <= set(files)
