"""The bundle that ships: a pretrained network under both heads, which learn from captions without photos as well.

`source` holds `flickr8k/`, `coco/`, `ade20k/`, `tiny-imagenet/`, `captions-only/`, `text/` and, for translators,
`multi30k/`. COCO's photos with captions stay out of everything that is trained, and so do their captions: they are the
dev split of the photos with many labels, and what captions out of domain are measured on.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from training.assemble.guesses import guess_captions
from training.assemble.plan import Planned, pictures_per_second
from training.assemble.stages import Bundle, Stages, epochs_done
from training.assemble.translator import assemble_translator
from training.data import pairs
from training.data.captions import prepare_captions
from training.data.classifier import prepare_classifier
from training.data.labels import read_tiny_imagenet
from training.data.scenes import prepare_scenes
from training.data.sources.broader import IMAGENET, read_broader, read_classes
from training.data.sources.guessed import read_guessed
from training.data.sources.jsonl import read_jsonl, read_texts
from training.data.sources.scenes import class_names, read_scenes
from training.data.texts import Told, apart
from training.loop.checkpoint import below, best_weights
from training.recipe import Inputs
from vsearch.config import EncoderConfig, PreprocessConfig
from vsearch.device import resolve
from vsearch.errors import ConfigError, DataError
from vsearch.image.pixels import NORMALISATIONS
from vsearch.networks.encoder import Encoder
from vsearch.scores import FILE as RANKING
from vsearch.storage import modelfolder, pretrained
from vsearch.storage.codes import rounded
from vsearch.translation.sentence import check_language

TORCHVISION = "torchvision:"  # before the name of a network whose weights torchvision publishes
SCENES = ("coco", "ade20k")
DEV_EVERY = 10  # of the photos with many labels, next to those of COCO that have captions


@dataclass(frozen=True)
class PretrainedBundle(Bundle):
    """A recipe of kind "bundle-pretrained": `devise`, `decoder`, `reward` (which goes on from the
    decoder) and `translator` name the recipes of its trainings."""

    kind: str = "bundle-pretrained"
    devise: str = "devise-classes"
    decoder: str = "caption-texts"
    reward: str = "self-critical-texts"
    translator: str = "translate"
    network: str = "resnet50"  # torchvision's name of what the pretrained weights are of
    pixels: str = "tensorflow"  # how it was given pixels, of `vsearch.image.pixels.NORMALISATIONS`
    side: int = 224
    views: int = 2
    per_class: int = 50
    translators: tuple[str, ...] = ()  # languages that are translated into English
    vocabulary: int = 8_000  # words of each side of a translator, at most

    def __post_init__(self) -> None:
        if self.pixels not in NORMALISATIONS:
            raise ConfigError(f"pixels is {self.pixels!r}", f"known: {', '.join(NORMALISATIONS)}")
        for language in self.translators:
            check_language(language)


class Pretrained(Stages):
    """From raw data and the weights of a pretrained network."""

    stages = (
        "words", "captions", "labels", "scenes", "classifier", "features", "devise", "draft", "guesses", "decoder",
        "reward", "join", "ranking", "translators",
    )  # fmt: skip
    parts = ("devise", "decoder", "reward", "translator")
    bundle: PretrainedBundle

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        pixels = "torchvision" if self._published() else self.bundle.pixels
        self.preprocess = PreprocessConfig(self.bundle.side, *NORMALISATIONS[pixels])

    def ready(self, stage: str) -> bool:
        match stage:
            case "words":
                return self.path("words/phrase.json").is_file()
            case "captions" | "labels" | "scenes" | "classifier":
                return self.path(f"{stage}.h5").is_file()
            case "features":
                return all(self.path(name).is_file() for name in FEATURES.values())
            case "draft":
                return epochs_done(self.path("draft")) >= self.recipes["decoder"].loop.epochs
            case "guesses":
                return self.path(GUESSED).is_file() and self.path(GUESSED_FEATURES).is_file()
            case "ranking":
                return (self.folders.output / RANKING).is_file()
            case "translators":
                return all((self._translator(x) / "config.json").is_file() for x in self.bundle.translators)
        return stage in self.parts and self.trained(stage)

    def plan(self, stages: tuple[str, ...]) -> list[Planned]:
        """Return the plan as of all bundles; the time of the encoder's passes is reckoned from one batch, timed now."""
        return [self._timed(one) if one.stage == "features" and not one.ready else one for one in super().plan(stages)]

    def _timed(self, planned: Planned) -> Planned:
        source = self.folders.source
        views = len(self.photos()) * self.bundle.views + sum(
            len(read_scenes(source / name, unlabelled=True)) for name in SCENES
        )
        shards = read_tiny_imagenet(source / "tiny-imagenet")
        views += shards.total("train", self.bundle.per_class) + shards.total("dev", None)
        speed = pictures_per_second(self.network(), resolve(self.device))
        told = f"{views:,} views, reckoned from one batch timed here ({speed:.0f} pictures/s)"
        return replace(planned, minutes=views / speed / 60, source=told)

    # stages

    def scenes(self) -> None:
        if self.ready("scenes"):
            return
        source = self.folders.source
        found = [scene for name in SCENES for scene in read_scenes(source / name, unlabelled=True)]
        told = prepare_scenes(
            found, self.path("scenes.h5"), self.space(), dev_every=DEV_EVERY, dev=self._held_out(),
            progress=self.telling.progress,
        )  # fmt: skip
        self.telling.say(f"scenes: {told.pictures} photos, {told.classes} labels, {len(told.skipped)} skipped")

    def classifier(self) -> None:
        if not self.ready("classifier"):
            prepare_classifier(
                self._state, read_classes(IMAGENET), self.path("classifier.h5"), self.space(), read_broader(IMAGENET)
            )  # fmt: skip

    def features(self) -> None:
        network = self.network()
        self.cache(network, "captions.h5", FEATURES["captions"], views=self.bundle.views)
        for name in ("labels", "scenes"):
            self.cache(network, f"{name}.h5", FEATURES[name], grid=False)

    def devise(self) -> None:
        self.train("devise", self._devise_inputs())

    def _devise_inputs(self) -> Inputs:
        """Name what the head reads: labelled pictures and scenes only where its recipe draws from them."""
        task: Any = self.recipes["devise"].settings("task")
        given: dict[str, Path] = {"classifier": self.path("classifier.h5")}
        if task.label_batch:
            given |= {"labels": self.path("labels.h5"), "label_features": self.path(FEATURES["labels"])}
        if task.scene_batch:
            given |= {"scenes": self.path("scenes.h5"), "scene_features": self.path(FEATURES["scenes"])}
        return Inputs(self.path("captions.h5"), self.path(FEATURES["captions"]), **given)

    def draft(self) -> None:
        """Train a decoder that captions photos which have no captions: those of the next stage."""
        inputs = Inputs(self.path("captions.h5"), self.path(FEATURES["captions"]))
        self.train("decoder", inputs, into="draft", devise=str(self.path("devise")))

    def guesses(self) -> None:
        """Caption the photos with many labels, but for those held out, and prepare them next to Flickr8k's."""
        if self.ready("guesses"):
            return
        file, model = self.path("guessed.json"), self.path("draft-model")
        if not file.is_file():
            self.join_into(model, self._draft_weights)
            guess_captions(modelfolder.load_fast(model, self.device), self._unlabelled(), file, self.telling.progress)
        if not self.path(GUESSED).is_file():
            photos = [*self.photos(), *read_guessed(file)]
            prepare_captions(
                photos, self.path(GUESSED), self.space(), self.bundle.min_word_freq, self.bundle.max_len,
                progress=self.telling.progress, texts=self.texts(),
            )  # fmt: skip
        self.cache(self.network(), GUESSED, GUESSED_FEATURES, views=self.bundle.views)

    def _draft_weights(self, part: str) -> dict[str, Tensor]:
        return below(best_weights(self.path("draft" if part == "decoder" else part)), f"{part}.")

    def _unlabelled(self) -> list[Path]:
        """Return the photos of `SCENES` that are not held out."""
        scenes = [scene for name in SCENES for scene in read_scenes(self.folders.source / name, unlabelled=True)]
        held_out = set(self._held_out())
        return [scene.path for scene in scenes if scene.path.name not in held_out]

    def decoder(self) -> None:
        self.train("decoder", self._decoder_inputs(), devise=str(self.path("devise")))

    def _decoder_inputs(self) -> Inputs:
        return Inputs(self.path(GUESSED), self.path(GUESSED_FEATURES))

    def reward(self) -> None:
        """Go on from the decoder, whose settings hold, with what its own captions are worth."""
        inputs = self._decoder_inputs()
        recipe: Any = self.recipes["reward"]
        self.recipes = {**self.recipes, "reward": replace(recipe, decoder=self.settings("decoder"))}
        self.train("reward", inputs, devise=str(self.path("devise")), start=str(self.path("decoder")))

    def translators(self) -> None:
        for language in self.bundle.translators:
            if (self._translator(language) / "config.json").is_file():
                continue
            data, run = self.path(f"pairs-{language}.h5"), self.path(f"translator-{language}")
            if not data.is_file():
                pairs.prepare_pairs(
                    self._sentences(language), data,
                    pairs.Settings(language, "en", vocabulary=self.bundle.vocabulary), {},
                )  # fmt: skip
            self.train("translator", Inputs(data), into=run.name)
            assemble_translator(run, data, self._translator(language), eight_bits=True)

    # what stages are made of

    def named(self) -> list[str]:
        """Return what the classes of the network, of labelled pictures and of scenes are called."""
        source = self.folders.source
        classes = [*read_classes(IMAGENET), *read_tiny_imagenet(source / "tiny-imagenet").classes]
        found = [scene for name in SCENES for scene in read_scenes(source / name)]
        return [lemma for _, lemmas in classes for lemma in lemmas] + class_names(found)

    def texts(self) -> list[Told]:
        """Return captions without photos, none of a photo that is held out."""
        files = sorted((self.folders.source / "captions-only").glob("*.jsonl.gz"))
        return apart((told for file in files for told in read_texts(file)), self._held_out())

    def weights(self, part: str) -> dict[str, Tensor]:
        """Return the best weights of `part`; of the decoder, those after the reward, rounded to 8-bit codes."""
        if part == "decoder":
            return rounded(below(best_weights(self.path("reward")), "decoder."))
        return super().weights(part)

    def labelled_photos(self) -> Path:
        return self.path("scenes.h5")

    def make_encoder(self) -> Encoder:
        encoder = Encoder(EncoderConfig(self._published() or self.bundle.network))
        try:
            encoder.load_backbone(self._state)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self.folders.pretrained} is no {encoder.config.name}: {reason}") from None
        return encoder

    @functools.cached_property
    def _state(self) -> dict[str, Tensor]:
        """The weights of the whole network, its last layer included."""
        if self.folders.pretrained is None:
            raise ConfigError("this bundle builds on a pretrained network", "name its weights (`pretrained`)")
        if name := self._published():
            return pretrained.backbone_weights(name)
        return pretrained.read_weights(Path(self.folders.pretrained))

    def _published(self) -> str:
        """Return the network that torchvision publishes the weights of, "" if they are a file."""
        given = self.folders.pretrained or ""
        return given.removeprefix(TORCHVISION) if given.startswith(TORCHVISION) else ""

    def _held_out(self) -> list[str]:
        """Return the names of COCO's photos that have captions; captions.jsonl may be missing, then none has."""
        file = self.folders.source / "coco" / "captions.jsonl"
        return [photo.path.name for photo in read_jsonl({"test": file})] if file.is_file() else []

    def _translator(self, language: str) -> Path:
        return self.folders.output / "translators" / f"{language}-en"

    def _sentences(self, language: str) -> dict[str, list[pairs.Pair]]:
        folder = self.folders.source / "multi30k"
        files = {"train": "train", "dev": "val"}
        return {
            split: pairs.read_pairs([folder / f"{name}.{side}.gz" for side in (language, "en")])
            for split, name in files.items()
        }


GUESSED, GUESSED_FEATURES = "guessed.h5", "guessed-features.h5"
FEATURES = {"captions": "features.h5", "labels": "label-features.h5", "scenes": "scene-features.h5"}
