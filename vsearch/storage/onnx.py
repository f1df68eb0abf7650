"""A model's encoder for ONNX Runtime, in eight bits and in float32, next to the weights it belongs to.

encoder.onnx is the encoder's graph in eight bits, with biases and the scales of its activations, but without the
weights of its convolutions: they are in model.safetensors already. encoder.steps.safetensors says for each of those, by
its name there, what of it one of the eight-bit steps is, float32 (O,) for O channels; its metadata hold the identity of
the model and the sha256 of encoder.onnx. encoder.float.onnx is the graph before rounding, without these weights, too,
and encoder.factors.safetensors says by how much each channel of them is multiplied in it, float32 (O,), for batch norm.
`vsearch export-onnx` writes all four. Nothing here imports torch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.rerank import Reranker, lazy_caption_embedder
from vsearch.config import ModelConfig
from vsearch.errors import ModelError
from vsearch.files import sha256, write_bytes
from vsearch.storage.codes import array_of, whole_names
from vsearch.storage.modelfolder import FACTORS, FLOAT_GRAPH, GRAPH, STEPS, VOCABULARY, array_identity, read_arrays
from vsearch.text.vocab import Vocabulary

if TYPE_CHECKING:
    from vsearch.captions.hypothesis import Hypothesis
    from vsearch.networks.fast.numpy_captioner import NumpyCaptioner
    from vsearch.networks.fast.onnx import OnnxModel

LARGEST = 1 << 31  # bytes: no file of ONNX can be larger
_REMEDY = "use `training.assemble.onnx.export_onnx` again, or delete the folder's encoder.*: torch then runs the model"
Arrays = Mapping[str, NDArray[Any]]
Scales = Mapping[str, NDArray[np.float32]]  # (O,) of each convolution


def exported(folder: Path) -> bool:
    """Return whether a model folder has its encoder in eight bits."""
    return (folder / GRAPH).exists() or (folder / STEPS).exists()


def exported_floats(folder: Path) -> bool:
    """Return whether a model folder has its encoder in float32, too; models that were exported long ago do not."""
    return (folder / FLOAT_GRAPH).exists() or (folder / FACTORS).exists()


def captions(config: ModelConfig) -> bool:
    """Return whether numpy can write the captions of such a model."""
    from vsearch.networks.fast.numpy_decoder import runs

    return config.decoder is not None and runs(config.decoder)


def load_captioner(folder: Path, config: ModelConfig) -> NumpyCaptioner:
    """Return what writes the captions of the model of `folder`, without torch.

    Raises ModelError if a file is damaged, or if the decoder's weights do not fit `config`.
    """
    from vsearch.networks.fast.numpy_captioner import NumpyCaptioner
    from vsearch.networks.fast.numpy_decoder import NumpyDecoder

    assert config.decoder is not None
    weights, vocabulary = _read_weights(folder, config), Vocabulary.load(folder / VOCABULARY)
    names = [name for name in whole_names(weights) if name.startswith("decoder.")]
    try:
        decoder = NumpyDecoder(
            config.decoder, {name.removeprefix("decoder."): array_of(name, weights) for name in names}
        )
        decoder.rehearse(len(vocabulary))
    except (KeyError, ValueError) as error:
        said = f"the decoder's weights in {folder} do not fit its config.json: {error}"
        raise ModelError(said, "the two are of different models") from None
    if not config.decoder.agreement or config.words is None:
        return NumpyCaptioner(decoder)
    reranker = Reranker(lazy_caption_embedder(folder), config.decoder.agreement)

    def words(caption: Hypothesis) -> list[str]:
        return vocabulary.decode(caption.tokens)

    return NumpyCaptioner(decoder, lambda found, vectors: reranker.rerank(found, vectors, words))


def load(folder: Path, config: ModelConfig, *, floats: bool = False, cuda: bool = False) -> OnnxModel:
    """Return the model of `folder`, whose config is `config`: its encoder in eight bits, or in float32 where `floats`.

    Raises ModelError if a file is missing, damaged, of another model or too large, or if ONNX Runtime cannot run it.
    """
    from vsearch.networks.fast.onnx import CUDA, PROCESSOR, OnnxModel, codes_of, multiplied

    names, weight_of = ((FLOAT_GRAPH, FACTORS), multiplied) if floats else ((GRAPH, STEPS), codes_of)
    scales, graph = _read_scales(folder, config, *names), folder / names[0]
    stored = _read_weights(folder, config)
    head = {n: array_of(n, stored) for n in whole_names(stored) if n.startswith("devise.")}
    try:
        weights = {name: weight_of(array_of(name, stored), scale) for name, scale in scales.items()}
        captioner = functools.partial(load_captioner, folder, config) if captions(config) else None
        head = {n.removeprefix("devise."): array for n, array in head.items()}
        return OnnxModel(graph.read_bytes(), weights, head, captioner, CUDA if cuda else PROCESSOR)
    except ModelError:
        raise
    except MemoryError:
        raise ModelError(f"{graph} needs more memory than there is", _REMEDY) from None
    except Exception as error:  # ONNX Runtime raises kinds of its own
        raise ModelError(f"ONNX Runtime cannot run {graph}: {_reason(error)}", _REMEDY) from None


class Graphs(NamedTuple):
    """An encoder for ONNX Runtime: graph and steps of the one in eight bits, graph and factors of that in float32."""

    eight: bytes
    steps: Scales
    floats: bytes
    factors: Scales


def save(folder: Path, graphs: Graphs, identity: str) -> None:
    """Write the files of a model's encoder into its folder; each takes its name only when it is complete."""
    _save(folder, (GRAPH, graphs.eight), (STEPS, graphs.steps), identity)
    _save(folder, (FLOAT_GRAPH, graphs.floats), (FACTORS, graphs.factors), identity)


def _save(folder: Path, graph: tuple[str, bytes], scales: tuple[str, Scales], identity: str) -> None:
    from safetensors.numpy import save as to_bytes

    (folder / scales[0]).unlink(missing_ok=True)  # never one of another graph
    write_bytes(folder / graph[0], graph[1])
    noted = {"identity": identity, "sha256": sha256(folder / graph[0]), "size": str(len(graph[1]))}
    write_bytes(folder / scales[0], to_bytes(dict(scales[1]), noted))


def _read_scales(folder: Path, config: ModelConfig, graph_name: str, scales_name: str) -> Scales:
    """Read steps or factors, and check that the graph is the one they were written with, of the very model."""
    from safetensors import SafetensorError, safe_open

    path, graph = folder / scales_name, folder / graph_name
    for file in (path, graph):
        if not file.is_file():
            raise ModelError(f"no {file.name} in {folder}, which has the other half of it", _REMEDY)
    if graph.stat().st_size > LARGEST:
        raise ModelError(f"{graph} has {graph.stat().st_size / 1e9:.0f} GB, which no file of ONNX can have", _REMEDY)
    try:
        with safe_open(path, "numpy") as opened:
            noted = opened.metadata() or {}
            scales = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}", _REMEDY) from None
    if noted.get("size") != str(graph.stat().st_size) or noted.get("sha256") != sha256(graph):
        raise ModelError(f"{graph} is damaged, or not the one that {scales_name} was written with", _REMEDY)
    if noted.get("identity") != config.identity:
        raise ModelError(f"{graph} was made of another model than that in {folder}", _REMEDY)
    return scales


def _read_weights(folder: Path, config: ModelConfig) -> Arrays:
    """Read the weights of the model as they are stored, with numpy, and check that they are those of its config."""
    weights = read_arrays(folder)
    if array_identity(weights, config) != config.identity:
        raise ModelError(
            f"the weights in {folder} are not those its config.json was written with",
            "copy or download the model again",
        )
    return weights


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
