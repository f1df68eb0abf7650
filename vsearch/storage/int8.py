"""A model's encoder in eight bits: encoder.onnx and encoder.steps.safetensors, next to the weights they belong to.

encoder.onnx is the encoder's graph for ONNX Runtime, with biases and the scales of its activations, but without the
weights of its convolutions: they are in model.safetensors already. encoder.steps.safetensors says for each of those, by
its name there, what of it one of the eight-bit steps is, float32 (O,) for O channels; its metadata hold the identity of
the model and the sha256 of encoder.onnx. `vsearch export-onnx` writes both. Nothing here imports torch.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.rerank import Reranker, lazy_caption_embedder
from vsearch.config import ModelConfig
from vsearch.errors import ModelError
from vsearch.files import sha256, write_bytes
from vsearch.storage.codes import array_of, whole_names
from vsearch.storage.modelfolder import GRAPH, STEPS, VOCABULARY, WEIGHTS, array_identity
from vsearch.text.vocab import Vocabulary

if TYPE_CHECKING:
    from vsearch.captions.hypothesis import Hypothesis
    from vsearch.networks.fast.int8 import Int8Model
    from vsearch.networks.fast.numpy_captioner import NumpyCaptioner

LARGEST = 1 << 31  # bytes: no file of ONNX can be larger
_REMEDY = f"use `training.assemble.onnx.export_onnx` again, or delete {GRAPH} and {STEPS}: torch then runs the model"
Arrays = Mapping[str, NDArray[Any]]


def exported(folder: Path) -> bool:
    """Return whether a model folder has its encoder in eight bits."""
    return (folder / GRAPH).exists() or (folder / STEPS).exists()


def runnable() -> bool:
    """Return whether ONNX Runtime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


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


def load(folder: Path, config: ModelConfig) -> Int8Model:
    """Return the model of `folder`, whose config is `config`, with its encoder in eight bits.

    Raises ModelError if a file is missing, damaged, of another model or too large, or if ONNX Runtime cannot run it.
    """
    from vsearch.networks.fast.int8 import Int8Model, codes_of

    steps, graph = _read_steps(folder, config), folder / GRAPH
    weights = _read_weights(folder, config)
    head = {n: array_of(n, weights) for n in whole_names(weights) if n.startswith("devise.")}
    try:
        codes = {name: codes_of(array_of(name, weights), step) for name, step in steps.items()}
        captioner = functools.partial(load_captioner, folder, config) if captions(config) else None
        head = {n.removeprefix("devise."): array for n, array in head.items()}
        return Int8Model(graph.read_bytes(), codes, head, captioner)
    except ModelError:
        raise
    except MemoryError:
        raise ModelError(f"{graph} needs more memory than there is", _REMEDY) from None
    except Exception as error:  # ONNX Runtime raises kinds of its own
        raise ModelError(f"ONNX Runtime cannot run {graph}: {_reason(error)}", _REMEDY) from None


def save(folder: Path, graph: bytes, steps: Mapping[str, NDArray[np.float32]], identity: str) -> None:
    """Write the two files of a model's encoder into its folder; each takes its name only when it is complete."""
    from safetensors.numpy import save as to_bytes

    (folder / STEPS).unlink(missing_ok=True)  # never one of another graph
    write_bytes(folder / GRAPH, graph)
    noted = {"identity": identity, "sha256": sha256(folder / GRAPH), "size": str(len(graph))}
    write_bytes(folder / STEPS, to_bytes(dict(steps), noted))


def _read_steps(folder: Path, config: ModelConfig) -> dict[str, NDArray[np.float32]]:
    """Read the steps, and check that the graph is the one they were written with, of the very model."""
    from safetensors import SafetensorError, safe_open

    path, graph = folder / STEPS, folder / GRAPH
    for file in (path, graph):
        if not file.is_file():
            raise ModelError(f"no {file.name} in {folder}, which has the other half of it", _REMEDY)
    if graph.stat().st_size > LARGEST:
        raise ModelError(f"{graph} has {graph.stat().st_size / 1e9:.0f} GB, which no file of ONNX can have", _REMEDY)
    try:
        with safe_open(path, "numpy") as opened:
            noted = opened.metadata() or {}
            steps = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged: {error}", _REMEDY) from None
    if noted.get("size") != str(graph.stat().st_size) or noted.get("sha256") != sha256(graph):
        raise ModelError(f"{graph} is damaged, or not the one that {STEPS} was written with", _REMEDY)
    if noted.get("identity") != config.identity:
        raise ModelError(f"{graph} was made of another model than that in {folder}", _REMEDY)
    return steps


def _read_weights(folder: Path, config: ModelConfig) -> Arrays:
    """Read the weights of the model as they are stored, with numpy, and check that they are those of its config."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / WEIGHTS} is damaged: {error}", "copy or download the model again") from None
    if array_identity(weights, config) != config.identity:
        raise ModelError(
            f"the weights in {folder} are not those its config.json was written with",
            "copy or download the model again",
        )
    return weights


def _reason(error: Exception) -> str:
    """Return what ONNX Runtime says in one short line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
