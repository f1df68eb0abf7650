"""Equals `Encoder` behind `normalise`: run quickly by torch or, where it is installed, by OpenVINO.

Shapes: B batch, S side in pixels, N grid cells, C channels.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from vsearch.config import PreprocessConfig
from vsearch.device import fast_bf16
from vsearch.image.pixels import normalise
from vsearch.networks.encoder import Encoder
from vsearch.networks.fast.batchnorm import folded

EncodePixels = Callable[[Tensor], tuple[Tensor, Tensor]]  # uint8 (B, S, S, 3) -> grid (B, N, C), pool (B, C)


def quick_encoder(encoder: Encoder, preprocess: PreprocessConfig, half: bool) -> EncodePixels:
    """Return a copy of `encoder` behind the normalisation: batch norm folded, channels last, in bfloat16 where
    `half`."""
    fast = folded(encoder)
    if half:
        fast.bfloat16()
    fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    dtype = next(fast.parameters()).dtype

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        images = normalise(pixels, preprocess).to(dtype, memory_format=torch.channels_last)
        grid, pool = fast(images)
        return grid, pool

    return encode


def usable(device: torch.device) -> bool:
    """Return whether OpenVINO is installed, and faster than torch on `device`."""
    return device.type == "cpu" and fast_bf16(device) and importlib.util.find_spec("openvino") is not None


def compiled(encoder: Encoder, preprocess: PreprocessConfig, precision: str = "bf16") -> EncodePixels:
    """Compile `encoder` behind the normalisation, in bfloat16 ("f32": float32), on as many threads as torch has now.

    Takes a second or two. Raises ImportError if OpenVINO is not installed.
    """
    ov = openvino()
    side = preprocess.side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, on sizes that are the same in every batch
        graph = ov.convert_model(
            _Network(encoder, preprocess),
            example_input=torch.zeros(2, side, side, 3, dtype=torch.uint8),
            input=[ov.PartialShape([-1, side, side, 3])],
        )
    run = on_processor(graph, precision)

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        some = pixels if len(pixels) else pixels.new_zeros(1, *pixels.shape[1:])  # it refuses none
        found = run(some.contiguous().numpy())
        grid, pool = (torch.from_numpy(found[n])[: len(pixels)] for n in (0, 1))
        return grid, pool

    return encode


def on_processor(graph: Any, precision: str) -> Any:
    """Return OpenVINO's `graph`, ready to run on as many threads as torch has now; floats in `precision`."""
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    return openvino().Core().compile_model(graph, "CPU", settings | {"INFERENCE_PRECISION_HINT": precision})


def openvino() -> ModuleType:
    """Return the module openvino, without the package by which it would tell its maker of every import and conversion.

    Raises ImportError if it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


class _Network(nn.Module):
    """uint8 pictures (B, S, S, 3) -> grid (B, N, C) and pool (B, C) float32."""

    def __init__(self, encoder: Encoder, preprocess: PreprocessConfig) -> None:
        super().__init__()
        self.encoder, self.preprocess = folded(encoder).float().cpu(), preprocess

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        grid, pool = self.encoder(normalise(pixels, self.preprocess))
        return grid, pool
