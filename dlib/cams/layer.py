"""Any classifier, cut at the output of one of its layers: what extractors need to make its class activation maps."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Reshape = Callable[[Tensor], Tensor]


class LayerModel(nn.Module):
    """A classifier with ``cam_features`` and ``logits_from_features``, made of any module and one of its layers.

    One pass through the module gives A and the logits. The graph of this pass starts at A, so gradients stop there: the
    layers before have none. A pass is kept until the next one or until ``forget``. The hook on the layer and the
    parameters' ``requires_grad`` are as before when a pass ends, also after an error.

    Args:
        module: images -> logits [B, C], or an object or dict that has them as ``logits``.
        layer: the CAM layer, one of the module's modules, or its name in ``named_modules``.
        reshape: the layer's output -> A [B, K, h, w], if it is not A itself, see ``vit_maps`` and ``swin_maps``. It is
            applied to gradients too: it may only reorder and leave out.
        graph: whether the passes need a graph.
    Raises ValueError for a layer that the module does not have.
    """

    def __init__(
        self, module: nn.Module, layer: str | nn.Module, reshape: Reshape | None = None, graph: bool = True
    ) -> None:
        super().__init__()
        self.module = module
        self.layer_name = _name_of(module, layer)
        self._reshape = reshape
        self._graph = graph
        self._taken: list[Tensor] = []  # the layer's output in this pass, the start of the graph
        self._features: Tensor | None = None
        self._logits: Tensor | None = None

    def cam_features(self, images: Tensor) -> Tensor:
        """A float32 [B, K, h, w] of images [B, 3, H, W], detached. Raises ValueError if the layer gives no such map."""
        self.forget()
        with torch.set_grad_enabled(self._graph), _without_gradients(self.module):
            handle = self.module.get_submodule(self.layer_name).register_forward_hook(self._take)
            try:
                logits = _logits_of(self.module(images))
            finally:
                handle.remove()
        if len(self._taken) != 1:
            raise ValueError(f"layer {self.layer_name!r} runs {len(self._taken)} times in a pass, not once")
        if logits.dim() != 2 or len(logits) != len(images):
            raise ValueError(f"{self._kind} gives {list(logits.shape)} instead of logits [B, C]")
        self._features, self._logits = self._maps_of(self._taken[0].detach()).float(), logits
        return self._features

    def logits_from_features(self, features: Tensor) -> Tensor:
        """The logits [B, C] of the pass that gave ``features``, differentiable once in them.

        Raises ValueError for features of any other pass.
        """
        kept, logits = self._features, self._logits
        if (
            kept is None
            or logits is None
            or (features.data_ptr(), features.shape) != (kept.data_ptr(), kept.shape)
        ):
            raise ValueError(f"not the features of the last pass through layer {self.layer_name!r}")
        return _Tail.apply(features, self) if self._graph else logits

    def forget(self) -> None:
        """Release the last pass."""
        self._taken, self._features, self._logits = [], None, None

    def last_linear(self) -> nn.Linear:
        """The module's last linear layer. Raises ValueError if it has none."""
        found = [layer for layer in self.module.modules() if isinstance(layer, nn.Linear)]
        if not found:
            raise ValueError(f"CAM needs a linear layer, {self._kind} has none: use GradCam or LayerCAM")
        return found[-1]

    def check_head(self, linear: nn.Linear, features: Tensor, logits: Tensor) -> None:
        """Raises ValueError unless the logits are ``linear`` of the mean of each channel of A."""
        fits = (linear.in_features, linear.out_features) == (features.shape[1], logits.shape[1])
        if fits:
            with torch.no_grad():
                expected = linear(features.mean(dim=(2, 3)).to(linear.weight.dtype))
            fits = bool((expected - logits).abs().max() <= 0.01 * logits.abs().max())
        if not fits:
            raise ValueError(
                f"CAM: the logits are not a linear layer of the mean of layer {self.layer_name!r}: "
                "choose the layer before the mean, or use GradCam or LayerCAM"
            )

    def gradient(self, of_logits: Tensor) -> Tensor:
        """Σ_c of_logits_c ∂logits_c/∂A, float32 [B, K, h, w], for the last pass."""
        assert self._logits is not None
        if not self._logits.requires_grad:
            raise ValueError(f"the logits do not depend on layer {self.layer_name!r}: choose another one")
        (found,) = torch.autograd.grad(
            self._logits, self._taken[0], of_logits.to(self._logits.dtype), retain_graph=True
        )
        return self._maps_of(found).float()

    @property
    def _kind(self) -> str:
        return type(self.module).__name__

    def _take(self, layer: nn.Module, inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"layer {self.layer_name!r} gives a {type(output).__name__} instead of a tensor: choose one inside it"
            )
        start = output.detach().requires_grad_(self._graph)
        self._taken.append(start)
        with torch.set_grad_enabled(self._graph):  # also where the module itself has switched the graph off
            return start.clone()  # later layers may work in place

    def _maps_of(self, output: Tensor) -> Tensor:
        maps = output if self._reshape is None else self._reshape(output)
        if maps.dim() != 4:
            raise ValueError(
                f"layer {self.layer_name!r} gives {list(maps.shape)} instead of [B, K, h, w]: choose another one, or "
                "give reshape=, such as dlib.cams.vit_maps"
            )
        return maps


class _Tail(torch.autograd.Function):
    """The logits of a finished pass as a function of A."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, model: LayerModel) -> Tensor:
        assert model._logits is not None
        ctx.model = model
        return model._logits.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.model.gradient(gradient), None


def vit_maps(tokens: Tensor, prefix: int = 1, size: tuple[int, int] | None = None) -> Tensor:
    """A [B, K, h, w] of a vision transformer's tokens [B, prefix + h·w, K].

    Args:
        prefix: tokens before those of the patches: the class token, distillation or register tokens.
        size: (h, w); None: h = w.
    Raises ValueError if the number of tokens does not fit.
    """
    count = tokens.shape[1] - prefix
    height, width = size or (math.isqrt(max(count, 0)),) * 2
    if tokens.dim() != 3 or count < 1 or height * width != count:
        raise ValueError(
            f"tokens {list(tokens.shape)} are not [B, {prefix} + h·w, K] with "
            + (f"h, w = {size}" if size else "h = w; give size=(h, w)")
        )
    return tokens[:, prefix:].transpose(1, 2).unflatten(2, (height, width))


def swin_maps(output: Tensor) -> Tensor:
    """A [B, K, h, w] of an output [B, h, w, K], as Swin transformers have it."""
    return output.permute(0, 3, 1, 2)


def _name_of(module: nn.Module, layer: str | nn.Module) -> str:
    names = {name: part for name, part in module.named_modules() if name}
    if isinstance(layer, nn.Module):
        found = next((name for name, part in names.items() if part is layer), None)
        if found is None:
            raise ValueError(f"the given layer {type(layer).__name__} is no part of {type(module).__name__}")
        return found
    if layer not in names:
        near = difflib.get_close_matches(layer, names, n=3, cutoff=0) or ["none"]
        raise ValueError(
            f"{type(module).__name__} has no layer {layer!r}; the most similar: {', '.join(near)}"
        )
    return layer


def _logits_of(output: Any) -> Tensor:
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise ValueError(f"the classifier gives a {type(output).__name__} instead of logits [B, C]")
    return logits


@contextmanager
def _without_gradients(module: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient inside the context."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True
