"""Every term of CoLo-CAM's loss against formulas written out in float64, and its behaviour at the edges."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dlib.crf import DenseCRFLoss, OutOfRange
from dlib.losses import ELB, LossInputs, Term, TotalLoss, base, colocam, sizes

B, H, W = 4, 6, 8
IGNORE = -255


def make_inputs(scale: float = 2.0, logits: Tensor | None = None, **changes: Any) -> LossInputs:
    g = torch.Generator().manual_seed(0)
    drawn = scale * torch.randn(B, 2, H, W, generator=g, dtype=torch.float64)
    logits = drawn if logits is None else logits
    fields: dict[str, Any] = {
        "map_logits": logits,
        "probabilities": logits.softmax(dim=1),
        "images": 255 * torch.rand(B, 3, H, W, generator=g, dtype=torch.float64),
        "sequence": torch.tensor([5, 9, 5, 9]),
        "order": torch.tensor([1, 0, 0, 1]),
        "seeds": torch.randint(0, 3, (B, H, W), generator=g).sub(1),
        "cams": torch.linspace(0, 1, B * H * W, dtype=torch.float64).view(B, H, W),
        "deep_features": torch.randn(B, 5, H // 2, W // 2, generator=g, dtype=torch.float64),
        "roi_boxes": torch.tensor([[0, 0, 3, 2], [2, 1, 7, 5], [0, 0, 7, 5], [4, 4, 4, 4]]),
        "fg_sizes": torch.tensor([0.2, 0.5, 0.9, 0.4]),
        "class_logits": torch.randn(B, 3, generator=g, dtype=torch.float64),
        "labels": torch.tensor([0, 2, 1, 1]),
    }
    fields["seeds"][fields["seeds"] == -1] = IGNORE
    return LossInputs(**{**fields, **changes})


def terms(**common: Any) -> list[Term]:
    return [
        colocam.ClassCrossEntropy(**common),
        colocam.SelfLearning(**common),
        colocam.SoftCam(**common),
        colocam.ConRanField(**common),
        colocam.RgbJointConRanField(**common),
        sizes.MaxSizePositive(**common),
        colocam.Entropy(**common),
        sizes.BgSizeGreaterFg(**common),
        sizes.FgSize(**common),
        sizes.EmptyOutsideBbox(**common),
    ]


def exact_joint(
    images: Tensor, p: Tensor, groups: list[Tensor], sigma_rgb: float, backend: str = "auto"
) -> Tensor:
    """−Σ_k p·F(p) of each group with the exact Gaussian sum over all its pixels."""
    losses = []
    for group in groups:
        f = torch.cat([images[i].flatten(1) for i in group], dim=1).T / sigma_rgb  # [n, P]
        q = torch.cat([p[i].flatten(1) for i in group], dim=1)  # [2, n]
        kernel = torch.exp(-0.5 * ((f[:, None] - f[None]) ** 2).sum(-1)).to(q)  # [n, n]
        losses.append(-(q * (q @ kernel)).sum())
    return torch.stack(losses)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces the lattice by the exact sum; the list holds what every call was given."""
    calls: list[dict[str, Any]] = []

    def joint(
        images: Tensor,
        p: Tensor,
        groups: list[Tensor],
        sigma_rgb: float,
        backend: str,
        value_range: tuple[float, float] | None,
    ) -> Tensor:
        call = {"images": images, "p": p, "groups": groups, "sigma": sigma_rgb, "backend": backend}
        calls.append(call | {"range": value_range})
        return exact_joint(images, p, groups, sigma_rgb)

    monkeypatch.setattr(colocam, "joint_color_crf", joint)
    return calls


def elb(f: float, t: float = 1.0) -> float:
    return -math.log(-f) / t if f <= -1 / t**2 else t * f - math.log(1 / t**2) / t + 1 / t


def test_class_cross_entropy_with_smoothing() -> None:
    inputs = make_inputs()
    assert inputs.class_logits is not None
    assert inputs.labels is not None
    log_p = inputs.class_logits - inputs.class_logits.exp().sum(1, keepdim=True).log()
    target = torch.full((B, 3), 0.1 / 3, dtype=torch.float64)
    target[torch.arange(B), inputs.labels] += 0.9
    value = colocam.ClassCrossEntropy(label_smoothing=0.1, weight=2.0)(inputs).value
    torch.testing.assert_close(value, 2 * -(target * log_p).sum(1).mean())


def test_self_learning_is_the_mean_over_seed_pixels() -> None:
    inputs = make_inputs()
    assert inputs.seeds is not None
    values = [
        -math.log(inputs.probabilities[b, int(inputs.seeds[b, y, x]), y, x])
        for b in range(B)
        for y in range(H)
        for x in range(W)
        if inputs.seeds[b, y, x] != IGNORE
    ]
    assert 0 < len(values) < B * H * W
    term = colocam.SelfLearning(weight=0.5)(inputs)
    assert term.value.item() == pytest.approx(0.5 * sum(values) / len(values))
    assert term.unweighted.item() == pytest.approx(sum(values) / len(values))


def test_balanced_seeds_have_both_labels_equally_heavy() -> None:
    logits = torch.zeros(1, 2, 1, 4, dtype=torch.float64)
    logits[0, 1, 0] = torch.tensor([3.0, 1.0, 2.0, -1.0])
    seeds = torch.tensor([[[1, 0, 0, IGNORE]]])
    batch = dict.fromkeys(("cams", "deep_features", "roi_boxes", "fg_sizes", "class_logits", "labels"))
    one = torch.zeros(1, dtype=torch.int64)
    inputs = make_inputs(
        logits=logits, seeds=seeds, images=torch.zeros(1, 3, 1, 4), sequence=one, order=one, **batch
    )
    foreground = math.log(1 + math.exp(-3))
    background = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(2))) / 2
    assert colocam.SelfLearning(balance=True)(inputs).value.item() == pytest.approx(
        (foreground + background) / 2
    )
    assert colocam.SelfLearning()(inputs).value.item() == pytest.approx((foreground + 2 * background) / 3)
    inputs.seeds = torch.tensor([[[1, IGNORE, IGNORE, IGNORE]]])  # a label without seeds counts as 0
    assert colocam.SelfLearning(balance=True)(inputs).value.item() == pytest.approx(foreground / 2)


def test_no_seed_in_the_batch_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(B, 2, H, W, requires_grad=True)
    inputs = make_inputs(logits=logits, seeds=torch.full((B, H, W), IGNORE))
    value = colocam.SelfLearning()(inputs).value
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_soft_cam_is_the_cross_entropy_of_every_pixel() -> None:
    inputs = make_inputs()
    p, cams = inputs.probabilities, inputs.cams
    assert cams is not None
    values = [
        -float(cams[b, y, x]) * math.log(p[b, 1, y, x]) - (1 - float(cams[b, y, x])) * math.log(p[b, 0, y, x])
        for b in range(B)
        for y in range(H)
        for x in range(W)
    ]
    term = colocam.SoftCam(weight=0.25)(inputs)
    assert term.unweighted.item() == pytest.approx(sum(values) / len(values))
    assert term.value.item() == pytest.approx(0.25 * sum(values) / len(values))


def test_soft_cam_is_lowest_where_the_map_is_the_cam() -> None:
    cams = torch.rand(B, H, W, generator=torch.Generator().manual_seed(1)).clamp(0.01, 0.99)
    same = torch.stack([torch.zeros_like(cams), torch.logit(cams)], dim=1).requires_grad_()
    colocam.SoftCam()(make_inputs(logits=same, cams=cams)).value.backward()
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-7


def test_soft_cam_hears_nothing_from_a_constant_cam() -> None:
    logits = torch.randn(B, 2, H, W, requires_grad=True)
    cams = torch.rand(B, H, W)
    cams[1] = 0
    value = colocam.SoftCam()(make_inputs(logits=logits, cams=cams)).value
    value.backward()
    log_bg, log_fg = logits.detach().log_softmax(dim=1).unbind(dim=1)
    others = -(cams * log_fg + (1 - cams) * log_bg).mean(dim=(1, 2))[[0, 2, 3]]
    torch.testing.assert_close(value.detach(), others.sum() / B)
    assert logits.grad is not None
    assert logits.grad[1].abs().max() == 0
    assert logits.grad[0].abs().max() > 0


def test_dense_crf_on_the_real_filter() -> None:
    inputs = make_inputs(logits=torch.randn(B, 2, H, W))
    inputs.images = inputs.images.float()
    term = colocam.ConRanField(sigma_rgb=15.0, sigma_xy=100.0, weight=2e-3)(inputs)
    y, x = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    where = torch.stack([x, y]).flatten(1).expand(B, -1, -1) / 100.0
    f = torch.cat([inputs.images.flatten(2) / 15.0, where], dim=1).transpose(1, 2)  # [B, HW, 5]
    kernel = torch.exp(-0.5 * torch.cdist(f, f) ** 2)
    p = inputs.probabilities.flatten(2)
    sum_exact = -(p * (p @ kernel)).sum() / B
    # the lattice lies below the exact sum, but on random colours every pixel is nearly alone
    assert 0.2 < (term.unweighted / sum_exact).item() < 1.5
    torch.testing.assert_close(term.value, 2e-3 * term.unweighted)
    torch.testing.assert_close(
        term.unweighted, DenseCRFLoss(1.0, 15.0, 100.0)(inputs.images, inputs.probabilities)
    )


def test_dense_crf_counts_the_samples_of_all_processes() -> None:
    inputs = make_inputs(logits=torch.randn(B, 2, H, W))
    alone = colocam.ConRanField()(inputs).value
    inputs._batch_mean = torch.tensor(B / 2)  # as if another process had no sample
    torch.testing.assert_close(colocam.ConRanField()(inputs).value, 2 * alone)


def test_every_term_computes_what_the_log_shows(exact: list[dict[str, Any]]) -> None:
    for term in [*terms(weight=3.0), colocam.RgbJointConRanField(lambda_style="adaptive")]:
        torch.testing.assert_close(term.compute(make_inputs()), term(make_inputs()).unweighted)


def test_defaults_are_those_of_the_paper() -> None:
    inputs = make_inputs(logits=torch.randn(B, 2, H, W))
    plain = torch.nn.functional.cross_entropy(inputs.class_logits, inputs.labels)
    torch.testing.assert_close(colocam.ClassCrossEntropy()(inputs).value, plain)
    crf = DenseCRFLoss(1.0, 15.0, 100.0)(inputs.images, inputs.probabilities)
    torch.testing.assert_close(colocam.ConRanField()(inputs).value, crf, rtol=1e-6, atol=0)
    assert [colocam.ConRanField().warmup(epoch) for epoch in (0, 1)] == [1.0, 1.0]


def test_joint_term_on_the_real_filter() -> None:
    images = torch.zeros(B, 3, H, W)  # one colour: every pixel sees every other
    inputs = make_inputs(logits=torch.zeros(B, 2, H, W), images=images)
    unweighted = colocam.RgbJointConRanField()(inputs).unweighted
    n = 2 * H * W
    ratio = unweighted.item() / (-2 * n * (n / 2) * 0.5)  # Σ_k Σ_ij ½·½ over the pixels of both frames
    assert 0.4 < ratio < 1.1


def test_joint_term_is_the_mean_over_sequences(exact: list[dict[str, Any]]) -> None:
    inputs = make_inputs(sequence=torch.tensor([5, 3, 5, 9]))
    term = colocam.RgbJointConRanField(sigma_rgb=60.0, weight=3.0)(inputs)
    assert [g.tolist() for g in exact[0]["groups"]] == [[2, 0]]  # temporal order; lone frames are left out
    expected = exact_joint(inputs.images, inputs.probabilities, [torch.tensor([0, 2])], 60.0)[0]
    torch.testing.assert_close(term.value, 3 * expected)
    both = colocam.RgbJointConRanField(sigma_rgb=60.0)(make_inputs())
    pairs = [torch.tensor([0, 2]), torch.tensor([1, 3])]
    torch.testing.assert_close(
        both.value, exact_joint(inputs.images, inputs.probabilities, pairs, 60.0).mean()
    )
    assert both.value < 0


@pytest.mark.parametrize("style", ["constant", "adaptive"])
def test_no_sequence_of_two_frames_is_zero(style: Any, exact: list[dict[str, Any]]) -> None:
    logits = torch.randn(B, 2, H, W, requires_grad=True)
    inputs = make_inputs(logits=logits, sequence=torch.arange(B))
    value = colocam.RgbJointConRanField(lambda_style=style)(inputs).value
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0
    assert exact == []


def _joint(style: str, logits: Tensor, **changes: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Value, unweighted value and gradient at the map logits of the joint term with λ = 9."""
    logits = logits.detach().clone().requires_grad_()
    term = colocam.RgbJointConRanField(sigma_rgb=60.0, lambda_style=style, weight=9.0)(  # type: ignore[arg-type]
        make_inputs(logits=logits, **changes)
    )
    (gradient,) = torch.autograd.grad(term.value, logits)
    return term.value, term.unweighted, gradient


def test_adaptive_weight_normalizes_every_sequence_by_its_own_loss(exact: list[dict[str, Any]]) -> None:
    logits, images = make_inputs().map_logits, make_inputs().images
    images[[0, 2]] *= 0.3  # darker frames are more alike: the first sequence's loss is larger
    _, unweighted, together = _joint("constant", logits, images=images)
    value, logged, gradient = _joint("adaptive", logits, images=images)
    # Each of the two sequences alone: the other one's frames get numbers of their own.
    _, first, g1 = _joint("constant", logits, images=images, sequence=torch.tensor([5, 1, 5, 2]))
    _, second, g2 = _joint("constant", logits, images=images, sequence=torch.tensor([1, 9, 2, 9]))
    assert first / second > 1.5
    expected = (g1 / first.abs() + g2 / second.abs()) / 2  # g1 and g2 hold λ already
    torch.testing.assert_close(gradient, expected)
    assert (gradient - together / unweighted.abs()).abs().max() > 0.1 * gradient.abs().max()
    assert value.item() == pytest.approx(-9.0)
    torch.testing.assert_close(logged, unweighted)


@pytest.mark.parametrize("first", [1.0, 0.25])
def test_adaptive_weight_of_two_losses_by_hand(first: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """L = -1 and -3 with gradients g1 and g2 give λ/2·(g1/1 + g2/3)."""
    losses = torch.tensor([-first, -3.0], dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(colocam, "joint_color_crf", lambda *_: losses)
    term = colocam.RgbJointConRanField(lambda_style="adaptive", weight=9.0)(make_inputs())
    term.value.backward()
    assert losses.grad is not None
    assert losses.grad.tolist() == [9 / 2 / first, 9 / 2 / 3]
    assert (term.value.item(), term.unweighted.item()) == (-9.0, -(first + 3) / 2)


def test_adaptive_weight_leaves_out_a_sequence_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = torch.tensor([0.0, -3.0], dtype=torch.float64, requires_grad=True)
    monkeypatch.setattr(colocam, "joint_color_crf", lambda *_: losses)
    term = colocam.RgbJointConRanField(lambda_style="adaptive", weight=9.0)(make_inputs())
    assert term.value.item() == pytest.approx(-4.5)
    zero = make_inputs(probabilities=torch.zeros(B, 2, H, W, dtype=torch.float64))
    monkeypatch.undo()
    assert colocam.RgbJointConRanField(lambda_style="adaptive")(zero).value.item() == 0


def test_planes_of_the_joint_term(exact: list[dict[str, Any]]) -> None:
    logits = torch.randn(B, 2, H, W, requires_grad=True)
    inputs = make_inputs(logits=logits)
    assert inputs.deep_features is not None
    colocam.RgbJointConRanField(input_data="cam_logits", backend="torch", sigma_rgb=2.0)(inputs)
    assert torch.equal(exact[-1]["images"], logits)
    assert not exact[-1]["images"].requires_grad
    assert (exact[-1]["backend"], exact[-1]["sigma"], exact[-1]["range"]) == ("torch", 2.0, None)
    colocam.RgbJointConRanField(input_data="deep_features")(inputs)
    assert (exact[-1]["backend"], exact[-1]["sigma"]) == ("auto", 15.0)
    doubled = inputs.deep_features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(exact[-1]["images"], doubled)  # 3×4 features on a 6×8 map
    colocam.RgbJointConRanField(input_data="deep_features", input_re_dim=2)(inputs)
    groups = torch.stack([doubled[:, :3].mean(1), doubled[:, 3:].mean(1)], dim=1)  # 5 channels: 3 and 2
    torch.testing.assert_close(exact[-1]["images"], groups)
    colocam.RgbJointConRanField(input_data="deep_features", input_re_dim=1)(inputs)
    torch.testing.assert_close(exact[-1]["images"], doubled.mean(1, keepdim=True))
    colocam.RgbJointConRanField(input_data="deep_features", input_re_dim=5)(inputs)  # each channel alone
    torch.testing.assert_close(exact[-1]["images"], doubled)
    inputs.deep_features = inputs.deep_features.repeat_interleave(
        2, dim=3
    ).requires_grad_()  # as wide as the map
    colocam.RgbJointConRanField(input_data="deep_features")(inputs)
    assert torch.equal(exact[-1]["images"], doubled)
    assert not exact[-1]["images"].requires_grad
    colocam.RgbJointConRanField(scale_factor=0.5)(inputs)
    assert exact[-1]["p"].shape == (B, 2, H // 2, W // 2)
    assert exact[-1]["range"] == (0, 255)  # that of images is known
    assert torch.equal(exact[-1]["images"], inputs.images[:, :, ::2, ::2].float())
    by_hand = inputs.probabilities.reshape(B, 2, H // 2, 2, W // 2, 2).mean(dim=(3, 5))
    torch.testing.assert_close(exact[-1]["p"], by_hand)
    with pytest.raises(ValueError, match="only 5 channels"):
        colocam.RgbJointConRanField(input_data="deep_features", input_re_dim=6)(inputs)
    with pytest.raises(ValueError, match=r"rgb_jcrf_clc needs LossInputs\.deep_features"):
        colocam.RgbJointConRanField(input_data="deep_features")(make_inputs(deep_features=None))


def test_only_the_networks_own_planes_may_leave_the_filters_range(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise OutOfRange("too far apart")

    monkeypatch.setattr(colocam, "joint_color_crf", refuse)
    assert math.isnan(colocam.RgbJointConRanField(input_data="cam_logits")(make_inputs()).value.item())
    with pytest.raises(OutOfRange):
        colocam.RgbJointConRanField()(make_inputs())


def test_agreement_with_the_seeds_scales_the_joint_term(exact: list[dict[str, Any]]) -> None:
    inputs = make_inputs()
    inputs.seeds = torch.full((B, H, W), IGNORE)
    says = inputs.map_logits[0].argmax(dim=0).flatten()  # the maps' labels in the first frame
    ones, zeros = (says == 1).nonzero().flatten(), (says == 0).nonzero().flatten()
    seeds = inputs.seeds[0].view(-1)
    seeds[ones[:4]], seeds[zeros[:1]] = 1, 1  # 4 of 5 foreground seeds are where the map says so
    seeds[zeros[1:4]], seeds[ones[4:5]] = 0, 0  # 3 of 4 background seeds
    plain = colocam.RgbJointConRanField()(inputs)
    for style, value in (("constant", plain.unweighted), ("adaptive", torch.tensor(-1.0))):
        term = colocam.RgbJointConRanField(lambda_style=style, seed_agreement=True)  # type: ignore[arg-type]
        assert term.from_cams == ("seeds",)
        scaled = term(inputs)
        assert scaled.value.item() == pytest.approx((4 / 5 + 3 / 4 - 1) * value.item(), rel=1e-5)
        torch.testing.assert_close(scaled.unweighted, plain.unweighted)
    seeds[seeds >= 0] = 1 - seeds[seeds >= 0]  # worse than chance
    assert colocam.RgbJointConRanField(seed_agreement=True)(inputs).value.item() == 0


def test_joint_groups_keep_repeated_frames_and_long_sequences() -> None:
    sequence = torch.tensor([7, 1, 7, 2, 7, 2])
    groups = colocam.joint_groups(sequence, torch.tensor([4, 0, 2, 3, 4, 3]))
    assert [g.tolist() for g in groups] == [[2, 0, 4], [3, 5]]


def test_size_terms() -> None:
    inputs = make_inputs()
    p = inputs.probabilities
    barrier = ELB(init_t=2.0)
    sums = p.sum(dim=(2, 3)).tolist()
    expected = sum((elb(-bg, 2) + elb(-fg, 2)) / 2 for bg, fg in sums) / B
    assert sizes.MaxSizePositive(barrier, weight=0.01)(inputs).value.item() == pytest.approx(0.01 * expected)
    expected = sum(elb(fg - bg, 2) for bg, fg in sums) / B
    assert sizes.BgSizeGreaterFg(barrier)(inputs).value.item() == pytest.approx(expected)
    shares = [fg / (H * W) for _, fg in sums]
    wanted = [0.2, 0.5, 0.9, 0.4]
    expected = (
        sum(elb(s - 0.1 - a, 2) + elb(a - s - 0.1, 2) for s, a in zip(wanted, shares, strict=True)) / 2 / B
    )
    assert sizes.FgSize(barrier, eps=0.1)(inputs).value.item() == pytest.approx(expected, rel=1e-6)
    assert sizes.FgSize(eps=0).eps == 0
    assert inputs.roi_boxes is not None
    outside = [
        sum(p[b, 1, y, x].item() for y in range(H) for x in range(W) if not (x0 <= x <= x1 and y0 <= y <= y1))
        for b, (x0, y0, x1, y1) in enumerate(inputs.roi_boxes.tolist())
    ]
    assert outside[2] == 0
    expected = sum(elb(f, 2) for f in outside) / B
    assert sizes.EmptyOutsideBbox(barrier)(inputs).value.item() == pytest.approx(expected)


def test_entropy_in_bits() -> None:
    inputs = make_inputs()
    p = inputs.probabilities
    expected = -(p * p.log2()).sum(dim=1).mean()
    torch.testing.assert_close(colocam.Entropy()(inputs).value, expected)
    assert colocam.Entropy()(make_inputs(scale=0.0)).value.item() == pytest.approx(1.0)


def test_saturated_maps_stay_finite() -> None:
    logits = torch.full((B, 2, H, W), 200.0)
    logits[:, 0] = -200.0
    logits.requires_grad_()
    for term in terms():
        if isinstance(term, colocam.ConRanField | colocam.RgbJointConRanField | colocam.ClassCrossEntropy):
            continue
        logits.grad = None
        value = term(make_inputs(logits=logits)).value
        value.backward(retain_graph=True)
        assert math.isfinite(value.item()), term.name
        assert logits.grad is None or bool(logits.grad.isfinite().all()), term.name
    assert colocam.Entropy()(make_inputs(logits=logits)).value.item() == 0


def test_gradients_by_finite_differences(exact: list[dict[str, Any]]) -> None:
    others = [t for t in terms() if not isinstance(t, colocam.ConRanField | colocam.ClassCrossEntropy)]
    start = make_inputs().map_logits.requires_grad_()
    for term in others:

        def call(z: Tensor, term: Term = term) -> Tensor:
            return term(make_inputs(logits=z)).value

        assert torch.autograd.gradcheck(call, (start,), fast_mode=True, atol=1e-4), term.name


def test_float32_under_autocast(exact: list[dict[str, Any]]) -> None:
    logits = make_inputs().map_logits.float()
    plain = [t(make_inputs(logits=logits)).value for t in terms()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = [t(make_inputs(logits=logits)).value for t in terms()]
    assert all(torch.equal(a, b) for a, b in zip(plain, mixed, strict=True))
    half = make_inputs(logits=logits.bfloat16())
    assert {t(half).value.dtype for t in terms() if t.name != "class"} <= {torch.float32, torch.float64}
    assert half.map_logits.dtype == half.probabilities.dtype == torch.float32


def test_epochs_are_inclusive() -> None:
    def on(**epochs: int) -> list[int]:
        term = colocam.Entropy(**epochs)
        return [e for e in range(1, 7) if term.active(e)]

    assert on() == [1, 2, 3, 4, 5, 6]
    assert on(start_epoch=3) == [3, 4, 5, 6]
    assert on(start_epoch=2, end_epoch=4) == [2, 3, 4]
    assert on(end_epoch=0) == []
    for bad in ({"end_epoch": -2}, {"start_epoch": 5, "end_epoch": 4}):
        with pytest.raises(ValueError, match="min_entropy_clc: end_epoch"):
            colocam.Entropy(**bad)


@pytest.mark.parametrize(
    ("start", "shares"),
    [(0, [0.25, 0.5, 0.75, 1, 1]), (1, [0.25, 0.5, 0.75, 1, 1]), (2, [0, 0.25, 0.5, 0.75, 1])],
)
def test_lambda_grows_from_the_start_epoch_on(start: int, shares: list[float]) -> None:
    total = TotalLoss([colocam.Entropy(weight=2.0, start_epoch=start, warmup_epochs=4)])
    for epoch, share in enumerate(shares, start=1):
        value, _, unweighted = total(make_inputs(), epoch)
        assert value.item() == pytest.approx(
            2 * share * (unweighted["min_entropy_clc"].item() if share else 0)
        )


def test_total_sums_the_active_terms() -> None:
    inputs = make_inputs(logits=torch.randn(B, 2, H, W, requires_grad=True))
    total = TotalLoss([colocam.Entropy(weight=2.0, end_epoch=1), colocam.SelfLearning(weight=0.5)])
    value, values, unweighted = total(inputs, epoch=1)
    assert set(values) == set(unweighted) == {"min_entropy_clc", "sl_clc"}
    torch.testing.assert_close(value, values["min_entropy_clc"] + values["sl_clc"])
    torch.testing.assert_close(values["min_entropy_clc"], 2 * unweighted["min_entropy_clc"])
    assert not unweighted["sl_clc"].requires_grad
    assert set(total(inputs, epoch=2)[1]) == {"sl_clc"}
    nothing, values, _ = TotalLoss([colocam.Entropy(start_epoch=9)])(inputs, epoch=1)
    nothing.backward()
    assert (nothing.item(), values) == (0, {})
    with pytest.raises(ValueError, match="different names"):
        TotalLoss([colocam.Entropy(), colocam.Entropy()])
    with pytest.raises(ValueError, match=r"entropy_fc needs LossInputs\.seeds"):
        colocam.SelfLearning(name="entropy_fc")(make_inputs(seeds=None))


def test_one_class_serves_several_terms_by_name() -> None:
    total = TotalLoss([colocam.Entropy(weight=2.0), colocam.Entropy(name="entropy_fc", weight=3.0)])
    _, values, unweighted = total(make_inputs(), epoch=1)
    assert list(values) == ["min_entropy_clc", "entropy_fc"]
    torch.testing.assert_close(values["entropy_fc"], 3 * unweighted["min_entropy_clc"])


def test_a_shared_barrier_hardens_once_per_epoch() -> None:
    shared = ELB(mulcoef=1.5)
    total = TotalLoss([sizes.MaxSizePositive(shared), sizes.BgSizeGreaterFg(shared), sizes.FgSize()])
    total.update_t()
    assert shared.t.item() == 1.5
    assert total.state_dict()["terms.1.elb.t"].item() == 1.5


def _two_processes(
    term: Term, whole: LossInputs, first: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Tensor]:
    """Mean loss and mean gradient of two ranks with the first ``first`` samples and the others, played by threads."""
    barrier, slots, place = threading.Barrier(2, timeout=20), [None, None], threading.local()

    def mean(value: Tensor) -> Tensor:
        slots[place.rank] = value.detach()
        barrier.wait()
        result = (slots[0] + slots[1]) / 2  # type: ignore[operator]
        barrier.wait()
        return result

    def one_rank(rank: int, split: slice, logits: Tensor, total: TotalLoss, out: dict[int, Tensor]) -> None:
        place.rank = rank
        fields = {k: v[split] for k, v in vars(whole).items() if isinstance(v, Tensor)}
        fields |= {"map_logits": logits[split], "probabilities": logits[split].softmax(dim=1)}
        out[rank] = total(LossInputs(**fields), epoch=1)[0]

    logits = whole.map_logits.detach().clone().requires_grad_()
    total = TotalLoss([term])
    with monkeypatch.context() as patched:
        patched.setattr(base, "mean_over_processes", mean)
        patched.setattr(colocam, "mean_over_processes", mean)
        out: dict[int, Tensor] = {}
        threads = [
            threading.Thread(target=one_rank, args=(r, s, logits, total, out))
            for r, s in enumerate((slice(0, first), slice(first, None)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    loss = (out[0] + out[1]) / 2
    return loss, torch.autograd.grad(loss, logits)[0]


def _one_process(term: Term, whole: LossInputs) -> tuple[Tensor, Tensor]:
    logits = whole.map_logits.detach().clone().requires_grad_()
    fields = {k: v for k, v in vars(whole).items() if isinstance(v, Tensor)}
    fields |= {"map_logits": logits, "probabilities": logits.softmax(dim=1)}
    loss = TotalLoss([term])(LossInputs(**fields), epoch=1)[0]
    return loss, torch.autograd.grad(loss, logits)[0]


def test_several_processes_equal_one(exact: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_inputs(sequence=torch.tensor([5, 9, 9, 9]))
    assert whole.seeds is not None
    whole.seeds[0] = IGNORE  # the first rank has neither seeds nor a sequence
    kinds = [t for t in terms() if not isinstance(t, colocam.ConRanField | colocam.ClassCrossEntropy)]
    for term in [*kinds, colocam.RgbJointConRanField(lambda_style="adaptive", weight=9.0)]:
        expected, expected_grad = _one_process(term, whole)
        loss, gradient = _two_processes(term, whole, 1, monkeypatch)
        torch.testing.assert_close(loss, expected, msg=term.name)
        torch.testing.assert_close(gradient, expected_grad, msg=term.name)


@pytest.mark.parametrize("style", ["constant", "adaptive"])
def test_the_joint_term_is_the_mean_over_the_sequences_of_all_processes(
    style: Any, exact: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks with one and with three sequences: each sequence of the global batch counts the same."""
    twice = [torch.cat([value, value.flip(0)]) for value in (make_inputs().map_logits, make_inputs().images)]
    order = torch.arange(8)
    whole = LossInputs(
        map_logits=twice[0],
        probabilities=twice[0].softmax(dim=1),
        images=twice[1],
        sequence=torch.tensor([4, 4, 7, 7, 2, 2, 3, 3]),
        order=order,
    )
    term = colocam.RgbJointConRanField(sigma_rgb=60.0, lambda_style=style, weight=9.0)
    expected, expected_grad = _one_process(term, whole)
    loss, gradient = _two_processes(term, whole, 2, monkeypatch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_grad)
    assert expected_grad[:2].abs().max() > 0


def test_products_in_a_term_are_float32_under_autocast() -> None:
    class Product(Term):
        name = "product"

        def compute(self, inputs: LossInputs) -> Tensor:
            return (inputs.map_logits[0, 0] @ inputs.map_logits[0, 1].T).sum()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Product()(make_inputs(logits=torch.randn(B, 2, H, W))).value.dtype == torch.float32


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: colocam.RgbJointConRanField(lambda_style="loud"), "lambda_style"),  # type: ignore[arg-type]
        (lambda: colocam.RgbJointConRanField(input_data="sound"), "input_data"),  # type: ignore[arg-type]
        (lambda: colocam.RgbJointConRanField(input_re_dim=0), "input_re_dim"),
        (lambda: colocam.RgbJointConRanField(scale_factor=0), "scale_factor"),
        (lambda: sizes.FgSize(eps=-1), "eps"),
        (lambda: make_inputs(probabilities=torch.zeros(B, 2, H, W + 1)), "map_logits and probabilities"),
        (lambda: make_inputs(labels=torch.zeros(B + 1)), "labels has 5 samples"),
        (lambda: colocam.SelfLearning()(make_inputs(seeds=None)), r"sl_clc needs LossInputs\.seeds"),
    ],
)
def test_wrong_use(build: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        build()
