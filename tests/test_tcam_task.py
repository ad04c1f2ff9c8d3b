"""TCAM as a task: equal to CoLo-CAM where the two methods are, its switch to its own maps, its sizes and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import threshold_otsu

from dlib.configure.config import Config
from dlib.datasets.batch import Batch
from dlib.tasks.base import StepResult
from dlib.tasks.colocam import CoLoCam
from dlib.tasks.decoder.labels import OtsuRegion
from dlib.tasks.decoder.task import DecoderTask
from dlib.tasks.tcam import Tcam
from dlib.utils.timing import StepClock

CPU = torch.device("cpu")
SIDE = 32


def task_of(kind: type[DecoderTask], name: str, **flags: Any) -> Any:
    tiny = {"encoder_name": "resnet18", "crop_size": SIDE, "resize_size": SIDE, "freeze_cl": True}
    torch.manual_seed(0)
    task = kind(Config.from_values({"task": name, **tiny, **flags}), ["a", "b", "c"], CPU, initialize=False)
    task.model.train()
    return task


def batch_of(frames: int = 4) -> Batch:
    torch.manual_seed(1)
    cams = torch.nn.functional.interpolate(torch.rand(frames, 1, 4, 4), (SIDE, SIDE), mode="bilinear")[:, 0]
    cams = cams - cams.amin(dim=(1, 2), keepdim=True)
    return Batch(
        frames=torch.randint(0, 256, (frames, 3, SIDE, SIDE), dtype=torch.uint8),
        labels=torch.arange(frames) % 3,
        ids=[str(n) for n in range(frames)],
        indices=torch.arange(frames),
        sequence=torch.arange(frames) // 2,
        order=torch.arange(frames),
        keys=torch.arange(frames) + 7,
        cams=cams / cams.amax(dim=(1, 2), keepdim=True),
    )


def step(task: DecoderTask, epoch: int = 1) -> StepResult:
    return task.training_step(batch_of(), epoch, StepClock(), diagnose=False)


SHARED = {
    "": {True: ("sl", "crf", "max_sizepos", "size_bg_g_fg", "sizefg_tmp")},
    "_min": {15: ("sl",)},
    "_max": {15: ("sl",)},
    "_ksz": {3: ("sl",)},
    "_max_p": {0.6: ("sl",)},
    "_seed_tech": {"seed_weighted": ("sl",)},
    "_use_roi": {True: ("sl",)},
    "_roi_method": {"roi_high_density": ("sl",)},
    "_roi_mask": {"box": ("sl",)},
    "_lambda": {0.1: ("max_sizepos", "sizefg_tmp"), 2e-9: ("crf",)},
}


def flags(suffix: str) -> dict[str, Any]:
    """The same settings under the names of a task, whose flags have ``suffix``."""
    return {
        f"{term}_{suffix}{ending}": value
        for ending, settings in SHARED.items()
        for value, terms in settings.items()
        for term in terms
    }


def test_a_single_frame_is_colocam_without_its_joint_term() -> None:
    """The same losses and gradients, bit for bit."""
    tasks = (task_of(CoLoCam, "CoLo-CAM", **flags("clc")), task_of(Tcam, "TCAM", **flags("tc")))
    results = [step(task) for task in tasks]
    terms = [
        {name.rsplit("_", 1)[0]: float(v.detach()) for name, v in result.terms.items()} for result in results
    ]
    assert terms[0] == terms[1]
    assert terms[0].keys() == {"sl", "crf", "max_sizepos", "size_bg_g_fg", "sizefg_tmp"}
    assert all(terms[0].values())
    gradients = []
    for task, result in zip(tasks, results, strict=True):
        result.loss.backward()
        gradients.append({n: p.grad for n, p in task.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(bool(gradient.any()) for gradient in gradients[0].values())
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


def test_sizes_and_boxes_come_from_the_classifiers_cams_from_the_first_epoch_on() -> None:
    """The authors' program has them only after its switch to self-learning, and fails before it."""
    task = task_of(Tcam, "TCAM", sizefg_tmp_tc=True, empty_out_bb_tc=True, sl_tc_roi_method="largest")
    assert not any(task.makes_own_maps(epoch) for epoch in (1, 50))
    result = step(task)
    batch = batch_of()
    cams = batch.cams
    assert cams is not None
    found = task.pseudo_labels(cams, batch.keys, 1)
    for cam, box, size in zip(cams.numpy(), found.roi_boxes.tolist(), found.fg_sizes.tolist(), strict=True):
        blobs, _ = ndimage.label(255 * cam >= threshold_otsu(np.floor(255 * cam)))
        region = blobs == np.bincount(blobs[blobs > 0]).argmax()
        rows, columns = np.nonzero(region)
        assert box == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert size == pytest.approx(cam[region].sum() / cam.size, rel=1e-5)
    assert result.terms.keys() == {"sizefg_tmp_tc", "empty_out_bb_tc"}
    assert bool(torch.isfinite(result.loss))


def test_the_best_model_makes_the_maps_from_the_switch_on() -> None:
    task = task_of(Tcam, "TCAM", sl_tc=True, sl_tc_epoch_switch_to_sl=2, max_epochs=3)
    assert [task.makes_own_maps(epoch) for epoch in (1, 2, 3)] == [False, True, True]
    batch = batch_of()
    assert torch.equal(task.source_cams(batch, 2), batch.cams)  # no best model yet
    task.on_new_best()
    assert torch.equal(task.source_cams(batch, 1), batch.cams)
    with torch.no_grad():
        own = task.own_model(task.images(batch)).maps.softmax(dim=1)[:, 1]
    torch.testing.assert_close(task.source_cams(batch, 2), own)


def test_the_flags_make_the_recipe_and_the_switch_makes_seeding_uniform() -> None:
    given = {
        "sl_tc": True,
        "sl_tc_knn": 1,
        "sl_tc_knn_mode": "after",
        "sl_tc_knn_t": 9.0,
        "sl_tc_knn_epoch_switch_uniform": 3,
        "sl_tc_seed_tech": "seed_weighted",
        "sl_tc_min": 1,
        "sl_tc_max": 2,
        "sl_tc_min_p": 0.1,
        "sl_tc_max_p": 0.3,
        "sl_tc_ksz": 5,
        "sl_tc_use_roi": True,
        "sl_tc_roi_method": "roi_high_density",
        "sl_tc_roi_min_size": 0.2,
        "sl_tc_fg_erode_k": 3,
        "sl_tc_fg_erode_iter": 4,
        "seg_ignore_idx": -3,
    }
    task = task_of(Tcam, "TCAM", **given)
    assert type(task.model).__name__ == "UnetTCAM"
    recipe = task.recipe(2)
    assert recipe.region == OtsuRegion("roi_high_density", 0.2, 3, 4, "region")
    assert (recipe.temperature, recipe.use_roi, recipe.ignore_index) == (0.0, True, -3)
    assert (recipe.max_n, recipe.min_n, recipe.max_p, recipe.min_p, recipe.ksz) == (2, 1, 0.3, 0.1, 5)
    assert [task.recipe(epoch).technique for epoch in (2, 3)] == ["seed_weighted", "seed_uniform"]


@pytest.mark.parametrize("around", [0, 2])
def test_neighbours_that_enter_the_minibatch(around: int) -> None:
    class Train:
        n_frames, style = 1, "random"

    task = task_of(Tcam, "TCAM", sl_tc=True, knn_tc=around)
    task.set_sampling(Train)
    assert (Train.n_frames, Train.style) == ((5, "before-after") if around else (1, "random"))
