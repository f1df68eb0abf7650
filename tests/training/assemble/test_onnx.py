"""Exports are compared with the model; what is not as good is not written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.support.pictures import draw, draw_folder
from tests.support.tiny_model import int8_folder, model_folder
from tests.support.training_data import prepared_captions
from training.assemble import onnx as export
from training.assemble.onnx import Exported, check, export_onnx
from training.assemble.quantise import TAIL, PixelEncoder, ranges
from vsearch.errors import DataError, ModelError
from vsearch.networks.fast.onnx import GRID, PIXELS, POOL
from vsearch.storage import modelfolder
from vsearch.storage.modelfolder import GRAPH, STEPS
from vsearch.text.phrase import PhraseSpace


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Exported(10, 0.9951, 0.981, 0.5, None), None),
        (Exported(10, 0.9949, 0.981, 0.5, None), "mean cosine of 0.9949"),
        (Exported(10, 0.9990, 0.979, 0.5, None), "at 0.9790 or more"),
        (Exported(10, float("nan"), float("nan"), float("nan"), None), "mean cosine of nan"),
        (Exported(10, 0.9990, 0.990, 0.5, (30.0, 29.6)), None),
        (Exported(10, 0.9990, 0.990, 0.5, (30.0, 29.4)), "mean recall falls from 30.0 to 29.4"),
    ],
)
def test_what_is_good_enough(found: Exported, message: str | None) -> None:
    if message is None:
        check(found)
    else:
        with pytest.raises(ModelError, match=message):
            check(found)


def test_ranges_are_what_most_pictures_keep_to() -> None:
    """A graph that doubles: of 21 pictures with the maxima 0 to 20, a twentieth, the greatest, is left out: 2 * 19."""
    node = onnx.helper.make_node("Mul", ["x", "two"], ["doubled"])
    cast = onnx.helper.make_node("Cast", [PIXELS], ["x"], to=onnx.TensorProto.FLOAT)
    last = onnx.helper.make_node("Identity", ["doubled"], [GRID])
    two = onnx.numpy_helper.from_array(np.array([2], np.float32), "two")
    shape: list[str | int | None] = ["n", 1, 1, 3]
    made = onnx.helper.make_graph(
        [cast, node, last], "test",
        [onnx.helper.make_tensor_value_info(PIXELS, onnx.TensorProto.UINT8, shape)],
        [onnx.helper.make_tensor_value_info(GRID, onnx.TensorProto.FLOAT, shape)], [two],
    )  # fmt: skip
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    pixels = np.arange(21, dtype=np.uint8).repeat(3).reshape(21, 1, 1, 3)
    found = ranges(onnx.shape_inference.infer_shapes(model), pixels)
    assert TAIL == 5 and found["doubled"] == (0.0, 38.0)


def test_the_graph_before_steps_equals_the_encoder() -> None:
    from training.assemble.quantise import float_graph

    model = modelfolder.load(model_folder(), "cpu")
    graph = float_graph(PixelEncoder(model), 64)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = np.stack([np.asarray(draw(n, (64, 64))) for n in range(3)])
    grid, pool = session.run([GRID, POOL], {PIXELS: pixels})
    with torch.inference_mode():
        expected = PixelEncoder(model)(torch.from_numpy(pixels))
    np.testing.assert_allclose(grid, expected[0].numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pool, expected[1].numpy(), rtol=1e-3, atol=1e-4)


def test_what_is_not_good_enough_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(model_folder(), tmp_path / "model"))
    space = PhraseSpace.load(folder)
    data = prepared_captions(tmp_path, space, 16)
    seen: list[Exported] = []

    def refuse(found: Exported) -> None:
        seen.append(found)
        raise ModelError("not good enough")

    monkeypatch.setattr(export, "check", refuse)
    with pytest.raises(ModelError, match="not good enough"):
        export_onnx(folder, data)
    assert not (folder / GRAPH).exists() and not (folder / STEPS).exists()
    [found] = seen
    assert found.pictures == 16 and found.recall is not None and 0 < found.recall[0] <= 100


def test_too_few_photos_and_none(tmp_path: Path) -> None:
    draw_folder(tmp_path / "few", 31)
    with pytest.raises(DataError, match="too few photos"):
        export_onnx(model_folder(), tmp_path / "few")
    with pytest.raises(DataError, match="no folder and no prepared file"):
        export_onnx(model_folder(), tmp_path / "none")


def test_photos_that_cannot_be_read_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_folder(tmp_path / "photos", 34)
    for n in (0, 1):
        (tmp_path / "photos" / f"{n:03d}.png").write_bytes(b"no picture")
    found = export._read_folder(tmp_path / "photos", 32)
    assert [len(pixels) for pixels in found[:2]] == [16, 16]


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(int8_folder(), tmp_path / "model"))
    (folder / GRAPH).write_bytes(b"damaged")
    draw_folder(tmp_path / "photos", 32)
    found = export_onnx(folder, tmp_path / "photos")
    assert found.mean > 0.995 and (folder / GRAPH).stat().st_size > 10_000
