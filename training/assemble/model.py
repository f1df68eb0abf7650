"""Trained parts put together: a model folder from a model to build on and the outputs of trainings."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.assemble.words import tuned_space
from training.data.features import key_of
from training.data.prepared import open_prepared
from training.kinds import recipe_of
from training.loop.checkpoint import below
from training.recipe import Recipe
from training.run_folder import noted_key
from training.tasks.translate import TranslateRecipe
from vsearch.config import ModelConfig, PreprocessConfig
from vsearch.errors import ConfigError, DataError
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import JointModel, build_model
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vocab import Vocabulary

PARTS = ("encoder", "devise", "decoder")


def assemble(
    base: Path, runs: list[Path], output: Path, data: Path | None = None, words: Path | None = None,
    encoder: tuple[Encoder, PreprocessConfig] | None = None,
) -> ModelConfig:  # fmt: skip
    """Write the model of `base` with the parts that the trainings in `runs` made; later ones take precedence.

    data: the prepared file they were trained on, for the vocabulary of a decoder and the words of tuned phrases;
    words: the folder of the words it was made with, the model's own by default; encoder: one in place of the model's,
    whose head and decoder are then left out.
    Raises ConfigError if a run made nothing a model has, or `data` is needed and not given; DataError if a run
    was trained on features of another encoder than the model's.
    """
    parts = _Parts.of(_base(base, encoder))
    for run in runs:
        parts.add(run, data)
    whole = parts.build()
    source = words or base
    if whole.devise is None:
        return modelfolder.save(whole, output)
    if not parts.phrases:
        return modelfolder.save(whole, output, source / "words.bin", PhraseSpace.load(source))
    if data is None:
        raise ConfigError("the words were tuned, too", "name the prepared file they were tuned on (`data`)")
    with tempfile.TemporaryDirectory(prefix="words-") as scratch:
        space = tuned_space(source, data, parts.phrases, Path(scratch))
        return modelfolder.save(whole, output, Path(scratch) / "words.bin", space)


def _base(folder: Path, encoder: tuple[Encoder, PreprocessConfig] | None) -> JointModel:
    """Load the model to build on; with an `encoder` in place of its own, without head and decoder."""
    model = modelfolder.load(folder, "cpu")
    if encoder is None:
        return model
    network, preprocess = encoder
    config = dataclasses.replace(
        model.config, encoder=network.config, preprocess=preprocess, devise=None, decoder=None, words=None, identity=""
    )
    bare = build_model(config, None)
    bare.encoder.load_state_dict(network.state_dict())
    return bare


@dataclass
class _Parts:
    """What a model is put together from: settings, vocabulary, the weights of each part and of tuned phrases."""

    config: ModelConfig
    vocabulary: Vocabulary | None
    states: dict[str, dict[str, Tensor]]
    phrases: dict[str, Tensor] = field(default_factory=dict)
    fed: dict[str, Path] = field(default_factory=dict)  # the run, on cached features, that each of these parts is from

    @classmethod
    def of(cls, model: JointModel) -> _Parts:
        """Take a model apart."""
        found = {name: getattr(model, name) for name in PARTS}
        states = {name: part.state_dict() for name, part in found.items() if part is not None}
        return cls(model.config, model.vocabulary, states)

    def add(self, run: Path, data: Path | None) -> None:
        """Put what the training in the folder `run` made in the place of what there is."""
        made = _read(run)
        found = [name for name in PARTS if any(key.startswith(f"{name}.") for key in made)]
        if not found:
            raise ConfigError(f"{run} made no part of a model", "name the output folder of `training.run.train`")
        recipe = recipe_of(run)
        if isinstance(recipe, TranslateRecipe):
            raise ConfigError(f"{run} made a translator", "use `training.assemble.translator`")
        for name in found:
            self.states[name] = below(made, f"{name}.")
            self.fed.pop(name, None)
            if "encoder" not in found:
                self.fed[name] = run
            self.config = _configured(self.config, name, recipe)
        if "decoder" in found:
            self.vocabulary = _vocabulary(data)
        self.phrases = below(made, "phrases.") or self.phrases

    def build(self) -> JointModel:
        """Build the whole. Raises DataError if a part does not fit, or was trained with another encoder."""
        whole = build_model(dataclasses.replace(self.config, words=None), self.vocabulary)
        for name, state in self.states.items():
            part = getattr(whole, name)
            assert isinstance(part, nn.Module)
            _load(part, state, name)
        for run in self.fed.values():
            _check_features(run, whole)
        return whole


def _read(run: Path) -> dict[str, Tensor]:
    for name in ("best.safetensors", "recipe.json"):
        if not (run / name).is_file():
            raise DataError(f"no {name} in {run}", "name the output folder of `training.run.train`")
    try:
        return load_file(run / "best.safetensors")
    except SafetensorError as error:
        raise DataError(f"{run / 'best.safetensors'} is damaged: {error}", "train it again") from error


def _check_features(run: Path, model: JointModel) -> None:
    key = noted_key(run)
    if key is not None and key != key_of(model.encoder, model.config.preprocess):
        raise DataError(
            f"{run} was trained on features of another encoder than the model's", "name the model they were made with"
        )


def _configured(config: ModelConfig, name: str, recipe: Recipe) -> ModelConfig:
    """Return `config` with the settings of a part as the recipe has them; without any, the part keeps its own."""
    names = ("encoder", "preprocess") if name == "encoder" else (name,)
    own = {table: recipe.settings(table) for table in names}
    return dataclasses.replace(config, **{table: found for table, found in own.items() if found is not None})


def _vocabulary(data: Path | None) -> Vocabulary:
    if data is None:
        raise ConfigError("a decoder needs its vocabulary", "name the prepared file it was trained on (`data`)")
    with open_prepared(data, "captions") as file:
        return Vocabulary(json.loads(file.attrs["vocabulary"]))


def _load(part: nn.Module, state: dict[str, Tensor], name: str) -> None:
    try:
        part.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"the {name} that was trained does not fit the model: {error}", "check the base") from error
