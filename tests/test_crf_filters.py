"""How the filters' functions choose a backend, and what they take and refuse."""

from __future__ import annotations

import pytest
import torch

from dlib.crf import OutOfRange, bilateral_filter, color_bilateral_filter, filters
from dlib.crf.filters import Kernel, choose_backend, filter_values


def given(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("backend", ["cpp", "torch"])
def test_values_too_far_apart_for_sigma_have_an_error_of_their_own(backend: str) -> None:
    with pytest.raises(OutOfRange, match="sigma is too small"):
        color_bilateral_filter(1e30 * given(1, 2, 3, 3), given(1, 1, 3, 3), 1e-9, backend=backend)  # type: ignore[arg-type]


def test_a_value_that_is_not_finite_is_no_such_error_in_cpp() -> None:
    images = given(1, 3, 3, 3)
    images[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinity") as error:
        bilateral_filter(images, given(1, 1, 3, 3), 15, 10, backend="cpp")
    assert type(error.value) is ValueError


@pytest.mark.parametrize("backend", ["cpp", "torch"])
@pytest.mark.parametrize("value_range", [None, (0.0, 255.0)])
def test_doubles_with_gradients_are_filtered_as_floats(
    backend: str, value_range: tuple[float, float] | None
) -> None:
    images = 255 * given(2, 3, 5, 6).double()
    images.requires_grad_()
    values = given(2, 2, 5, 6).double().requires_grad_()
    kernel = Kernel(15, 10, backend, value_range)  # type: ignore[arg-type]
    found = filter_values(images, values, None, kernel)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert torch.equal(found, filter_values(images.detach().float(), values.detach().float(), None, kernel))


@pytest.mark.parametrize("missing", ["bilateralfilter", "colorbilateralfilter"])
def test_without_one_of_the_extensions_pytorch_is_used(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(filters, "warn_once", lambda key, text: warned.append(text))
    filters._is_built.cache_clear()
    assert choose_backend("auto", given(1)) == "cpp"
    assert warned == []
    monkeypatch.setattr(filters, "find_spec", lambda name: None if name == missing else object())
    filters._is_built.cache_clear()
    try:
        assert choose_backend("auto", given(1)) == "torch"
        assert "the C++ filters are not built" in warned[0]
        assert choose_backend("torch", given(1)) == "torch"
        assert len(warned) == 1
    finally:
        filters._is_built.cache_clear()


def test_devices_and_shapes_that_differ_are_named() -> None:
    images = given(1, 3, 4, 4)
    with pytest.raises(ValueError, match="images are on cpu, values on meta"):
        bilateral_filter(images, torch.ones(1, 1, 4, 4, device="meta"), 15, 10)
    for wrong in (given(3, 4, 4), given(1, 1, 3, 4, 4)):
        with pytest.raises(ValueError, match=r"values must be \[N, planes, H, W\]"):
            color_bilateral_filter(images, wrong, 15)
