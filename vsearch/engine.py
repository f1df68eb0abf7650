"""What runs a model on photos: ONNX Runtime, which comes with vsearch, or torch, which those who train have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vsearch.config import ModelConfig
from vsearch.device import fast_int8, installed, is_cpu, onnx_cuda

INT8, FLOAT32, TORCH = "int8", "float32", "torch"
NO_VNNI = "the processor has no exact sums of bytes (VNNI)"


@dataclass(frozen=True)
class Engine:
    """`kind` is INT8 or FLOAT32, by ONNX Runtime, on CUDA if `cuda`, or TORCH; `because` says why it is not INT8."""

    kind: str
    because: str = ""
    cuda: bool = False


def choose(folder: Path, config: ModelConfig, device: str) -> Engine:
    """Return what runs the model of `folder`, whose config is `config`, on `device`: auto, cpu, cuda, cuda:N or mps.

    ONNX Runtime where the model was exported (`vsearch.storage.onnx`): in eight bits on a processor that sums their
    products exactly, else in float32. On an accelerator torch, if it is installed. Raises VsearchError if there is no
    such device.
    """
    from vsearch.storage import onnx

    if config.devise is None:
        return Engine(TORCH, "the model places no photos among words")
    if not onnx.exported(folder):
        return Engine(TORCH, "the model's encoder is not exported to ONNX")
    if not is_cpu(device):
        cuda = onnx_cuda() and not installed("torch") and onnx.exported_floats(folder)
        return Engine(FLOAT32 if cuda else TORCH, "the device is not the processor", cuda)
    if fast_int8():
        return Engine(INT8)
    return Engine(FLOAT32 if onnx.exported_floats(folder) else TORCH, NO_VNNI)
