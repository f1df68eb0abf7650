"""An encoder for ONNX Runtime: torch's vectors without torch, and one clear line where files are not in order."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file

import vsearch.device
from tests.support.pictures import draw
from tests.support.tiny_model import int8_folder, model_folder
from vsearch.engine import FLOAT32, INT8, NO_VNNI, TORCH, Engine
from vsearch.errors import ModelError, VsearchError
from vsearch.model import Model, _say_once
from vsearch.networks.fast import onnx as fast
from vsearch.networks.fast.model import Encoded
from vsearch.storage import modelfolder
from vsearch.storage import onnx as exported
from vsearch.storage.modelfolder import EXPORTED, FACTORS, FLOAT_GRAPH, GRAPH, STEPS, WEIGHTS
from vsearch.storage.onnx import Graphs

needs_vnni = pytest.mark.skipif(not vsearch.device.fast_int8(), reason="this processor runs it in float32")


def pixels(count: int, side: int = 64) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.stack([np.asarray(draw(200 + n, (side, side))) for n in range(count)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the tiny model in eight bits, to be damaged."""
    return Path(shutil.copytree(int8_folder(), tmp_path / "model"))


def graphs_of(folder: Path) -> Graphs:
    """What `save` wrote."""
    scales = [load_file(folder / name) for name in (STEPS, FACTORS)]
    return Graphs((folder / GRAPH).read_bytes(), scales[0], (folder / FLOAT_GRAPH).read_bytes(), scales[1])


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        exported.load(folder, modelfolder.read_config(folder))
    text = str(caught.value)
    assert "\n" not in text and len(text) < 500
    assert caught.value.hint
    return text


@needs_vnni
def test_vectors_are_those_of_torch_but_for_rounding() -> None:
    model, reference = Model(int8_folder(), "cpu"), modelfolder.load(model_folder(), "cpu")
    photos = pixels(12)
    with torch.inference_mode():
        grid, vectors = (part.numpy() for part in reference(torch.from_numpy(photos)))
    own, captions = model.describe(photos, captions=False)
    assert captions is None and own.dtype == np.float32 and "network" not in vars(model)
    assert (own * vectors).sum(1).min() > 0.98
    assert model.onnx is not None
    cells = model.onnx.encode(photos)[0]
    assert cells.shape == grid.shape
    assert np.corrcoef(cells.ravel(), grid.ravel())[0, 1] > 0.99
    assert model.onnx.embed(photos[:0]).shape == (0, model.dim)
    np.testing.assert_allclose(model.onnx.embed(photos[3:4]), own[3:4], atol=1e-5)  # whatever else is in the batch


@pytest.mark.parametrize(("graph_name", "scales"), [(GRAPH, STEPS), (FLOAT_GRAPH, FACTORS)])
def test_the_files_hold_no_weights_twice(graph_name: str, scales: str) -> None:
    small = sum((int8_folder() / name).stat().st_size for name in (graph_name, scales))
    assert small < 0.01 * (int8_folder() / WEIGHTS).stat().st_size
    graph = onnx.load(int8_folder() / graph_name, load_external_data=False)
    outside = {c.name for c in graph.graph.initializer if c.data_location == onnx.TensorProto.EXTERNAL}
    assert outside == set(load_file(int8_folder() / scales)) and len(outside) == 20  # all convolutions of a ResNet-18


def test_in_float32_vectors_are_those_of_torch() -> None:
    model = exported.load(int8_folder(), modelfolder.read_config(int8_folder()), floats=True)
    photos = pixels(5)
    with torch.inference_mode():
        grid, vectors = modelfolder.load(model_folder(), "cpu")(torch.from_numpy(photos))
    np.testing.assert_allclose(model.embed(photos), vectors.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.encode(photos)[0], grid.numpy(), rtol=1e-3, atol=1e-4)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 on any machine."""
    monkeypatch.setattr("vsearch.networks.fast.model.fast_bf16", lambda device: False)
    monkeypatch.setattr("vsearch.device.fast_bf16", lambda device: False)


@needs_vnni
@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("agreement", [0.0, 3.0])
def test_captions_are_those_that_torch_writes_of_the_same_grid(folder: Path, agreement: float) -> None:
    table = json.loads((folder / "config.json").read_text())
    table["decoder"]["agreement"] = agreement
    (folder / "config.json").write_text(json.dumps(table))
    model, photos = Model(folder, "cpu"), pixels(9)
    vectors, captions = model.describe(photos)
    own = model.caption(photos[4], beam=4, block_repeats=True)
    assert captions is not None and not model.torch_captions and "network" not in vars(model)
    assert model.onnx is not None
    fast = modelfolder.load_fast(folder, "cpu")
    encoded = Encoded(torch.from_numpy(model.onnx.encode(photos)[0]), vectors)
    assert captions == [fast.text(best[0]) for best in fast.write(encoded)]
    expected = fast.write(encoded, beam=4, n_best=4, block_repeats=True)[4]
    assert [own.text, *(other.text for other in own.runner_ups)] == [fast.text(found) for found in expected]
    assert own.log_probability == pytest.approx(expected[0].log_probability, abs=1e-3)
    assert own.attention is not None and own.attention.shape == (len(own.words), 2, 2)


def test_a_decoder_that_numpy_lacks_is_left_to_torch(folder: Path) -> None:
    """The encoder of this model has the same weights, as it was made from the same seed."""
    other = model_folder(0, "adaptive")
    for name in ("config.json", "vocab.json", WEIGHTS):
        shutil.copyfile(other / name, folder / name)
    exported.save(folder, graphs_of(folder), modelfolder.read_config(folder).identity)
    model, photos = Model(folder, "cpu"), pixels(2)
    assert model.torch_captions
    vectors, captions = model.describe(photos)
    expected, sentences = Model(other, "cpu").describe(photos)
    assert captions == sentences
    np.testing.assert_array_equal(vectors, expected)


def test_a_decoder_whose_weights_are_missing(folder: Path) -> None:
    arrays = load_file(folder / WEIGHTS)
    del arrays["decoder.initial.weight"]
    save_file(arrays, folder / WEIGHTS)
    table = json.loads((folder / "config.json").read_text())
    table["identity"] = modelfolder.array_identity(arrays, modelfolder.read_config(folder))
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match=r"do not fit its config\.json.*initial\.weight"):
        exported.load_captioner(folder, modelfolder.read_config(folder))
    shutil.copytree(int8_folder(), folder, dirs_exist_ok=True)
    (folder / "vocab.json").write_text('["dog"]')
    with pytest.raises(ModelError, match=r"the vocabulary has 5"):
        exported.load_captioner(folder, modelfolder.read_config(folder))


def test_the_head_equals_that_of_torch() -> None:
    from vsearch.config import DeviseConfig
    from vsearch.networks.devise import DeviseHead

    torch.manual_seed(0)
    pool = torch.rand(5, 24) * 3
    for classes in (0, 7):
        head = DeviseHead(DeviseConfig(hidden=16, dim=6, classes=classes), 24).eval()
        if head.branch is not None:
            torch.nn.init.normal_(head.branch.shift)
            torch.nn.init.normal_(head.branch.map)
            torch.nn.init.constant_(head.branch.log_temperature, -1.5)
        own = fast.NumpyHead({name: t.numpy() for name, t in head.state_dict().items()})(pool.numpy())
        np.testing.assert_allclose(own, head(pool).detach().numpy(), atol=1e-6)


def test_codes() -> None:
    """0.5 is 127 steps of 0.5 / 127; a channel may be turned round, or be all zeros; what is too long is cut."""
    weight = np.array([[0.5, -0.25, 0.001], [0.5, -0.25, 0.0], [0, 0, 0], [1.0, -1.0, 0.5]], np.float32)
    step = np.array([0.5 / 127, -0.5 / 127, np.inf, 0.5 / 127], np.float32)
    expected = [[127, -64, 0], [-127, 64, 0], [0, 0, 0], [127, -127, 127]]  # -63.5 is rounded to the even number
    assert fast.codes_of(weight, step).tolist() == expected


def test_the_identity_needs_no_torch() -> None:
    config = modelfolder.read_config(model_folder())
    arrays = load_file(model_folder() / WEIGHTS)
    assert modelfolder.array_identity(arrays, config) == config.identity
    arrays["devise.layers.3.bias"] = arrays["devise.layers.3.bias"] + 1
    assert modelfolder.array_identity(arrays, config) != config.identity


# ---- which engine runs


def test_another_device_or_no_export_means_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Model(model_folder(), "cpu").engine == Engine(TORCH, "the model's encoder is not exported to ONNX")
    with pytest.raises(VsearchError, match="unknown device"):
        _ = Model(int8_folder(), "toaster").engine
    monkeypatch.setattr("vsearch.engine.is_cpu", lambda name: name == "cpu")
    assert Model(int8_folder(), "cuda").engine == Engine(TORCH, "the device is not the processor")


def test_without_torch_cuda_is_for_onnx_runtime_if_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for device in ("cuda", "cuda:1", "mps"):
        with pytest.raises(VsearchError, match="torch, which is not installed") as caught:
            _ = Model(int8_folder(), device).engine
        assert caught.value.hint == "pip install 'vsearch-photos[train]'"
    with pytest.raises(VsearchError, match="unknown device"):
        _ = Model(int8_folder(), "toaster").engine
    monkeypatch.setattr("vsearch.device._accelerator_driver", lambda: True)
    assert Model(int8_folder(), "auto").engine.kind in (INT8, FLOAT32)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: [fast.CUDA, fast.PROCESSOR])
    for device in ("auto", "cuda"):
        assert Model(int8_folder(), device).engine == Engine(FLOAT32, "the device is not the processor", cuda=True)


def test_a_model_that_was_not_exported_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(VsearchError, match="not exported to ONNX: that takes torch, which is not installed"):
        Model(model_folder(), "cpu").embed_image(draw(1))


def test_a_processor_without_vnni_takes_float32_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, folder: Path
) -> None:
    monkeypatch.setattr(vsearch.device, "_processor_flags", lambda: {"avx2", "avx512f"})
    monkeypatch.setattr("sys.platform", "linux")
    _say_once.cache_clear()
    photos = pixels(2)
    expected = Model(model_folder(), "cpu").describe(photos, captions=False)[0]
    for _ in range(2):
        model = Model(int8_folder(), "cpu")
        assert model.engine == Engine(FLOAT32, NO_VNNI)
        assert (model.describe(photos, captions=False)[0] * expected).sum(1).min() > 0.999
        assert "network" not in vars(model)
    said = f"ONNX Runtime in float32 sees the photos, more slowly than in eight bits: {NO_VNNI}"
    assert [record.message for record in caplog.records] == [said]
    for name in (FLOAT_GRAPH, FACTORS):
        (folder / name).unlink()
    assert Model(folder, "cpu").engine == Engine(TORCH, NO_VNNI)


# ---- files that are not in order


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [cut, change])
def test_a_damaged_graph(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / GRAPH)
    assert "encoder.onnx is damaged" in refused(folder)
    damage(folder / FLOAT_GRAPH)
    with pytest.raises(ModelError, match=r"encoder\.float\.onnx is damaged"):
        exported.load(folder, modelfolder.read_config(folder), floats=True)


def test_damaged_steps(folder: Path) -> None:
    cut(folder / STEPS)
    assert "encoder.steps.safetensors is damaged" in refused(folder)
    save_file({}, folder / STEPS)
    assert "encoder.onnx is damaged, or not the one" in refused(folder)


@pytest.mark.parametrize("name", [GRAPH, STEPS])
def test_a_file_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"no {name} in" in refused(folder)


def test_weights_and_graph_of_different_models(folder: Path) -> None:
    shutil.copyfile(model_folder(1) / WEIGHTS, folder / WEIGHTS)
    assert "not those its config.json was written with" in refused(folder)
    shutil.copyfile(model_folder(1) / "config.json", folder / "config.json")
    assert "of another model" in refused(folder)
    cut(folder / WEIGHTS)
    shutil.copyfile(int8_folder() / "config.json", folder / "config.json")
    assert "model.safetensors is damaged" in refused(folder)


def rewrite(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Write another graph, with the checksums that fit it."""
    graph = onnx.load(folder / GRAPH, load_external_data=False)
    change(graph)
    identity = modelfolder.read_config(folder).identity
    exported.save(folder, graphs_of(folder)._replace(eight=graph.SerializeToString()), identity)


def test_another_opset(folder: Path) -> None:
    def later(graph: onnx.ModelProto) -> None:
        graph.opset_import[0].version = 99

    rewrite(folder, later)
    assert "ONNX Runtime cannot run" in refused(folder) and "opset" in refused(folder).lower()


def test_a_graph_of_something_else(folder: Path) -> None:
    def renamed(graph: onnx.ModelProto) -> None:
        graph.graph.output[0].name = "nothing"

    rewrite(folder, renamed)
    assert "ONNX Runtime cannot run" in refused(folder)


def test_a_graph_larger_than_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte of nothing is refused by its size, unread; what does not fit when it is started, in one line."""
    whole = (folder / GRAPH).read_bytes()
    os.truncate(folder / GRAPH, 1 << 40)
    assert "encoder.onnx has 1100 GB" in refused(folder)
    os.truncate(folder / GRAPH, 1 << 31)
    assert "encoder.onnx is damaged" in refused(folder)
    (folder / GRAPH).write_bytes(whole)

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(fast, "OnnxModel", full)
    assert "needs more memory than there is" in refused(folder)


def test_a_model_that_is_saved_again_loses_the_files(folder: Path) -> None:
    model = modelfolder.load(folder, "cpu")
    model.config = dataclasses.replace(model.config, words=None)
    modelfolder.save(model, folder)
    assert not any((folder / name).exists() for name in EXPORTED)
    assert Model(folder, "cpu").engine.kind == TORCH
