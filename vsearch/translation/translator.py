"""A translator as others want it: sentences in, sentences out; and its folder on disk.

The folder holds model.safetensors, config.json, source.json and target.json (the vocabularies) and, where words are
parted into pieces, source.bpe.json and target.bpe.json. Shapes: N units of the source, its end mark included, T of the
target.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.hypothesis import Hypothesis
from vsearch.config import TranslatorConfig, from_dict, to_dict
from vsearch.errors import ConfigError, ModelError
from vsearch.files import MODEL_JSON, read_json, write_bytes, write_json
from vsearch.storage import modelfolder
from vsearch.storage.codes import array_of, is_coded, rounded, whole_names
from vsearch.storage.modelfolder import CODED, PLAIN
from vsearch.translation.language import Language

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeIs

    from vsearch.networks.fast.numpy_translation import NumpyTranslation
    from vsearch.translation.network import QuickTranslation, TranslationModel

AT_ONCE = 64  # sentences searched at a time
Arrays = Mapping[str, NDArray[Any]]
END_LABEL = "(end)"


@dataclass(frozen=True)
class Translation:
    """A sentence's translation: its text, the units of both sides, and `attention` (T, N) of each target unit over the
    source units and, last, the end mark; None where the decoder has no attention."""

    text: str
    source: list[str]
    target: list[str]
    log_probability: float
    attention: NDArray[np.float32] | None = None


class Translator:
    """A model with the languages of its two sides."""

    def __init__(self, model: TranslationModel | NumpyTranslation, source: Language, target: Language) -> None:
        """Take a model of torch, which is put into evaluation mode, or of numpy."""
        self.model, self.source, self.target = model, source, target
        self._fast: QuickTranslation | None = None
        if _of_torch(model):
            model.eval()

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Translator:
        """Load the translator in `folder`, float32, on `device`: by numpy on a processor, if it has such a decoder,
        else by torch.

        Raises ModelError for a missing or damaged file, a folder of another kind of model, or weights that do not fit;
        ConfigError for a wrong setting; VsearchError if there is no such device, or torch is not installed.
        """
        from vsearch.device import is_cpu
        from vsearch.networks.fast.numpy_translation import runs

        config = read_config(folder)
        source = Language.load(folder, "source", config.source_language)
        target = Language.load(folder, "target", config.target_language)
        arrays = modelfolder.read_arrays(folder)
        if config.identity and config.identity != modelfolder.array_digest(arrays, _settings(config)):
            raise ModelError(
                f"{folder} holds weights other than its config.json was written with", "copy or make the model again"
            )
        arrays = {name: array_of(name, arrays) for name in whole_names(arrays)}
        if runs(config) and is_cpu(device):
            return cls(_load_numpy(folder, config, arrays, source, target), source, target)
        return cls(_load_torch(folder, config, arrays, source, target, device), source, target)

    def save(self, folder: Path, *, eight_bits: bool = False) -> TranslatorConfig:
        """Write the folder of a model of torch, config.json last; matrices in float16, or rounded to 8-bit codes (half
        the bytes). Returns the config with its identity.

        Raises ValueError for a model of numpy.
        """
        from safetensors.torch import save as to_bytes

        if not _of_torch(self.model):
            raise ValueError("only a model of torch is saved; one of numpy has a folder already")
        folder.mkdir(parents=True, exist_ok=True)
        weights = self.model.state_dict()
        state = modelfolder.packed(rounded(weights) if eight_bits else weights, half=True)
        config = dataclasses.replace(self.model.config, format=CODED if is_coded(state) else PLAIN)
        config = dataclasses.replace(config, identity=modelfolder.digest(state, _settings(config)))
        self.source.save(folder, "source")
        self.target.save(folder, "target")
        write_bytes(folder / modelfolder.WEIGHTS, to_bytes(state))
        write_json(folder / modelfolder.CONFIG, to_dict(config))
        return config

    def translate(self, texts: Sequence[str], beam: int | None = None) -> list[Translation]:
        """Return the best translation of each sentence; `beam` None takes the model's own number.

        Raises QueryError for a sentence that cannot be translated, see `Language.check`.
        """
        for text in texts:
            self.source.check(text, self.model.config.longest)
        ids = [self.source.encode(text) for text in texts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # of like length at a time
        found: dict[int, Translation] = {}
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            found |= zip(rows, self._some([texts[i] for i in rows], [ids[i] for i in rows], beam), strict=True)
        return [found[i] for i in range(len(texts))]

    def _some(self, texts: list[str], ids: list[list[int]], beam: int | None) -> list[Translation]:
        return [self._read(text, best) for text, best in zip(texts, self._search(ids, beam), strict=True)]

    def _search(self, ids: list[list[int]], beam: int | None) -> list[Hypothesis]:
        if not _of_torch(self.model):
            return self.model.search(ids, beam)
        from vsearch.translation.network import pad

        if self._fast is None:
            self._fast = quick_model(self.model)
        return search(self._fast, pad(ids), beam)

    def _read(self, text: str, best: Hypothesis) -> Translation:
        source, units = self.source.units(text), self.target.vocabulary.decode(best.tokens)
        names = [*map(self.source.label, source), END_LABEL]
        weights = None if best.attention is None else best.attention[:, : len(names)]
        labels = [*map(self.target.label, units)]
        return Translation(self.target.text(units), names, labels, best.log_probability, weights)


def _of_torch(model: TranslationModel | NumpyTranslation) -> TypeIs[TranslationModel]:
    from vsearch.networks.fast.numpy_translation import NumpyTranslation

    return not isinstance(model, NumpyTranslation)


def _load_numpy(
    folder: Path, config: TranslatorConfig, arrays: Arrays, source: Language, target: Language
) -> NumpyTranslation:
    """Return the model of `arrays`. Raises ModelError if they do not fit the config."""
    from vsearch.networks.fast.numpy_translation import NumpyTranslation

    try:
        model = NumpyTranslation(config, {name: np.asarray(array, np.float32) for name, array in arrays.items()})
        model.rehearse(len(source.vocabulary), len(target.vocabulary))
        return model
    except (KeyError, ValueError) as error:
        said = f"the weights in {folder} do not fit its {modelfolder.CONFIG}: {error}"
        raise ModelError(said, "the two are of different models") from None


def _load_torch(
    folder: Path, config: TranslatorConfig, arrays: Arrays, source: Language, target: Language, device: str
) -> TranslationModel:
    """Return the model of `arrays`, on `device`. Raises ModelError if they do not fit the config."""
    from vsearch.device import need_torch, resolve

    need_torch(f"the translator on device {device!r}")
    import torch

    from vsearch.translation.network import TranslationModel

    model = TranslationModel(config, len(source.vocabulary), len(target.vocabulary))
    state = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
    modelfolder.check_fit(folder, model.state_dict(), state)
    model.load_state_dict(state)
    return model.to(resolve(device))


def search(model: TranslationModel | QuickTranslation, ids: torch.Tensor, beam: int | None = None) -> list[Hypothesis]:
    """Run beam search for each of the source sentences `ids` (B, N); attention is (T, N)."""
    from vsearch.captions.beam import beam_search
    from vsearch.device import autocast

    device, c = next(model.parameters()).device, model.config.decoder
    with autocast(device):
        found = beam_search(
            model, ids.to(device), beam or c.beam, c.max_len, c.length_power, block_repeats=c.block_repeats
        )
    return [best for best, *_ in found]


def quick_model(model: TranslationModel) -> QuickTranslation:
    """Return the same to search over, faster where the device is quick at bfloat16."""
    from vsearch.device import fast_bf16
    from vsearch.translation.network import QuickTranslation

    return QuickTranslation(model, fast_bf16(next(model.parameters()).device))


def read_config(folder: Path) -> TranslatorConfig:
    """Read the config.json of a translator's folder.

    Raises ModelError if it is missing, unreadable, of a newer format or of another kind of model, ConfigError where
    a setting is unknown.
    """
    modelfolder.check_folder(folder)
    path = folder / modelfolder.CONFIG
    missing = ModelError(f"no {path.name} in {folder}", "name the folder of a translator")
    table = read_json(path, ModelError, "copy or make the model again", missing=missing, limit=MODEL_JSON)
    if not isinstance(table, dict) or table.get("kind") != TranslatorConfig.kind:
        raise ModelError(f"{folder} holds no translator", "name one that `training.assemble.translator` wrote")
    modelfolder.check_format(path, table)
    try:
        return from_dict(TranslatorConfig, table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}", error.hint) from None


def find(source: str, target: str, folder: Path | None = None) -> Path:
    """Find the folder of a translator from language `source` to `target`: `folder` where given, else a bundled one.

    Raises ConfigError for an unknown language, ModelError if there is none or `folder` is of other languages.
    """
    from vsearch.translation.sentence import check_language

    names = check_language(source), check_language(target)
    if folder is None:
        folder = modelfolder.bundled() / "translators" / "-".join(names)
        if not folder.is_dir():
            raise ModelError(
                f"no translator from {source} to {target} comes with vsearch",
                "train one (`training.data.pairs, training.run.train, training.assemble.translator`) and name it by "
                "`Translator.load`",
            )
    config = read_config(folder)
    if (config.source_language, config.target_language) != names:
        raise ModelError(
            f"{folder} translates from {config.source_language} to {config.target_language}, not {source} to {target}",
            "name another one, or the languages it has",
        )
    return folder


def _settings(config: TranslatorConfig) -> str:
    return json.dumps(to_dict(dataclasses.replace(config, identity="")), sort_keys=True)
