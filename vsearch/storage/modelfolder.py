"""A model on disk: model.safetensors, config.json, vocab.json, words.bin, phrase.json. No pickle, ever.

Weights have the keys encoder.*, devise.* and decoder.*. A matrix that 8-bit codes hold to the bit is stored as those
(`vsearch.storage.codes`; format 2), any other in float16, all else (biases, statistics) as it is. torch is imported
only where weights are read or written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.rerank import lazy_caption_embedder
from vsearch.config import ModelConfig, WordsConfig, from_dict, to_dict
from vsearch.errors import ConfigError, ModelError
from vsearch.files import MODEL_JSON, read_json, replacing, sha256, write_bytes, write_json
from vsearch.scores import FILE as RANKING
from vsearch.storage.codes import coded, decoded, is_coded
from vsearch.text.vocab import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from vsearch.networks.fast.model import FastModel
    from vsearch.networks.joint import JointModel
    from vsearch.text.phrase import PhraseSpace

WEIGHTS, CONFIG, VOCABULARY = "model.safetensors", "config.json", "vocab.json"
GRAPH, STEPS = "encoder.onnx", "encoder.steps.safetensors"  # see `vsearch.storage.onnx`
FLOAT_GRAPH, FACTORS = "encoder.float.onnx", "encoder.factors.safetensors"
EXPORTED = GRAPH, STEPS, FLOAT_GRAPH, FACTORS
PLAIN, CODED = 1, 2  # formats: without and with weights as 8-bit codes
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".tar")


def bundled() -> Path:
    """Return the folder of the model that comes with the package."""
    return Path(__file__).parents[1] / "bundled"


def read_config(folder: Path) -> ModelConfig:
    """Read the config.json of a model folder, without torch.

    Raises ModelError if it is missing, unreadable or of a newer format, ConfigError if a setting is unknown.
    """
    check_folder(folder)
    path = folder / CONFIG
    missing = ModelError(f"no {CONFIG} in {folder}", "name the folder of a model that vsearch saved")
    table = read_json(path, ModelError, "copy or download the model again", missing=missing, limit=MODEL_JSON)
    if isinstance(table, dict):
        check_format(path, table)
    if isinstance(table, dict) and table.get("kind") == "translator":
        raise ModelError(f"{folder} holds a translator, no model of pictures", "name it by `Translator.load` instead")
    try:
        return from_dict(ModelConfig, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", error.hint) from None


def save(
    model: JointModel,
    folder: Path,
    words: Path | None = None,
    phrase: PhraseSpace | None = None,
    half: bool = True,
) -> ModelConfig:
    """Write `model` into `folder`, with a copy of the word vectors and the phrase space where given.

    A ranking and an encoder for ONNX Runtime that are there already are of another model, and are removed.

    Every file takes its name only when complete, config.json last. Returns the config with its identity.
    """
    from safetensors.torch import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    state = packed(model.state_dict(), half)
    config = dataclasses.replace(model.config, format=CODED if is_coded(state) else PLAIN)
    if words is not None:
        config = dataclasses.replace(config, words=_copy_words(words, folder, config))
    config = dataclasses.replace(config, identity=identity(state, config))
    if phrase is not None:
        phrase.save(folder)
    if model.vocabulary is not None:
        model.vocabulary.save(folder / VOCABULARY)
    for name in (RANKING, *EXPORTED):
        (folder / name).unlink(missing_ok=True)
    write_bytes(folder / WEIGHTS, to_bytes(state))
    write_json(folder / CONFIG, to_dict(config))
    return config


def load(folder: Path, device: str = "auto") -> JointModel:
    """Load the model in `folder`, float32, on `device`, in evaluation mode.

    Raises ModelError for a missing or damaged file, a pickle instead of safetensors, weights that do not fit the
    config (naming them) or are not those the config was written with; ConfigError for a wrong setting.
    """
    import torch

    from vsearch.device import resolve
    from vsearch.networks.joint import build_model

    config = read_config(folder)
    vocabulary = Vocabulary.load(folder / VOCABULARY) if config.decoder is not None else None
    state = read_weights(folder)
    found = identity(state, config)
    if config.identity and config.identity != found:
        raise ModelError(
            f"the weights in {folder} are not those its {CONFIG} was written with", "copy or download the model again"
        )
    with torch.device("meta"):
        model = build_model(dataclasses.replace(config, identity=found), vocabulary)
    full = {name: t.float() if t.is_floating_point() else t for name, t in decoded(state).items()}
    check_fit(folder, model.state_dict(), full)
    model.load_state_dict(full, assign=True)
    return model.eval().to(resolve(device))


def load_fast(folder: Path, device: str = "auto") -> FastModel:
    """Return the model in `folder`, as `load` does, ready to look at pictures."""
    from vsearch.networks.fast.model import FastModel

    joint = load(folder, device)
    return FastModel(joint, None if joint.config.words is None else lazy_caption_embedder(folder))


def identity(state: Mapping[str, Tensor], config: ModelConfig) -> str:
    """Return the sha256 over weights as stored, preprocessing and words: vectors of different identity are never
    compared."""
    return digest(state, _settings(config))


def array_identity(arrays: Mapping[str, NDArray[Any]], config: ModelConfig) -> str:
    """Return what `identity` does, of weights that numpy holds, without torch."""
    return array_digest(arrays, _settings(config))


def array_digest(arrays: Mapping[str, NDArray[Any]], settings: str) -> str:
    """Return what `digest` does, of weights that numpy holds, without torch."""
    found = hashlib.sha256(settings.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} torch.{array.dtype.name} {list(arrays[name].shape)}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _settings(config: ModelConfig) -> str:
    words = config.words.sha256 if config.words is not None else ""
    return json.dumps([to_dict(config.preprocess), config.encoder.name, words])


def digest(state: Mapping[str, Tensor], settings: str) -> str:
    """Return the sha256 over `settings` and the weights as stored."""
    import torch

    found = hashlib.sha256(settings.encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def packed(state: Mapping[str, Tensor], half: bool) -> dict[str, Tensor]:
    """Return a state dict as it goes to disk: matrices that 8-bit codes hold to the bit as those, the rest as
    `stored`."""
    made: dict[str, Tensor] = {}
    for name, tensor in state.items():
        made |= coded(name, tensor.detach().cpu()) or {name: stored(tensor, half)}
    return made


def stored(tensor: Tensor, half: bool) -> Tensor:
    """Return a tensor as it goes to disk, where `half`: matrices that fit into float16 in that."""
    tensor = tensor.detach().cpu().contiguous()
    if half and tensor.is_floating_point() and tensor.ndim > 1 and bool(tensor.half().isfinite().all()):
        return tensor.half()
    return tensor


def _copy_words(words: Path, folder: Path, config: ModelConfig) -> WordsConfig:
    if config.devise is None:
        raise ModelError("a model without a DeViSE head has no use for word vectors", "save it without them")
    target = folder / f"words{words.suffix}"
    if words.resolve() != target.resolve():
        with replacing(target) as fresh:
            shutil.copyfile(words, fresh)
    return WordsConfig(target.name, sha256(target), config.devise.dim)


def check_format(path: Path, table: Mapping[str, Any]) -> None:
    """Raise ModelError if the config `table` of a model or translator, read from `path`, is of a newer format."""
    if table.get("format", PLAIN) not in (PLAIN, CODED):
        known = f"{PLAIN} and {CODED}"
        raise ModelError(f"{path} has format {table['format']!r}, this vsearch reads {known}", "update vsearch")


def check_folder(folder: Path) -> None:
    """Raise ModelError if there is no such folder."""
    if folder.is_file():
        if folder.suffix.lower() in PICKLES:
            raise ModelError(f"{folder} is a pickle file, which can run any code when opened", _HINT)
        raise ModelError(f"{folder} is a file", "name the folder that holds the model")
    if not folder.is_dir() and folder == bundled():
        raise ModelError(
            f"the bundled model is missing: {folder}", "the checkout or installation is incomplete: redo it"
        )
    if not folder.is_dir():
        raise ModelError(f"no model folder at {folder}", "check the path, or leave it out for the bundled model")


_HINT = f"vsearch opens {WEIGHTS} only: convert the weights with safetensors.torch.save_file"


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a model folder. Raises ModelError if they are missing, damaged, or a pickle."""
    from safetensors.torch import load_file

    return _read(folder, load_file)


def read_arrays(folder: Path) -> dict[str, NDArray[Any]]:
    """Read the weights of a model folder as `read_weights` does, with numpy."""
    from safetensors.numpy import load_file

    return _read(folder, load_file)


Weights = TypeVar("Weights")


def _read(folder: Path, load_file: Callable[[Path], Weights]) -> Weights:
    from safetensors import SafetensorError

    path = folder / WEIGHTS
    if not path.is_file():
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix.lower() in PICKLES and p.stem != "words"]
        if pickles:
            raise ModelError(f"{folder} holds {pickles[0]}, a pickle file, which can run any code when opened", _HINT)
        raise ModelError(f"no {WEIGHTS} in {folder}", "copy or download the model again")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is damaged: {error}", "copy or download the model again") from None


def check_fit(folder: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ModelError naming the weights that are missing, left over or of another shape."""
    shapes = [
        f"{name} {list(found[name].shape)} for {list(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    faults = {
        "missing": wanted.keys() - found.keys(),
        "unexpected": found.keys() - wanted.keys(),
        "of wrong shape": shapes,
    }
    told = [f"{what}: {_some(names)}" for what, names in faults.items() if names]
    if told:
        raise ModelError(
            f"the weights in {folder} do not fit its {CONFIG}: {'; '.join(told)}", "the two are of different models"
        )


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
