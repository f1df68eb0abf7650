"""The small bundle: a ResNet-18 from random weights that learns from a pretrained network (recipe bundled-small)."""

from __future__ import annotations

from dataclasses import dataclass

from training.assemble.stages import Bundle, Stages
from training.data.captions import read_flickr8k
from training.data.distil import prepare_distil
from training.data.labels import read_tiny_imagenet
from training.recipe import Inputs
from vsearch.errors import ConfigError
from vsearch.networks.encoder import Encoder
from vsearch.scores import FILE as RANKING


@dataclass(frozen=True)
class SmallBundle(Bundle):
    """A recipe of kind "bundle": `encoder`, `devise` and `decoder` name the recipes of its trainings."""

    kind: str = "bundle"
    encoder: str = "encoder"
    devise: str = "devise-bundled"
    crops: int = 8  # random crops of each photo to distil on


class Distilled(Stages):
    """From flickr8k/, tiny-imagenet/, coco/, text/ and a teacher."""

    stages = ("words", "distil", "encoder", "captions", "labels", "features", "devise", "decoder", "join", "ranking")
    parts = ("encoder", "devise", "decoder")
    bundle: SmallBundle

    def ready(self, stage: str) -> bool:
        match stage:
            case "words":
                return self.path("words/phrase.json").is_file()
            case "distil" | "captions" | "labels":
                return self.path(f"{stage}.h5").is_file()
            case "features":
                return self.path("features.h5").is_file() and self.path("label-features.h5").is_file()
            case "ranking":
                return (self.folders.output / RANKING).is_file()
        return stage in self.parts and self.trained(stage)

    def distil(self) -> None:
        if self.ready("distil"):
            return
        if self.folders.teacher is None:
            raise ConfigError("this bundle learns from a pretrained network", "name its folder (`teacher`)")
        source = self.folders.source
        photos = [p.path for p in read_flickr8k(source / "flickr8k") if p.split == "train"]
        photos += sorted((source / "coco").glob("*.jpg"))
        shards = read_tiny_imagenet(source / "tiny-imagenet")
        prepare_distil(
            self.path("distil.h5"), photos, shards.train, shards.classes, self.folders.teacher, self.bundle.crops,
            progress=self.telling.progress,
        )  # fmt: skip

    def encoder(self) -> None:
        self.train("encoder", Inputs(self.path("distil.h5")))

    def features(self) -> None:
        network = self.network()
        self.cache(network, "captions.h5", "features.h5", views=self.bundle.views)
        self.cache(network, "labels.h5", "label-features.h5", grid=False)

    def devise(self) -> None:
        names = ("captions.h5", "features.h5", "labels.h5", "label-features.h5")
        self.train("devise", Inputs(*map(self.path, names)))

    def decoder(self) -> None:
        self.train("decoder", Inputs(self.path("captions.h5"), self.path("features.h5")))

    def make_encoder(self) -> Encoder:
        encoder = Encoder(self.settings("encoder"))
        encoder.load_state_dict(self.weights("encoder"))
        return encoder
