"""The model that ships: every stage from the raw data to a model folder, each skipped where its result lies ready.

`source` holds `flickr8k/`, `tiny-imagenet/`, `coco-unlabelled/` and `text/` (the README says where each comes from),
`teacher` holds the pretrained network that the encoder learns from, `work` takes what is made on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from training.assemble.words import tuned_space
from training.data.captions import prepare_captions, read_flickr8k
from training.data.distil import prepare_distil
from training.data.features import encoder_network, write_features
from training.data.labels import prepare_labels, read_tiny_imagenet
from training.data.prepared import open_prepared
from training.data.words import train_words
from training.evaluate.captions import read_split
from training.evaluate.scores import choose_scores, encode_photos
from training.kinds import load
from training.loop.checkpoint import below
from training.loop.task import Report
from training.recipe import Inputs, Recipe, Source, read
from training.run import train_recipe
from vsearch.config import ModelConfig, PreprocessConfig, from_dict
from vsearch.device import resolve
from vsearch.errors import ConfigError, DataError
from vsearch.networks.encoder import Encoder
from vsearch.networks.joint import build_model
from vsearch.progress import Progress
from vsearch.scores import FILE as RANKING
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.vocab import Vocabulary

PARTS = ("encoder", "devise", "decoder")  # recipes of their own, which overrides such as "devise.loop.lr" reach
STAGES = ("words", "distil", "encoder", "captions", "labels", "features", "devise", "decoder", "join", "ranking")


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
    """A recipe of kind "bundle": sizes here, trainings in the recipes that `encoder`, `devise` and `decoder` name."""

    encoder: str = "encoder"
    devise: str = "devise-bundled"
    decoder: str = "caption"
    side: int = 192  # pixels; features, and the finished model
    crops: int = 8  # random crops of each photo to distil on
    views: int = 4  # of each photo in the cached features
    per_class: int = 300  # labelled pictures of each class for the DeViSE head
    min_word_freq: int = 5
    max_len: int = 20
    words: WordTraining = field(default_factory=WordTraining)


@dataclass(frozen=True)
class Folders:
    source: Path
    teacher: Path
    work: Path
    output: Path


class _Bundler:
    def __init__(
        self,
        bundle: Bundle,
        recipes: Mapping[str, Recipe],
        folders: Folders,
        device: str,
        say: Callable[[str], None],
        report: Report | None,
        progress: Progress | None,
    ) -> None:
        self.bundle, self.folders, self.device, self.say, self.report = bundle, folders, device, say, report
        self.recipes, self.progress = recipes, progress  # recipes of PARTS
        self.preprocess = PreprocessConfig(side=bundle.side)

    def path(self, name: str) -> Path:
        return self.folders.work / name

    def words(self) -> None:
        if self.path("words/phrase.json").is_file():
            return
        w = self.bundle.words
        photos = read_flickr8k(self.folders.source / "flickr8k")
        captions = [c for p in photos if p.split == "train" for c in p.captions]
        corpora = sorted((self.folders.source / "text").glob("*.txt.xz"))
        if not corpora:
            raise DataError(f"no .txt.xz in {self.folders.source / 'text'}", "the README says what belongs there")
        train_words(
            corpora[0], captions, self.path("words"), dim=w.dim, min_count=w.min_count, bucket=w.bucket,
            epochs=w.epochs, threads=w.threads, caption_repeat=w.caption_repeat,
        )  # fmt: skip

    def distil(self) -> None:
        if self.path("distil.h5").is_file():
            return
        source = self.folders.source
        photos = [p.path for p in read_flickr8k(source / "flickr8k") if p.split == "train"]
        photos += sorted((source / "coco-unlabelled").glob("*.jpg"))
        shards = read_tiny_imagenet(source / "tiny-imagenet")
        prepare_distil(
            self.path("distil.h5"), photos, shards.train, shards.classes, self.folders.teacher, self.bundle.crops,
            progress=self.progress,
        )  # fmt: skip

    def encoder(self) -> None:
        self._train("encoder", Inputs(self.path("distil.h5")))

    def captions(self) -> None:
        if not self.path("captions.h5").is_file():
            photos = read_flickr8k(self.folders.source / "flickr8k")
            report = prepare_captions(
                photos, self.path("captions.h5"), self._space(), self.bundle.min_word_freq, self.bundle.max_len,
                progress=self.progress,
            )  # fmt: skip
            self.say(f"captions: {report.pictures} pictures, {report.vocabulary} words, {len(report.skipped)} skipped")

    def labels(self) -> None:
        if not self.path("labels.h5").is_file():
            shards = read_tiny_imagenet(self.folders.source / "tiny-imagenet")
            prepare_labels(shards, self.path("labels.h5"), self._space(), self.bundle.per_class, self.progress)

    def features(self) -> None:
        place = resolve(self.device)
        network = encoder_network(self._encoder(), self.preprocess, place)
        if not self.path("features.h5").is_file():
            write_features(
                network, self.path("captions.h5"), self.path("features.h5"), place, views=self.bundle.views,
                progress=self.progress,
            )  # fmt: skip
        if not self.path("label-features.h5").is_file():
            write_features(
                network, self.path("labels.h5"), self.path("label-features.h5"), place, grid=False,
                progress=self.progress,
            )  # fmt: skip

    def devise(self) -> None:
        names = ("captions.h5", "features.h5", "labels.h5", "label-features.h5")
        self._train("devise", Inputs(*map(self.path, names)))

    def decoder(self) -> None:
        self._train("decoder", Inputs(self.path("captions.h5"), self.path("features.h5")))

    def join(self) -> None:
        with open_prepared(self.path("captions.h5"), "captions") as file:
            vocabulary = Vocabulary(json.loads(file.attrs["vocabulary"]))
        config = ModelConfig(preprocess=self.preprocess, **{part: self._settings(part) for part in PARTS})
        model = build_model(config, vocabulary)
        for part in PARTS:
            module = getattr(model, part)
            assert isinstance(module, torch.nn.Module)
            module.load_state_dict(self._weights(part))
        words, space = self.path("words"), self._space()
        phrases = below(load_file(self.path("devise") / "best.safetensors"), "phrases.")
        if phrases:
            words = self.path("words-tuned")
            space = tuned_space(self.path("words"), self.path("captions.h5"), phrases, words)
        modelfolder.save(model, self.folders.output, words / "words.bin", space)

    def ranking(self) -> None:
        if (self.folders.output / RANKING).is_file():
            return
        model, space = modelfolder.load_fast(self.folders.output, self.device), PhraseSpace.load(self.folders.output)
        photos = encode_photos(model, space, read_split(self.path("captions.h5"), "dev"), self.progress)
        try:
            choose_scores(photos, space).save(self.folders.output)
        except DataError as error:
            self.say(f"ranking: none, scores will be cosines: {error}")

    def _train(self, part: str, inputs: Inputs) -> None:
        train_recipe(self.recipes[part], inputs, self.path(part), self.device, self.report)

    def _settings(self, part: str) -> Any:
        return self.recipes[part].settings(part)

    def _space(self) -> PhraseSpace:
        return PhraseSpace.load(self.path("words"))

    def _encoder(self) -> Encoder:
        encoder = Encoder(self._settings("encoder"))
        encoder.load_state_dict(self._weights("encoder"))
        return encoder

    def _weights(self, part: str) -> dict[str, torch.Tensor]:
        """Return the best weights of the training that made `part`, by their names within it."""
        return below(load_file(self.path(part) / "best.safetensors"), f"{part}.")


def make(
    source: Source,
    folders: Folders,
    device: str = "auto",
    stages: tuple[str, ...] = STAGES,
    overrides: Mapping[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> None:
    """Run the stages of a recipe of kind "bundle" in order; overrides such as "decoder.loop.epochs" reach into a stage.

    Raises ConfigError for an unknown stage or setting, DataError where the data are not there.
    """
    unknown = [s for s in stages if s not in STAGES]
    if unknown:
        raise ConfigError(f"unknown stage {unknown[0]!r}", f"known: {', '.join(STAGES)}")
    given = overrides or {}
    own = {key: value for key, value in given.items() if key.split(".")[0] not in PARTS or "." not in key}
    table = read(source, own)
    if table.pop("kind", None) != "bundle":
        raise ConfigError(f"{source} is no recipe of kind 'bundle'")
    bundle = from_dict(Bundle, table)
    recipes = {part: load(getattr(bundle, part), below(given, f"{part}.")) for part in PARTS}
    bundler = _Bundler(bundle, recipes, folders, device, say, report, progress)
    folders.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in stages:
            say(f"stage {stage}")
            getattr(bundler, stage)()
