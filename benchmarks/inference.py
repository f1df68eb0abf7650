"""Ways to run a model's encoder and DeViSE head on a processor: pictures a second, and how true the vectors stay.

    python -m benchmarks.inference [--model FOLDER] [--data FILE] [--split dev] [--batch 32] [--repeats 7] [--json FILE]

Every way takes the same normalised pictures and gives the grid (for captions) and the unit vector. They take turns, and
medians of wall time count; the ratio is to eager float32. With FILE, what `vsearch prepare captions` wrote, pictures
are real, int8 is calibrated on the training split, and each way's recall of the split stands beside its speed. Needs
onnx, onnxscript, onnxruntime, openvino and nncf; a way whose package is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from training.evaluate import read_split, retrieval
from training.prepare.store import open_prepared, read_pixels
from vsearch import modelfolder
from vsearch.device import fast_bf16
from vsearch.image.transform import normalise
from vsearch.models.fold import folded
from vsearch.models.joint import JointModel
from vsearch.text.phrase import PhraseSpace

CALIBRATION = 300  # pictures
Floats = NDArray[np.float32]
Way = Callable[[Tensor], Floats]  # normalised pictures (B, 3, S, S) -> unit vectors (B, D)


class Network(nn.Module):
    """Normalised pictures (B, 3, S, S) -> grid (B, N, C) and unit vectors (B, D)."""

    def __init__(self, model: JointModel, fold: bool) -> None:
        super().__init__()
        assert model.devise is not None
        self.encoder = folded(model.encoder) if fold else model.encoder
        self.devise = model.devise
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        grid, pool = self.encoder(images)
        return grid, self.devise(pool)


def eager(network: Network, dtype: torch.dtype, channels_last: bool, compiled: bool = False) -> Way:
    network = network.to(dtype)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(network) if compiled else network

    @torch.inference_mode()
    def way(images: Tensor) -> Floats:
        images = images.to(dtype)
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return np.asarray(F.normalize(run(images)[1].float(), dim=-1).numpy())

    return way


def onnx_runtime(network: Network, sample: Tensor, folder: Path, calibration: Tensor | None) -> Way:
    """ONNX Runtime, in int8 where there are pictures to calibrate on."""
    import onnxruntime

    path = folder / "float.onnx"
    if not path.is_file():
        names, batch = ["images"], torch.export.Dim("batch", min=1, max=1024)
        torch.onnx.export(
            network, (sample,), str(path), input_names=names, output_names=["grid", "vectors"], dynamo=True,
            dynamic_shapes=({0: batch},), external_data=False, verbose=False,
        )  # fmt: skip
    if calibration is not None:
        path = _onnx_int8(path, folder / "int8.onnx", calibration)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["grid", "vectors"], {"images": images.numpy()})[1], np.float32)


def _onnx_int8(source: Path, target: Path, calibration: Tensor) -> Path:
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts: Iterator[Tensor] = iter(torch.split(calibration, 25))

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            part = next(self.parts, None)
            return None if part is None else {"images": part.numpy()}

    ready = source.with_name("ready.onnx")
    quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
    quantization.quantize_static(str(ready), str(target), Reader(), per_channel=True)
    return target


def openvino(network: Network, sample: Tensor, precision: str, calibration: Tensor | None) -> Way:
    import openvino as ov

    model = ov.convert_model(network, example_input=sample, input=[ov.PartialShape([-1, *sample.shape[1:]])])
    if calibration is not None:
        import nncf

        model = nncf.quantize(model, nncf.Dataset([part.numpy() for part in torch.split(calibration, 1)]))
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(model, "CPU", settings | {"INFERENCE_PRECISION_HINT": precision})
    return lambda images: np.asarray(compiled(images.numpy())[1], np.float32)


def ways(model: JointModel, sample: Tensor, calibration: Tensor | None, folder: Path) -> dict[str, Callable[[], Way]]:
    """How to make each of them; the first is the reference."""
    half, whole = torch.bfloat16, torch.float32
    quick = half if fast_bf16(torch.device("cpu")) else whole
    found: dict[str, Callable[[], Way]] = {
        "eager, float32": lambda: eager(Network(model, False), whole, False),
        "folded, channels last, float32": lambda: eager(Network(model, True), whole, True),
        "as describe() runs it": lambda: lambda images: _described(model, images),
        "torch.compile, float32": lambda: eager(Network(model, True), whole, True, compiled=True),
        "ONNX Runtime, float32": lambda: onnx_runtime(Network(model, True), sample, folder, None),
        "OpenVINO, float32": lambda: openvino(Network(model, True), sample, "f32", None),
        "OpenVINO, bfloat16": lambda: openvino(Network(model, True), sample, "bf16", None),
    }
    if quick is half:
        found["torch.compile, bfloat16"] = lambda: eager(_own(model), half, True, compiled=True)
    if calibration is not None:
        found["ONNX Runtime, int8"] = lambda: onnx_runtime(Network(model, True), sample, folder, calibration)
        found["OpenVINO, int8"] = lambda: openvino(Network(model, True), sample, "f32", calibration)
        found["OpenVINO, int8 and bfloat16"] = lambda: openvino(Network(model, True), sample, "bf16", calibration)
    return found


def _own(model: JointModel) -> Network:
    """A network that shares no weights with the model, so that it may be cast."""
    return copy.deepcopy(Network(model, True))


@torch.inference_mode()
def _described(model: JointModel, images: Tensor) -> Floats:
    """The quick copies that `JointModel.describe` makes, fed like the others with normalised pictures."""
    assert model.devise is not None
    encoder, _ = model._fast_parts()
    dtype = next(encoder.parameters()).dtype
    _, pool = encoder(images.to(dtype, memory_format=torch.channels_last))
    return np.asarray(model.devise(pool.float()).numpy())


def compare(made: dict[str, Way], images: Tensor, batch: int, repeats: int) -> dict[str, float]:
    """Pictures per second of each way, in turns; the first round only warms up."""
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
    """The vectors (I, D) of each way, and their cosines to those of the first: mean and least."""
    vectors = {name: np.concatenate([way(part) for part in torch.split(images, batch)]) for name, way in made.items()}
    reference = next(iter(vectors.values()))
    cosines = {name: (own * reference).sum(1) for name, own in vectors.items()}
    return vectors, {name: {"cosine": float(c.mean()), "least": float(c.min())} for name, c in cosines.items()}


def pictures(model: JointModel, file: Path, split: str, most: int | None = None) -> Tensor:
    """Normalised pictures (I, 3, S, S) of a prepared file."""
    rows = read_split(file, split).rows[:most]
    with open_prepared(file, "captions") as opened:
        pixels = read_pixels(opened, rows, model.config.preprocess.side)
    return normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2), model.config.preprocess).contiguous()


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
        images, calibration = torch.randn(a.batch * 2, 3, side, side), None
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
