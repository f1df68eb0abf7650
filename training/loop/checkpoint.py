"""Checkpoints without pickle: tensors in safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vsearch.errors import DataError
from vsearch.files import replacing

T = TypeVar("T")
BEST = "best.safetensors"


def save(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor], state: dict[str, Any]
) -> None:
    """Write weights, optimiser moments, the weight average, random state and `state` atomically."""
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    tensors["random.torch"] = torch.get_rng_state()
    write(path, tensors, state=json.dumps(state))


def write(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> None:
    """Write a safetensors file; it takes its name only when complete."""
    from safetensors.torch import save_file

    with replacing(path) as fresh:
        save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, fresh, metadata or None)


def load(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore what `save` wrote; returns the weight average and the state.

    Raises DataError if the file is damaged or of another network.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            state = json.loads((file.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError) as error:
        raise DataError(f"{path} is not a readable checkpoint: {error}", "start the training again") from error
    try:
        module.load_state_dict(below(tensors, "module."))
    except RuntimeError as error:
        raise DataError(
            f"{path} is of another network: {' '.join(str(error).split())}", "use the recipe it was made with"
        ) from error
    if optimizer is not None:
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in below(tensors, "optimizer.").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random.torch"])
    return below(tensors, "average."), state


def load_best(run: Path, module: nn.Module) -> None:
    """Give `module` the best weights of the finished training in the folder `run`.

    Raises DataError if there are none, or they are of another network.
    """
    try:
        module.load_state_dict(best_weights(run))
    except RuntimeError as error:
        raise DataError(f"{run / BEST} is of another network: {error}", "use the [decoder] it was made with") from error


def best_weights(run: Path) -> dict[str, Tensor]:
    """Load the best weights of the finished training in the folder `run`. Raises DataError if there are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(run / BEST)
    except (SafetensorError, OSError) as error:
        raise DataError(f"cannot read {run / BEST}: {error}", "name the output folder of a training") from error


def below(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Return what is named `prefix` and more, under the rest of its name."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
