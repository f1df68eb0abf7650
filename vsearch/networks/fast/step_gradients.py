"""Equals `networks.kernels.Kernels` over the T steps of teacher forcing: weights' gradients by one product, not T.

In a loop over T steps plain autograd multiplies out the gradient of each weight (O, I) in every step, for few rows, and
adds T such matrices. Here the rows of all steps are collected, and one product over P rows gives the same sum.

Shapes: see `vsearch.networks`; r rows of one step, P rows of all steps, I and O the sizes of a layer.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsearch.networks.attention import Attention
from vsearch.networks.fast.cpu import CpuKernels, evened
from vsearch.networks.kernels import Kernels, Scoring


def teaching_kernels(keys: Tensor, memory: Tensor, attention: Attention | None) -> Kernels:
    """Return what to compute the steps of one teacher forcing with, over `keys` (R, N, A) and `memory` (R, N, C).

    These are of the captions, the longest first; step t has the first rows, one for each caption that is not over.
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return StepGradients(keys, memory, attention)
    return CpuKernels()


class StepGradients(CpuKernels):
    """Collects what the steps of one teacher forcing owe to layers and memory, until their gradients are asked for.

    The memory is collected over only with additive scoring.
    """

    def __init__(self, keys: Tensor, memory: Tensor, attention: Attention | None) -> None:
        self._layers: dict[nn.Linear, _Uses] = {}
        self._memory: StepMemory | None = None
        if attention is not None and attention.scoring == "additive":
            assert attention.score is not None
            self._memory = StepMemory(keys, memory, attention.score.weight[0])

    def linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Apply a layer; its weight's gradient waits for the last of the steps."""
        if not layer.weight.requires_grad:
            return super().linear(layer, x)
        if layer not in self._layers:
            self._layers[layer] = _Uses(layer)
        return self._layers[layer](x)

    def scores(self, attention: Scoring, query: Tensor, keys: Tensor) -> Tensor:
        """Score `query` (r, A) against the first r rows of the keys: (r, N)."""
        return super().scores(attention, query, keys) if self._memory is None else self._memory.scores(query)

    def weighted(self, weights: Tensor, memory: Tensor) -> Tensor:
        """Sum the first r rows of the memory under `weights` (r, N): (r, C)."""
        return super().weighted(weights, memory) if self._memory is None else self._memory.weighted(weights)


class _Uses:
    """A layer's weights in the dtype of the products, and the rows that went through it."""

    def __init__(self, layer: nn.Linear) -> None:
        kind = layer.weight.device.type
        on = torch.is_autocast_enabled(kind)
        self.dtype = torch.get_autocast_dtype(kind) if on else layer.weight.dtype
        self.weight = layer.weight.detach().to(self.dtype)
        self.bias = None if layer.bias is None else layer.bias.detach().to(self.dtype)
        self.inputs: list[Tensor] = []
        self.gradients: list[Tensor] = []
        self.tie = cast(Tensor, _Tie.apply(self, layer.weight, layer.bias))  # type: ignore[no-untyped-call]

    def __call__(self, x: Tensor) -> Tensor:
        return cast(Tensor, _Use.apply(self, x.to(self.dtype), self.tie))  # type: ignore[no-untyped-call]


class _Tie(torch.autograd.Function):
    """Stands between the parameters and the uses: its backward runs after that of every use."""

    @staticmethod
    def forward(ctx: Any, uses: _Uses, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.uses, ctx.biased = uses, bias is not None
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[None, Tensor, Tensor | None]:
        gradient, inputs = (evened(torch.cat(p)) for p in (ctx.uses.gradients, ctx.uses.inputs))  # (P, O), (P, I)
        ctx.uses.gradients, ctx.uses.inputs = [], []
        bias = gradient.sum(0, dtype=torch.float32) if ctx.biased else None
        return None, (gradient.T @ inputs).float(), bias


class _Use(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, uses: _Uses, x: Tensor, tie: Tensor) -> Tensor:
        ctx.uses = uses
        ctx.save_for_backward(x)
        return F.linear(x, uses.weight, uses.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        (x,) = ctx.saved_tensors
        ctx.uses.gradients.append(gradient)
        ctx.uses.inputs.append(x)
        return None, gradient @ ctx.uses.weight, gradient.new_zeros((), dtype=torch.float32)


class StepMemory:
    """What the captions of teacher forcing look at, one row each; step t uses the first rows, those not yet ended.

    `keys` (R, N, A) and `memory` (R, N, C) get their gradient once, like the weights above.
    """

    def __init__(self, keys: Tensor, memory: Tensor, score: Tensor) -> None:
        self.keys, self.memory, self.score = keys.detach(), memory.detach(), score.detach().to(keys.dtype)
        self.slopes: Tensor | None = None  # (R, N, A) sum over t of dL/dz * [pre-activation > 0]
        self.score_gradient = torch.zeros_like(self.score, dtype=torch.float32)
        self.mixed: list[tuple[Tensor, Tensor]] = []  # of each step weights (r, N) and the context's gradient (r, C)
        self.tie = cast(Tensor, _KeyTie.apply(self, keys, score))  # type: ignore[no-untyped-call]
        self.memory_tie = cast(Tensor, _MemoryTie.apply(self, memory))  # type: ignore[no-untyped-call]

    def scores(self, query: Tensor) -> Tensor:
        """Map `query` (r, A) -> score . relu(key + query), (r, N)."""
        return cast(Tensor, _Scores.apply(self, query.to(self.keys.dtype), self.tie))  # type: ignore[no-untyped-call]

    def weighted(self, weights: Tensor) -> Tensor:
        """Map `weights` (r, N) -> sums (r, C) of the memory."""
        return cast(Tensor, _Mix.apply(self, weights.to(self.memory.dtype), self.memory_tie))  # type: ignore[no-untyped-call]


class _Scores(torch.autograd.Function):
    """All that backward needs of the (r, N, A) pre-activations is where they are positive."""

    @staticmethod
    def forward(ctx: Any, memory: StepMemory, query: Tensor, tie: Tensor) -> Tensor:
        hidden = (memory.keys[: len(query)] + query[:, None]).relu_()  # (r, N, A)
        scores = hidden @ memory.score
        ctx.memory = memory
        ctx.save_for_backward(query, hidden.sign_())
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        query, positive = ctx.saved_tensors
        memory: StepMemory = ctx.memory
        if memory.slopes is None:
            memory.slopes = torch.zeros_like(memory.keys)
        memory.slopes[: len(query)].addcmul_(positive, gradient[..., None])
        slope = (gradient[:, None] @ positive).squeeze(1)  # (r, A)
        memory.score_gradient += (slope * query).sum(0, dtype=torch.float32)
        return None, slope * memory.score, gradient.new_zeros(())


class _KeyTie(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: StepMemory, keys: Tensor, score: Tensor) -> Tensor:
        ctx.memory = memory
        return keys.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[None, Tensor, Tensor]:
        memory: StepMemory = ctx.memory
        assert memory.slopes is not None
        # relu(k + q) = (k + q) * [k + q > 0]: the sums over k and over q make up the gradient of the score's weights
        score = memory.score_gradient + (memory.slopes * memory.keys).sum((0, 1), dtype=torch.float32)
        keys, memory.slopes = memory.slopes.mul_(memory.score), None
        return None, keys, score


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: StepMemory, weights: Tensor, tie: Tensor) -> Tensor:
        ctx.memory, ctx.collect = memory, tie.requires_grad
        ctx.save_for_backward(weights)
        return (weights[:, None] @ memory.memory[: len(weights)]).squeeze(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor]:
        (weights,) = ctx.saved_tensors
        memory: StepMemory = ctx.memory
        if ctx.collect:
            memory.mixed.append((weights, gradient))
        back = (memory.memory[: len(weights)] @ gradient[:, :, None]).squeeze(2)
        return None, back, gradient.new_zeros(())


class _MemoryTie(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: StepMemory, cells: Tensor) -> Tensor:
        ctx.memory = memory
        return cells.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[None, Tensor]:
        memory: StepMemory = ctx.memory
        pad = nn.utils.rnn.pad_sequence  # (T, r, ...) with r falling -> (R, T, ...)
        steps = sorted(memory.mixed, key=lambda step: -len(step[0]))
        weights, gradients = (pad(list(part)) for part in zip(*steps, strict=True))
        memory.mixed = []
        return None, weights.transpose(1, 2) @ gradients  # (R, N, T) @ (R, T, C)
