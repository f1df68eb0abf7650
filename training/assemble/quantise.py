"""An encoder in whole numbers of eight bits (static quantisation: Jacob et al. 2018, sections 2 and 3).

Batch norm is folded into the weights. Each channel of weights has a step of its own; of activations each tensor has a
range, looked up on photos. The graph comes without the convolutions' weights, see `vsearch.storage.onnx`.

Shapes: I pictures, S side in pixels, O channels out of a convolution.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vsearch.image.pixels import normalise
from vsearch.networks.fast.batchnorm import folded
from vsearch.networks.fast.onnx import GRID, PIXELS, POOL
from vsearch.networks.joint import JointModel
from vsearch.storage.onnx import Graphs, Scales

TAIL = 5  # percent of the photos whose extremes are left out of a range: a rare one would make all steps coarse
BATCH = 2  # photos at once: what is kept of one takes a hundred megabytes in a ResNet-50
QUANTISED = "Conv", "Relu", "Clip", "Add", "MaxPool", "Concat"  # all else is computed in float32

Floats = NDArray[np.float32]


class PixelEncoder(nn.Module):
    """uint8 pixels (B, S, S, 3) -> grid (B, N, C) and pool (B, C): `Encoder` behind `normalise`, batch norm folded."""

    def __init__(self, model: JointModel) -> None:
        super().__init__()
        self.encoder, self.preprocess = folded(model.encoder).float().cpu(), model.config.preprocess
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        grid, pool = self.encoder(normalise(pixels, self.preprocess))
        return grid, pool


def quantised(model: JointModel, pixels: NDArray[np.uint8]) -> Graphs:
    """Return the encoder's graph in eight bits and the one in float32 that it was made of.

    `pixels` (I, S, S, 3) give the ranges of the activations.
    """
    network = PixelEncoder(model)
    stored, own = model.encoder.state_dict(), network.encoder.state_dict()
    factors = {f"encoder.{key}": _factor(stored[key], own[key]) for key in own if own[key].ndim == 4}
    floats = float_graph(network, model.config.preprocess.side)
    eight = _with_steps(floats, ranges(floats, pixels))
    steps = _strip(eight, factors)
    _strip_floats(floats, factors)
    return Graphs(_bytes(eight), steps, _bytes(floats), factors)


def float_graph(network: PixelEncoder, side: int) -> Any:
    """Return the network as an ONNX model that takes any number of pictures."""
    sample = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own parts
        program = torch.onnx.export(
            network, (sample,), input_names=[PIXELS], output_names=[GRID, POOL], dynamo=True,
            dynamic_shapes=({0: batch},), verbose=False,
        )  # fmt: skip
    assert program is not None
    return onnx.shape_inference.infer_shapes(program.model_proto)


def ranges(graph: Any, pixels: NDArray[np.uint8]) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest value of each tensor inside the graph, zero included.

    They are those that all but TAIL percent of the pictures keep to.
    """
    known = {info.name for info in graph.graph.value_info if info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    names = [name for node in graph.graph.node for name in node.output if name in known]
    told = onnx.ModelProto()
    told.CopyFrom(graph)
    for name in names:
        told.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
    extremes = []  # of each batch: (names, 2, pictures)
    for start in range(0, len(pixels), BATCH):
        part = pixels[start : start + BATCH]
        rows = [found.reshape(len(part), -1) for found in session.run(names, {PIXELS: part})]
        extremes.append(np.stack([(row.min(1), row.max(1)) for row in rows]))
    every = np.concatenate(extremes, axis=2)
    low, high = np.percentile(every[:, 0], TAIL, axis=1), np.percentile(every[:, 1], 100 - TAIL, axis=1)
    return {name: (min(a, 0.0), max(b, 0.0)) for name, a, b in zip(names, low.tolist(), high.tolist(), strict=True)}


def _with_steps(graph: Any, found: dict[str, tuple[float, float]]) -> Any:
    """Return the graph with a pair of operators that round to steps around each tensor that is quantised."""
    from onnxruntime import quantization
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    data = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in found.items()}
    kinds = quantization.QuantType.QInt8, quantization.QuantType.QUInt8  # of weights, of activations
    ranges = TensorsData(CalibrationMethod.MinMax, data)
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # it works in its own
    quantiser = QDQQuantizer(copy, True, False, *kinds, ranges, [], [], list(QUANTISED), {})
    quantiser.quantize_model()
    return quantiser.model.model


def _factor(stored: Tensor, folded: Tensor) -> Floats:
    """Return by how much each channel (O,) of a convolution's weights was multiplied, to take in batch norm."""
    weight, own = stored.flatten(1).numpy(), folded.flatten(1).numpy()
    largest = np.abs(weight).argmax(1)[:, None]
    parts = np.take_along_axis(own, largest, 1), np.take_along_axis(weight, largest, 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # of channels of zeros
        return np.asarray(np.nan_to_num(parts[0] / parts[1])[:, 0], np.float32)


def _strip(graph: Any, factors: Scales) -> dict[str, Floats]:
    """Take the convolutions' weights out of `graph`, in eight bits; return the step of each, as they are stored."""
    constants = {constant.name: constant for constant in graph.graph.initializer}
    steps: dict[str, Floats] = {}
    for node in graph.graph.node:
        name = node.input[0].removesuffix("_quantized") if node.op_type == "DequantizeLinear" else ""
        if name not in factors:
            continue
        scale = onnx.numpy_helper.to_array(constants[node.input[1]])  # (O,)
        with np.errstate(divide="ignore"):  # of channels of zeros, whose step is infinite
            steps[name] = (scale / factors[name]).astype(np.float32)
        _take_out(constants[node.input[0]], name)
        node.input[0] = name
    return steps


def _strip_floats(graph: Any, factors: Scales) -> None:
    """Take the convolutions' weights out of `graph`, in float32."""
    for constant in graph.graph.initializer:
        if constant.name in factors:
            _take_out(constant, constant.name)


def _bytes(graph: Any) -> bytes:
    """Return a graph as a file holds it, without what it does not use and what the exporter noted."""
    used = {node.domain for node in graph.graph.node}
    domains = [domain for domain in graph.opset_import if domain.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(domains)
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
    del graph.graph.value_info[:]
    return bytes(graph.SerializeToString())


def _take_out(constant: Any, name: str) -> None:
    """Leave a constant's type and shape only, under a new name."""
    kept = onnx.TensorProto(
        name=name, data_type=constant.data_type, dims=constant.dims, data_location=onnx.TensorProto.EXTERNAL
    )
    kept.external_data.add(key="location", value="model.safetensors")
    constant.CopyFrom(kept)
