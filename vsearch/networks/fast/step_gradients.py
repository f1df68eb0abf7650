"""Linear layers that a decoder uses in every step, with their weights' gradient computed once instead of T times.

Shapes: R rows of one step, P rows of all steps, I and O the sizes of a layer.

In a loop over T steps plain autograd multiplies out the gradient of each weight (O, I) in every step, for few rows, and
adds T such matrices. Here the rows of all steps are collected, and one product over P rows gives the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 128  # what numbers of words are rounded up to


def evened(rows: Tensor) -> Tensor:
    """`rows` (P, ...) and zeros behind them, up to a multiple of ROWS.

    Batches have other numbers of words each. oneDNN builds each product anew for a shape that it has not met, which may
    take longer than to multiply, and keeps what it built.
    """
    missing = -len(rows) % ROWS
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])]) if missing else rows


class StepLinear(nn.Linear):
    """nn.Linear; within `deferred` its weight gradient waits for the last of the steps."""

    _uses: _Uses | None = None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self._uses is None else self._uses(x)


@contextmanager
def deferred(module: nn.Module) -> Iterator[None]:
    """Let the step layers of `module` collect; one forward pass long. No effect where no gradient is taken."""
    layers = [m for m in module.modules() if isinstance(m, StepLinear) and m.weight.requires_grad]
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        layers = []
    try:
        for layer in layers:
            layer._uses = _Uses(layer)
        yield
    finally:
        for layer in layers:
            layer._uses = None


class _Uses:
    """A layer's weights in the dtype of the products, and the rows that went through it."""

    def __init__(self, layer: StepLinear) -> None:
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
        """`query` (r, A) -> score . relu(key + query), (r, N)."""
        return cast(Tensor, _Scores.apply(self, query.to(self.keys.dtype), self.tie))  # type: ignore[no-untyped-call]

    def weighted(self, weights: Tensor) -> Tensor:
        """`weights` (r, N) -> sums (r, C) of the memory."""
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
