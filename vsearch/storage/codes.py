"""Weights as 8-bit codes, without loss: `NAME.q` uint8, `NAME.scale` float64 and `NAME.zero` int32 in place of `NAME`.

    NAME = (q - zero) * scale, computed in float64 and rounded to float32

A network that was trained for 8-bit arithmetic, or published in 8-bit codes, has at most 256 different, evenly spaced
values in a matrix; float16 would take twice the bytes and lose the last bits. `coded` finds the codes of such a matrix
and gives them only where every value comes back to the bit (-0 as 0); `decoded` is the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

CODES, SCALE, ZERO = ".q", ".scale", ".zero"
LEVELS = 256
SMALLEST = 2048  # values; for less, codes save nothing worth a second form


def coded(name: str, tensor: Tensor) -> dict[str, Tensor] | None:
    """Return the three parts of a float32 matrix on the CPU; None where 8 bits do not hold every value of it to the
    bit."""
    import torch

    if tensor.dtype != torch.float32 or tensor.ndim < 2 or tensor.numel() < SMALLEST:
        return None
    values = tensor.detach().contiguous().numpy()
    levels = np.unique(values)
    if not 2 <= len(levels) <= LEVELS or not np.isfinite(levels).all():
        return None
    scale = _scale(levels.astype(np.float64))
    if scale is None:
        return None
    steps = np.rint(values.astype(np.float64) / scale)
    zero = int(-steps.min())
    codes = steps + zero
    if codes.max() >= LEVELS or not np.array_equal(_values(codes, zero, scale), values):
        return None
    return {
        name + CODES: torch.from_numpy(codes.astype(np.uint8)),
        name + SCALE: torch.tensor(scale, dtype=torch.float64),
        name + ZERO: torch.tensor(zero, dtype=torch.int32),
    }


def rounded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict whose float32 matrices have at most 256 evenly spaced values each, the nearest ones, zero
    among them: what `coded` then holds to the bit. All else, and what is too small for `coded`, stays as it is.

    With loss, other than all else here: a value moves by up to a 510th of its matrix's range. Measure what that costs.
    """
    return {name: _rounded(tensor.detach().cpu()) for name, tensor in state.items()}


def _rounded(tensor: Tensor) -> Tensor:
    import torch

    if tensor.dtype != torch.float32 or tensor.ndim < 2 or tensor.numel() < SMALLEST or not tensor.any():
        return tensor
    values = tensor.contiguous().numpy().astype(np.float64)
    scale = (max(values.max(), 0.0) - min(values.min(), 0.0)) / (LEVELS - 1)
    lowest = np.rint(min(values.min(), 0.0) / scale)
    steps = np.clip(np.rint(values / scale), lowest, lowest + LEVELS - 1)
    return torch.from_numpy(_values(steps, 0, scale))


def is_coded(state: Mapping[str, Tensor]) -> bool:
    """Return whether any weight of a state dict is stored as codes."""
    return any(name.endswith(CODES) for name in state)


def decoded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with every weight that is stored as codes as the float32 matrix it was; all others as they
    are.

    Raises ModelError naming the weight whose three parts are not all there, or not of their types.
    """
    import torch

    return {
        name: torch.from_numpy(array_of(name, {part: t.cpu().numpy() for part, t in _parts(name, state).items()}))
        if name + CODES in state
        else state[name]
        for name in whole_names(state)
    }


def whole_names(state: Mapping[str, Any]) -> list[str]:
    """Return the names of the weights in a state dict, whether they are stored as codes or as they are."""
    plain = [name for name in state if not _is_part(name, state)]
    return plain + [name.removesuffix(CODES) for name in state if name.endswith(CODES)]


def array_of(name: str, state: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return the weight `name` of a state dict of arrays, whether it is stored as codes or as it is.

    Raises ModelError naming it if it is missing, or if its three parts are not all there and of their types.
    """
    if name in state:
        return np.asarray(state[name], np.float32)
    parts = _parts(name, state)
    if name + CODES not in parts:
        raise ModelError(f"the weights lack {name}", "copy or download the model again")
    codes, scale, zero = (parts.get(name + end) for end in (CODES, SCALE, ZERO))
    if codes is None or scale is None or zero is None or codes.dtype != np.uint8 or scale.size != 1 or zero.size != 1:
        raise ModelError(f"the 8-bit codes of {name} are damaged", "copy or download the model again")
    return _values(codes.astype(np.float64), int(zero.item()), float(scale.item()))


def _parts(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {name + end: state[name + end] for end in (CODES, SCALE, ZERO) if name + end in state}


def _is_part(name: str, state: Mapping[str, Any]) -> bool:
    stem = next((name.removesuffix(end) for end in (CODES, SCALE, ZERO) if name.endswith(end)), None)
    return stem is not None and stem + CODES in state


def _values(codes: NDArray[np.float64], zero: int, scale: float) -> NDArray[np.float32]:
    return np.asarray((codes - zero) * scale, np.float32)


def _scale(levels: NDArray[np.float64]) -> float | None:
    """Return the step of which every one of the sorted `levels` is a multiple, once rounded to float32; None for no
    such step.

    Each level v, k * step rounded, says that the step lies within half a unit in the last place of v / k; the middle
    of what all of them leave is taken.
    """
    gap = float(np.diff(levels).min())
    farthest = float(np.abs(levels).max())
    for parts in range(1, 9):  # levels next to each other may all be missing
        guess = gap / parts
        if farthest / guess > LEVELS:
            return None
        steps = np.rint(levels / (farthest / np.rint(farthest / guess)))
        used = steps != 0
        half = np.spacing(np.abs(levels[used]).astype(np.float32)).astype(np.float64) / 2
        low = ((np.abs(levels[used]) - half) / np.abs(steps[used])).max()
        high = ((np.abs(levels[used]) + half) / np.abs(steps[used])).min()
        if low <= high and bool((np.sign(steps) == np.sign(levels)).all()):
            return float((low + high) / 2)
    return None
