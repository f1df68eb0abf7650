"""Ways to run a model's encoder and DeViSE head on a processor: pictures a second, and how true the vectors stay.

    python -m benchmarks.inference [--model FOLDER] [--data FILE] [--split dev] [--batch 32] [--repeats 7] [--json FILE]

Every way takes the same pictures in uint8 and gives the grid (for captions) and the unit vector. They take turns, and
medians of wall time count; the ratio is to eager float32. With FILE, what `vsearch prepare captions` wrote, pictures
are real, int8 is calibrated on the training split, and each way's recall of the split stands next to its speed. Needs
onnx, onnxscript, onnxruntime, openvino and nncf; a way whose package is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.assemble.quantise import PixelEncoder
from training.data.prepared import open_prepared, read_stored_pixels
from training.evaluate.captions import read_split, retrieval
from vsearch.config import PreprocessConfig
from vsearch.device import fast_bf16
from vsearch.image.pixels import normalise
from vsearch.networks.fast.batchnorm import folded
from vsearch.networks.fast.model import FastModel
from vsearch.networks.joint import JointModel
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace

CALIBRATION = 300  # pictures
Floats = NDArray[np.float32]
Way = Callable[[Tensor], Floats]  # uint8 pictures (B, 3, S, S) -> unit vectors (B, D)


class Network(nn.Module):
    """Normalised pictures (B, 3, S, S) -> grid (B, N, C) and unit vectors (B, D)."""

    def __init__(self, model: JointModel, fold: bool) -> None:
        super().__init__()
        assert model.devise is not None
        self.encoder = folded(model.encoder) if fold else model.encoder
        self.devise, self.preprocess = model.devise, model.config.preprocess
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        grid, pool = self.encoder(images)
        return grid, self.devise(pool)


def unit(vectors: Any) -> Floats:
    """Return rows (B, D) of length one, as float32: quantised networks miss it."""
    return np.asarray(F.normalize(torch.as_tensor(vectors).float(), dim=-1).numpy())


def eager(network: Network, dtype: torch.dtype, channels_last: bool, compiled: bool = False) -> Way:
    network, preprocess = network.to(dtype), network.preprocess
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(network) if compiled else network

    @torch.inference_mode()
    def way(pixels: Tensor) -> Floats:
        images = normalise(pixels, preprocess).to(dtype)
        return unit(run(images.contiguous(memory_format=_layout(channels_last)))[1])

    return way


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def onnx_runtime(network: Network, sample: Tensor, folder: Path, calibration: Tensor | None) -> Way:
    """Return ONNX Runtime, in int8 where there are pictures to calibrate on."""
    import onnxruntime

    preprocess, sample = network.preprocess, normalise(sample, network.preprocess).contiguous()
    path = folder / "float.onnx"
    if not path.is_file():
        names, batch = ["images"], torch.export.Dim("batch", min=1, max=1024)
        torch.onnx.export(
            network, (sample,), str(path), input_names=names, output_names=["grid", "vectors"], dynamo=True,
            dynamic_shapes=({0: batch},), external_data=False, verbose=False,
        )  # fmt: skip
    if calibration is not None:
        path = _onnx_int8(path, folder / "int8.onnx", calibration, preprocess)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def way(pixels: Tensor) -> Floats:
        images = normalise(pixels, preprocess).contiguous().numpy()
        return unit(session.run(["grid", "vectors"], {"images": images})[1])

    return way


def _onnx_int8(source: Path, target: Path, calibration: Tensor, preprocess: PreprocessConfig) -> Path:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts: Iterator[Tensor] = iter(torch.split(calibration, 25))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": normalise(part, preprocess).contiguous().numpy()}

    ready = source.with_name("ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantization.quantize_static(str(ready), str(target), Reader(), per_channel=True)
    return target


def quantised(network: Network, sample: Tensor, precision: str, calibration: Tensor) -> Way:
    """Return OpenVINO in int8, calibrated by NNCF; what stays in floats is computed in `precision`."""
    import nncf

    ov, preprocess = openvino(), network.preprocess
    images = normalise(sample, preprocess).contiguous()
    model = ov.convert_model(network, example_input=images, input=[ov.PartialShape([-1, *images.shape[1:]])])
    parts = [normalise(part, preprocess).contiguous().numpy() for part in torch.split(calibration, 1)]
    model = nncf.quantize(model, nncf.Dataset(parts))
    run = on_processor(model, precision)
    return lambda pixels: unit(run(normalise(pixels, preprocess).contiguous().numpy())[1])


def compiled(model: JointModel, precision: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Return OpenVINO's encoder, uint8 pictures -> grid and pool; floats are computed in `precision`."""
    ov, side = openvino(), model.config.preprocess.side
    graph = ov.convert_model(
        PixelEncoder(model), example_input=torch.zeros(2, side, side, 3, dtype=torch.uint8),
        input=[ov.PartialShape([-1, side, side, 3])],
    )  # fmt: skip
    run = on_processor(graph, precision)

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = run(pixels.contiguous().numpy())
        return torch.from_numpy(found[0]), torch.from_numpy(found[1])

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


def headed(model: JointModel, precision: str) -> Way:
    """Return OpenVINO's encoder under the model's head."""
    encode, head = compiled(model, precision), model.devise
    assert head is not None

    @torch.inference_mode()
    def way(pixels: Tensor) -> Floats:
        return unit(head(encode(pixels)[1]))

    return way


def ways(model: JointModel, sample: Tensor, calibration: Tensor | None, folder: Path) -> dict[str, Callable[[], Way]]:
    """Return how to make each of them; the first is the reference."""
    half, whole = torch.bfloat16, torch.float32
    quick = FastModel(model)
    found: dict[str, Callable[[], Way]] = {
        "eager, float32": lambda: eager(Network(model, False), whole, False),
        "folded, channels last, float32": lambda: eager(Network(model, True), whole, True),
        "as describe() runs it": lambda: lambda pixels: quick.describe(pixels, captions=False).vectors,
        "torch.compile, float32": lambda: eager(Network(model, True), whole, True, compiled=True),
        "ONNX Runtime, float32": lambda: onnx_runtime(Network(model, True), sample, folder, None),
        "OpenVINO, float32": lambda: headed(model, "f32"),
        "OpenVINO, bfloat16": lambda: headed(model, "bf16"),
    }
    if fast_bf16(torch.device("cpu")):
        found["torch.compile, bfloat16"] = lambda: eager(_own(model), half, True, compiled=True)
    if calibration is not None:
        found["ONNX Runtime, int8"] = lambda: onnx_runtime(Network(model, True), sample, folder, calibration)
        found["OpenVINO, int8"] = lambda: quantised(Network(model, True), sample, "f32", calibration)
        found["OpenVINO, int8 and bfloat16"] = lambda: quantised(Network(model, True), sample, "bf16", calibration)
    return found


def _own(model: JointModel) -> Network:
    """Return a network that shares no weights with the model, so that it may be cast."""
    return copy.deepcopy(Network(model, True))


def compare(made: dict[str, Way], images: Tensor, batch: int, repeats: int) -> dict[str, float]:
    """Measure the pictures per second of each way, in turns; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for n in range(repeats + 1):
        part = images[torch.arange(n * batch, (n + 1) * batch) % len(images)]
        for name, way in made.items():
            way(part) if not n else None
            started = time.perf_counter()
            way(part)
            seconds[name].append(time.perf_counter() - started)
    return {name: batch / statistics.median(found[1:]) for name, found in seconds.items()}


def truth(made: dict[str, Way], images: Tensor, batch: int) -> tuple[dict[str, Floats], dict[str, dict[str, float]]]:
    """Return the vectors (I, D) of each way, and their cosines to those of the first: mean and least."""
    vectors = {name: np.concatenate([way(part) for part in torch.split(images, batch)]) for name, way in made.items()}
    reference = next(iter(vectors.values()))
    cosines = {name: (own * reference).sum(1) for name, own in vectors.items()}
    return vectors, {name: {"cosine": float(c.mean()), "least": float(c.min())} for name, c in cosines.items()}


def pictures(model: JointModel, file: Path, split: str, most: int | None = None) -> Tensor:
    """Return pictures uint8 (I, 3, S, S) of a prepared file, channels last in memory, as `describe` meets them."""
    rows = read_split(file, split).rows[:most]
    with open_prepared(file, "captions") as opened:
        pixels = read_stored_pixels(opened, rows, model.config.preprocess.side)
    return torch.from_numpy(pixels)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=modelfolder.bundled())
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results there")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    a = arguments(given)
    model = modelfolder.load(a.model, "cpu").eval().requires_grad_(False)
    side = model.config.preprocess.side
    if a.data is None:
        images = torch.randint(0, 256, (a.batch * 2, side, side, 3), dtype=torch.uint8)
        calibration = None
    else:
        images, calibration = pictures(model, a.data, a.split), pictures(model, a.data, "train", CALIBRATION)
    made: dict[str, Way] = {}
    with tempfile.TemporaryDirectory(prefix="inference-") as folder:
        for name, make in ways(model, images[:2], calibration, Path(folder)).items():
            try:
                made[name] = make()
            except ImportError as error:
                print(f"left out: {name} ({error})")
        rates = compare(made, images, a.batch, a.repeats)
        vectors, rows = truth(made, images, a.batch)
    for name, row in rows.items():
        row |= {"pictures_per_second": rates[name], "ratio": rates[name] / next(iter(rates.values()))}
        if a.data is not None:
            found = retrieval(vectors[name], read_split(a.data, a.split), PhraseSpace.load(a.model))
            row |= {key: found[key] for key in ("t2i_r1", "t2i_r10", "i2t_r10")}
    columns = list(next(iter(rows.values())))
    print(f"{torch.get_num_threads()} threads, batch {a.batch}\n| way | {' | '.join(columns)} |")
    print("|---|" + "---:|" * len(columns))
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[c]:.4g}' for c in columns)} |")
    if a.json:
        a.json.write_text(json.dumps({"batch": a.batch, "ways": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
