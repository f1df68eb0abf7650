"""A model as the library of pictures wants it: arrays and text in and out, no tensors, no token ids.

Shapes: B batch, S side of the square the model sees, D word-vector size.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.rerank import one
from vsearch.config import ModelConfig
from vsearch.errors import ModelError
from vsearch.image.pixels import read_pixels
from vsearch.scores import Ranking
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise

if TYPE_CHECKING:
    from vsearch.networks.joint import JointModel


class Describer:
    """Vectors and captions of pictures; `beam` None takes the model's own number.

    What a model is stands in its config; its weights (and torch) are loaded when the first picture comes, its words
    when the first caption is to be placed.
    """

    def __init__(
        self,
        config: ModelConfig,
        load: Callable[[], JointModel],
        words: Callable[[], PhraseSpace],
        beam: int | None = None,
        caption_weight: float = 0.0,
    ) -> None:
        """Raises ModelError where the model cannot embed pictures."""
        if config.devise is None:
            raise ModelError("this model places no pictures among words", "use one with a DeViSE head")
        self._load, self._words = load, words
        self.beam = beam
        self.side = config.preprocess.side
        self.dim = config.devise.dim
        self.identity = config.identity
        self.captions = config.decoder is not None
        self.caption_weight = caption_weight
        self._placed = config.words is not None

    @classmethod
    def load(cls, folder: Path, device: str = "auto", beam: int | None = None) -> Describer:
        """That of the model in `folder`; ModelError where there is none."""
        config, weight = modelfolder.read_config(folder), Ranking.load(folder).caption_weight
        return cls(config, lambda: modelfolder.load(folder, device), lambda: PhraseSpace.load(folder), beam, weight)

    @functools.cached_property
    def model(self) -> JointModel:
        return self._load()

    @functools.cached_property
    def space(self) -> PhraseSpace:
        return self._words()

    def place(self, captions: Sequence[str]) -> list[NDArray[np.float32] | None]:
        """The unit vector (D,) of each caption, by the model's own words and without torch.

        None for a caption without a word that the dictionary has, and for all where the model has no words.
        """
        return [one(self.space, tokenise(caption)) if self._placed else None for caption in captions]

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool = True
    ) -> tuple[NDArray[np.float32], list[str] | None]:
        """Unit vectors (B, D) of pictures uint8 (B, S, S, 3) and, where wanted and the model can, their captions."""
        import torch

        images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)  # (B, 3, S, S)
        found = self.model.describe(images, captions=captions, beam=self.beam)
        texts = None if found.captions is None else [self.model.text(best[0]) for best in found.captions]
        return found.vectors, texts

    def embed_file(self, path: str | os.PathLike[str]) -> NDArray[np.float32]:
        """The unit vector (D,) of the picture in a file; PictureError where it is none."""
        vectors, _ = self.describe(read_pixels(path, self.side)[None], captions=False)
        return np.asarray(vectors[0], np.float32)
