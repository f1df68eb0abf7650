"""An encoder in whole numbers of eight bits (static quantisation: Jacob et al. 2018, sections 2 and 3).

Batch norm is folded into the weights. Each channel of weights has a step of its own; of activations each tensor has a
range, looked up on photos. The graph comes without the convolutions' weights, see `vsearch.storage.int8`.

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
from vsearch.networks.fast.int8 import GRID, PIXELS, POOL
from vsearch.networks.joint import JointModel

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


def quantised(model: JointModel, pixels: NDArray[np.uint8]) -> tuple[bytes, dict[str, Floats]]:
    """Return the graph of the encoder in eight bits, and what each step of a convolution's weights is, by its name.

    `pixels` (I, S, S, 3) give the ranges of the activations.
    """
    network = PixelEncoder(model)
    graph = float_graph(network, model.config.preprocess.side)
    made = _with_steps(graph, ranges(graph, pixels))
    steps = _strip(made, model.encoder.state_dict(), network.encoder.state_dict())
    return made.SerializeToString(), steps


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
    quantiser = QDQQuantizer(graph, True, False, *kinds, ranges, [], [], list(QUANTISED), {})
    quantiser.quantize_model()
    return quantiser.model.model


def _strip(graph: Any, stored: dict[str, Tensor], folded: dict[str, Tensor]) -> dict[str, Floats]:
    """Take the convolutions' weights out of `graph`; return the step of each, of the weights as they are `stored`.

    `folded` are the weights that the graph was made of, which are the stored ones times a factor for each channel.
    """
    constants = {constant.name: constant for constant in graph.graph.initializer}
    steps: dict[str, Floats] = {}
    for node in graph.graph.node:
        name = node.input[0].removesuffix("_quantized") if node.op_type == "DequantizeLinear" else ""
        key = name.removeprefix("encoder.")
        if name == key or key not in stored or stored[key].ndim != 4:
            continue
        scale = onnx.numpy_helper.to_array(constants[node.input[1]])  # (O,)
        weight, own = (state[key].flatten(1).numpy() for state in (stored, folded))
        with np.errstate(divide="ignore", invalid="ignore"):  # of channels of zeros, whose step is infinite
            largest = np.abs(weight).argmax(1)[:, None]
            factor = np.take_along_axis(own, largest, 1) / np.take_along_axis(weight, largest, 1)
            steps[name] = (scale / np.nan_to_num(factor[:, 0])).astype(np.float32)
        _take_out(constants[node.input[0]], name)
        node.input[0] = name
    used = {node.domain for node in graph.graph.node}
    domains = [domain for domain in graph.opset_import if domain.domain in used]
    del graph.opset_import[:]
    graph.opset_import.extend(domains)
    return steps


def _take_out(constant: Any, name: str) -> None:
    """Leave a constant's type and shape only, under a new name."""
    kept = onnx.TensorProto(
        name=name, data_type=constant.data_type, dims=constant.dims, data_location=onnx.TensorProto.EXTERNAL
    )
    kept.external_data.add(key="location", value="model.safetensors")
    constant.CopyFrom(kept)
