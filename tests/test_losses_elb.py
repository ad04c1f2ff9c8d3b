"""The extended log-barrier against its formula in float64 and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlib.losses import ELB


def barrier(f: float, t: float) -> float:
    if f <= -1 / t**2:
        return -math.log(-f) / t
    return t * f - math.log(1 / t**2) / t + 1 / t


@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(0.5, 10))
def test_values_and_slopes(f: float, t: float) -> None:
    elb = ELB(init_t=t, max_t=20)
    x = torch.tensor([f], dtype=torch.float64, requires_grad=True)
    y = elb(x)
    y.backward()
    assert y.item() == pytest.approx(barrier(f, t), rel=1e-9, abs=1e-9)
    h = max(abs(f), 1) * 1e-6
    assert x.grad is not None
    slope = (barrier(f + h, t) - barrier(f - h, t)) / (2 * h)
    assert x.grad.item() == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_both_sides_meet_with_value_and_slope() -> None:
    elb = ELB(init_t=3.0)
    edge = -1 / 9
    x = torch.tensor([edge - 1e-9, edge + 1e-9], dtype=torch.float64, requires_grad=True)
    y = elb.values(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(y[0], y[1], atol=1e-7, rtol=0)
    torch.testing.assert_close(x.grad, torch.full_like(x, 3.0), atol=1e-6, rtol=0)


@pytest.mark.parametrize("f", [-3e38, -50176.0, -1.0, -1e-30, -0.0, 0.0, 1e-30, 50176.0, 1e37])
def test_finite_in_float32(f: float) -> None:
    x = torch.tensor([f], requires_grad=True)
    y = ELB()(x)
    y.backward()
    assert x.grad is not None
    assert y.dtype == torch.float32
    assert math.isfinite(y.item())
    assert math.isfinite(x.grad.item())


def test_mean_over_any_shape() -> None:
    f = torch.tensor([[-2.0, 0.5], [-0.1, -7.0]])
    expected = sum(barrier(v, 1.0) for v in (-2.0, 0.5, -0.1, -7.0)) / 4
    assert ELB()(f).item() == pytest.approx(expected, rel=1e-6)
    assert ELB()(torch.zeros(0)).item() == 0
    assert ELB().values(torch.zeros(2, dtype=torch.bfloat16)).dtype == torch.float32


def test_t_grows_to_its_limit_and_is_saved() -> None:
    elb = ELB(init_t=1.0, max_t=1.2, mulcoef=1.01)
    for _ in range(10):
        elb.update_t()
    assert elb.t.item() == pytest.approx(1.01**10, rel=1e-14)  # 1.105
    other = ELB()
    other.load_state_dict(elb.state_dict())
    assert other.t.item() == elb.t.item()
    for _ in range(20):
        elb.update_t()
    assert elb.t.item() == 1.2
    other = ELB()
    other.update_t()
    assert other.t.item() == pytest.approx(1.01, rel=1e-14)
    for _ in range(240):  # 1.01^232 is 10.06
        other.update_t()
    assert other.t.item() == 10
    fixed = ELB(init_t=2.0, max_t=2.0, mulcoef=1.0)
    fixed.update_t()
    assert fixed.t.item() == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"init_t": 0}, "init_t"), ({"init_t": 2, "max_t": 1}, "max_t"), ({"mulcoef": 0.9}, "mulcoef")],
)
def test_wrong_parameters(arguments: dict, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ELB(**arguments)
