"""The stages that all bundles share: words, captions, training, joining, ranking; each skipped where its result is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from training.assemble.plan import Planned
from training.assemble.words import tuned_space
from training.data.captions import Photo, prepare_captions, read_flickr8k
from training.data.features import Network, encoder_network, write_features
from training.data.labels import prepare_labels, read_tiny_imagenet
from training.data.prepared import open_prepared
from training.data.texts import Told
from training.data.words import train_words
from training.evaluate.captions import read_split
from training.evaluate.scores import choose_scores, encode_labelled, encode_photos
from training.loop.checkpoint import below, best_weights
from training.loop.task import Report
from training.recipe import Inputs, Recipe
from training.run import train_recipe
from vsearch.config import ModelConfig, PreprocessConfig
from vsearch.device import resolve
from vsearch.errors import DataError
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import build_model
from vsearch.progress import Progress
from vsearch.scores import FILE as RANKING
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vocab import Vocabulary

PARTS = ("encoder", "devise", "decoder")  # of a model


@dataclass(frozen=True)
class WordTraining:
    """The `[words]` table: see `training.data.words.train_words`."""

    dim: int = 200
    min_count: int = 5
    bucket: int = 45_000
    epochs: int = 5
    threads: int = 2
    caption_repeat: int = 1


@dataclass(frozen=True)
class Bundle:
    """What recipes of every kind of bundle have: sizes here, trainings in recipes that are named."""

    kind: str = ""
    devise: str = ""
    decoder: str = "caption"
    side: int = 192  # pixels; features, and the finished model
    views: int = 4  # of each photo in the cached features
    per_class: int = 300  # labelled pictures of each class for the DeViSE head
    min_word_freq: int = 5
    max_len: int = 20
    words: WordTraining = field(default_factory=WordTraining)
    minutes: dict[str, float] = field(default_factory=dict)  # that each stage takes on two cores, as measured


@dataclass(frozen=True)
class Folders:
    """Where raw data lie, where intermediate files and the finished model go, and what the encoder comes from: the
    folder of a `teacher`, or `pretrained` weights, a file or "torchvision:NAME"."""

    source: Path
    work: Path
    output: Path
    teacher: Path | None = None
    pretrained: str | None = None


@dataclass(frozen=True)
class Telling:
    """Whom a bundle tells how far it is: lines of text, the steps of trainings, pictures done."""

    say: Callable[[str], None] = lambda text: None
    report: Report | None = None
    progress: Progress | None = None


class Stages(ABC):
    """A bundle being made. Each name in `stages` is a method; `parts` are the recipes that overrides reach."""

    stages: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]]

    def __init__(
        self, bundle: Bundle, recipes: Mapping[str, Recipe], folders: Folders, device: str, telling: Telling
    ) -> None:
        self.bundle, self.recipes, self.folders, self.device = bundle, recipes, folders, device
        self.telling, self.preprocess = telling, PreprocessConfig(side=bundle.side)

    def path(self, name: str) -> Path:
        return self.folders.work / name

    # what differs

    @abstractmethod
    def ready(self, stage: str) -> bool:
        """Return whether what a stage makes lies ready."""

    @abstractmethod
    def make_encoder(self) -> Encoder:
        """Return the encoder with its weights."""

    def texts(self) -> list[Told]:
        """Return captions without photos to learn from; none unless a bundle has them."""
        return []

    def named(self) -> list[str]:
        """Return names whose words have to be in the dictionary, as all words of captions then are; none unless a
        bundle has them."""
        return []

    def labelled_photos(self) -> Path | None:
        """Return the prepared photos with many labels that scores are fitted on next to captions, or None."""
        return None

    def plan(self, stages: tuple[str, ...]) -> list[Planned]:
        """Return what is to be done in these stages and how long it takes. A model joined again is ranked again."""
        minutes, again = self.bundle.minutes, {"ranking"} if "join" in stages else set[str]()
        return [Planned(s, s not in again and self.ready(s), minutes.get(s)) for s in self.stages if s in stages]

    # stages

    def words(self) -> None:
        if self.ready("words"):
            return
        w, source = self.bundle.words, self.folders.source
        captions = [c for p in self.photos() if p.split == "train" for c in p.captions]
        captions += [caption for told in self.texts() for caption in told.captions]
        corpora = sorted((source / "text").glob("*.txt.xz"))
        if not corpora:
            raise DataError(f"no .txt.xz in {source / 'text'}", "docs/how-to/train-bundled.md says what belongs there")
        train_words(
            corpora[0], captions, self.path("words"), dim=w.dim, min_count=w.min_count, bucket=w.bucket,
            epochs=w.epochs, threads=w.threads, caption_repeat=w.caption_repeat, named=self.named(),
        )  # fmt: skip

    def captions(self) -> None:
        if self.ready("captions"):
            return
        report = prepare_captions(
            self.photos(), self.path("captions.h5"), self.space(), self.bundle.min_word_freq, self.bundle.max_len,
            progress=self.telling.progress, texts=self.texts(),
        )  # fmt: skip
        told = f"captions: {report.pictures} pictures, {report.vocabulary} words, {len(report.skipped)} skipped"
        self.telling.say(told + (f", {report.texts} captions without photos" if report.texts else ""))

    def labels(self) -> None:
        if not self.ready("labels"):
            shards = read_tiny_imagenet(self.folders.source / "tiny-imagenet")
            prepare_labels(
                shards, self.path("labels.h5"), self.space(), self.bundle.per_class, self.telling.progress
            )  # fmt: skip

    def join(self) -> None:
        self.join_into(self.folders.output, self.weights)

    def join_into(self, output: Path, weights: Callable[[str], dict[str, torch.Tensor]]) -> None:
        """Write the model of the encoder, and of head and decoder with the `weights` by the name of the part."""
        with open_prepared(self.path("captions.h5"), "captions") as file:
            vocabulary = Vocabulary(json.loads(file.attrs["vocabulary"]))
        encoder = self.make_encoder()
        heads = {part: self.settings(part) for part in ("devise", "decoder")}
        model = build_model(ModelConfig(preprocess=self.preprocess, encoder=encoder.config, **heads), vocabulary)
        model.encoder.load_state_dict(encoder.state_dict())
        for part in heads:
            module = getattr(model, part)
            assert isinstance(module, torch.nn.Module)
            module.load_state_dict(weights(part))
        words, space = self.path("words"), self.space()
        phrases = below(best_weights(self.path("devise")), "phrases.")
        if phrases:
            words = self.path("words-tuned")
            space = tuned_space(self.path("words"), self.path("captions.h5"), phrases, words)
        modelfolder.save(model, output, words / "words.bin", space)

    def ranking(self) -> None:
        if (self.folders.output / RANKING).is_file():
            return
        model, space = modelfolder.load_fast(self.folders.output, self.device), PhraseSpace.load(self.folders.output)
        photos = encode_photos(model, space, read_split(self.path("captions.h5"), "dev"), self.telling.progress)
        scenes = self.labelled_photos()
        labelled = None
        if scenes is not None:
            labelled = encode_labelled(model, space, scenes, "dev", self.telling.progress)
        try:
            choose_scores(photos, space, labelled).ranking.save(self.folders.output)
        except DataError as error:
            self.telling.say(f"ranking: none, scores will be cosines: {error}")

    # what stages are made of

    def photos(self) -> list[Photo]:
        """Return the captioned photos."""
        return read_flickr8k(self.folders.source / "flickr8k")

    def space(self) -> PhraseSpace:
        """Return the words as trained on text, before any head tuned them."""
        return PhraseSpace.load(self.path("words"))

    def network(self) -> Network:
        """Return the encoder to cache features with."""
        return encoder_network(self.make_encoder(), self.preprocess, resolve(self.device))

    def cache(self, network: Network, prepared: str, features: str, **how: Any) -> None:
        """Compute the features of a prepared file unless they are there."""
        if not self.path(features).is_file():
            place, progress = resolve(self.device), self.telling.progress
            write_features(network, self.path(prepared), self.path(features), place, progress=progress, **how)

    def train(self, part: str, inputs: Inputs, into: str = "", **task: Any) -> None:
        """Train the recipe of `part` into the folder `into`, "": of that name, with the settings `task` of its task."""
        recipe: Any = self.recipes[part]
        if task:
            recipe = replace(recipe, task=replace(recipe.task, **task))
        train_recipe(recipe, inputs, self.path(into or part), self.device, self.telling.report)

    def settings(self, part: str) -> Any:
        """Return the settings of a part of the model as its recipe has them."""
        return self.recipes[part].settings(part)

    def weights(self, part: str) -> dict[str, torch.Tensor]:
        """Return the best weights of the training that made `part`, by their names within it."""
        return below(best_weights(self.path(part)), f"{part}.")

    def trained(self, *parts: str) -> bool:
        """Return whether each of these trainings is finished."""
        return all(epochs_done(self.path(part)) >= self.recipes[part].loop.epochs for part in parts)


def epochs_done(run: Path) -> int:
    """Count the epochs that the training in a folder has behind it."""
    log = run / "log.jsonl"
    return len(log.read_text().splitlines()) if log.is_file() else 0
