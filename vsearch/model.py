"""The model as its users see it: photos and words in, vectors, captions and labels out; no tensors, no token ids.

Shapes: B batch, S side of the square that the model sees, D word-vector size, T words of a caption, H and W a photo's
own height and width.
"""

from __future__ import annotations

import functools
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vsearch.captions.rerank import caption_vector
from vsearch.config import WIDEST_BEAM, ModelConfig
from vsearch.errors import ModelError
from vsearch.scores import Scores
from vsearch.storage import modelfolder
from vsearch.text.phrase import PhraseSpace, Query, parse
from vsearch.text.tokenise import tokenise
from vsearch.text.vocab import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

    from vsearch.captions.hypothesis import Hypothesis
    from vsearch.engine import Engine
    from vsearch.networks.fast.model import FastModel
    from vsearch.networks.fast.onnx import OnnxModel
    from vsearch.text.nouns import EmbeddedNouns

Floats: TypeAlias = NDArray[np.float32]
Photo: TypeAlias = "str | os.PathLike[str] | Image | NDArray[np.uint8]"  # a path, a picture, or pixels (H, W, 3)
BATCH = 32  # pictures that `embed_images` gives to the network at once
_NO_HEAD = "this model places no pictures among words", "use one with a DeViSE head"


@dataclass(frozen=True)
class Caption:
    """A sentence about a photo, `words` joined by spaces, and how it came about.

    `log_probability` is the natural logarithm of the sentence's probability, its end included. `attention` (T, rows,
    cols) float32 says how much each word drew on each cell of the photo, and `sentinel` (T,) how much on language only
    (beta of Lu et al. 2017); None if the decoder has no such part. `runner_ups` are the next best sentences.
    """

    text: str
    log_probability: float
    words: tuple[str, ...]
    attention: Floats | None = None
    sentinel: Floats | None = None
    runner_ups: tuple[Caption, ...] = ()


@dataclass(frozen=True)
class Label:
    """A noun that names a photo: its lemmas, its WordNet number ("n02084071") or None, and its cosine, -1 to 1."""

    lemmas: tuple[str, ...]
    wnid: str | None
    score: float


class Model:
    """A model folder, opened: embeds, captions and labels photos, embeds queries.

    Only config.json is read at first. The word vectors are read at the first query, the weights at the first photo; see
    `engine` for whether that takes torch.

    >>> model = load()
    >>> model.identity[:12], model.dim, model.side, model.captions
    ('45d010150ab9', 200, 224, True)
    """

    def __init__(self, folder: str | os.PathLike[str], device: str = "auto") -> None:
        """Open the model in `folder`, to run on `device`: auto, cpu, cuda, cuda:N or mps.

        Raises ModelError if there is none, ConfigError if a setting of it is unknown. A device that is not there is
        found out at the first photo.
        """
        self.folder = Path(folder)
        self.config: ModelConfig = modelfolder.read_config(self.folder)
        self._device = device
        self._nouns: dict[str, EmbeddedNouns] = {}

    @property
    def identity(self) -> str:
        """The sha256 of what a vector depends on: vectors of different identities must not be compared."""
        return self.config.identity

    @property
    def side(self) -> int:
        """S: the side, in pixels, of the square that photos are scaled to."""
        return self.config.preprocess.side

    @property
    def dim(self) -> int:
        """D: the length of a vector. Raises ModelError if the model embeds no photos."""
        if self.config.devise is None:
            raise ModelError(*_NO_HEAD)
        return self.config.devise.dim

    @property
    def captions(self) -> bool:
        """Whether the model can caption photos."""
        return self.config.decoder is not None

    @functools.cached_property
    def scores(self) -> Scores:
        """How much captions count in a search by words, and how likely a hit with some cosine shows what was asked.

        Raises ModelError if ranking.json is damaged.
        """
        return Scores.load(self.folder)

    @functools.cached_property
    def network(self) -> FastModel:
        """The network itself, in evaluation mode; imports torch.

        Raises ModelError if its weights are damaged, VsearchError if torch is not installed.
        """
        from vsearch.device import need_torch

        need_torch(self.engine.because or "numpy has no such caption decoder")
        return modelfolder.load_fast(self.folder, self._device)

    @functools.cached_property
    def engine(self) -> Engine:
        """What runs the model on photos, and why. Raises VsearchError if there is no such device."""
        from vsearch.engine import choose

        return choose(self.folder, self.config, self._device)

    @functools.cached_property
    def onnx(self) -> OnnxModel | None:
        """What sees photos by ONNX Runtime, without torch; None where that is for `network`, see `engine`.

        Raises ModelError if the files of `vsearch.storage.onnx` in the folder are damaged, VsearchError if there is no
        such device.
        """
        from vsearch.engine import FLOAT32, NO_VNNI, TORCH
        from vsearch.storage import onnx

        engine = self.engine
        if engine.because == NO_VNNI:
            runs = "torch" if engine.kind == TORCH else "ONNX Runtime in float32"
            _say_once(f"{runs} sees the photos, more slowly than in eight bits: {NO_VNNI}")
        if engine.kind == TORCH:
            return None
        return onnx.load(self.folder, self.config, floats=engine.kind == FLOAT32, cuda=engine.cuda)

    def prepare(self) -> None:
        """Read all that captions are written with, so that what is wrong with the model shows before any photo.

        Raises ModelError if a file is damaged, VsearchError if the device is not there.
        """
        if self.torch_captions or self.onnx is None:
            _ = self.network
        else:
            self.onnx.prepare()

    @property
    def torch_captions(self) -> bool:
        """Whether captions, if there are any, are for torch: numpy knows decoders of kind soft."""
        from vsearch.engine import TORCH
        from vsearch.storage import onnx

        return self.captions and (self.engine.kind == TORCH or not onnx.captions(self.config))

    @functools.cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.folder / modelfolder.VOCABULARY)

    @functools.cached_property
    def space(self) -> PhraseSpace:
        """The word vectors. Raises ModelError if the model has none, WordsError if they are damaged."""
        return PhraseSpace.load(self.folder)

    def embed_image(self, photo: Photo) -> Floats:
        """Return the unit vector (D,) of a photo: a path, a PIL picture, or pixels uint8 (H, W, 3).

        Raises PictureError if it cannot be read, ModelError if the model embeds no photos.

        >>> vector = load().embed_image("dog.jpg")
        >>> vector.shape, vector.dtype.name
        ((200,), 'float32')
        """
        return np.asarray(self.describe(self.pixels(photo)[None], captions=False)[0][0], np.float32)

    def embed_images(self, photos: Iterable[Photo]) -> Floats:
        """Return the unit vectors (n, D) of n photos, each as `embed_image` takes it; read and run in batches.

        >>> load().embed_images(["dog.jpg", "boat.png"]).shape
        (2, 200)
        """
        batches = (np.stack(batch) for batch in _batches(map(self.pixels, photos), BATCH))
        found = [self.describe(batch, captions=False)[0] for batch in batches]
        return np.concatenate(found) if found else np.zeros((0, self.dim), np.float32)

    def embed_text(self, query: str) -> Floats:
        """Return the unit vector (D,) of a query, next to the photos that it fits; imports no torch.

        Words are averaged; -sail takes a word away, 2*boat weighs it, "hot dog" in double quotes is one label. Raises
        QueryError if the query cannot be parsed or none of its words is known.

        >>> model = load()
        >>> dog, puppy, snow = (model.embed_text(word) for word in ("dog", "puppy", "snow"))
        >>> bool(dog @ puppy > dog @ snow)
        True
        """
        return self.query(query).vector

    def query(self, query: str) -> Query:
        """Return the `vector` of a query, as `embed_text`, with its `known` and `unknown` words.

        Unknown words are those outside the dictionary; their vectors are guessed from their subwords.

        >>> load().query('"hot dog" -snow').known
        ['hot', 'dog', 'snow']
        """
        return self.space.query(parse(query))

    def embed_captions(self, captions: Sequence[str]) -> list[Floats | None]:
        """Return the unit vector (D,) of each caption, without torch.

        None stands for a caption without a word of the dictionary, and for all if the model has no words.
        """
        return [caption_vector(self.space, tokenise(text)) if self.config.words else None for text in captions]

    def caption(self, photo: Photo, *, beam: int | None = None, block_repeats: bool | None = None) -> Caption:
        """Return the best caption of a photo, found by beam search, with its runner-ups.

        `beam` is the number of hypotheses kept, and of captions found; `block_repeats` forbids a word right after
        itself and a pair of words twice. None takes the model's own setting. Raises PictureError if the photo cannot
        be read, ModelError if the model has no decoder.

        >>> caption = load().caption("dog.jpg", beam=3)
        >>> caption.text == " ".join(caption.words), len(caption.runner_ups)
        (True, 2)
        >>> caption.attention.shape == (len(caption.words), 7, 7)
        True
        """
        if self.config.decoder is None:
            raise ModelError("this model writes no captions", "use a model with a caption decoder")
        width = self.config.decoder.beam if beam is None else beam
        _, found = self._describe(self.pixels(photo)[None], True, width, n_best=width, block_repeats=block_repeats)
        assert found is not None
        best, *others = [self._caption(hypothesis) for hypothesis in found[0]]
        return Caption(best.text, best.log_probability, best.words, best.attention, best.sentinel, tuple(others))

    def label(self, photo: Photo, nouns: str = "imagenet", k: int = 5) -> list[Label]:
        """Return the `k` nouns nearest to a photo, trained on or not, best first.

        `nouns` is "imagenet" (1,000), "wordnet" (82,115, if it is installed) or the path of a file with a noun a line;
        see `nouns`. Raises PictureError if the photo cannot be read, DataError if the list cannot.

        >>> [len(label.lemmas) for label in load().label("dog.jpg", k=2)]
        [1, 1]
        """
        nearest = self.nouns(nouns).nearest(self.embed_image(photo), k)
        return [Label(noun.lemmas, noun.wnid or None, score) for noun, score in nearest]

    def where(self, photo: Photo, query: str | Floats) -> Floats:
        """Return how much each cell of a photo speaks for a query, or its vector (D,): float32 (rows, cols).

        The shares may be negative, and sum to the cosine of photo and query; see `vsearch.networks.where` for how the
        head's answer is split. Raises PictureError if the photo cannot be read, QueryError if the query cannot,
        ModelError if the model embeds no photos.

        >>> model = load()
        >>> shares = model.where("dog.jpg", "dog")
        >>> shares.shape, bool(abs(shares.sum() - model.embed_image("dog.jpg") @ model.embed_text("dog")) < 0.02)
        ((7, 7), True)
        """
        from vsearch.networks.where import shares

        if self.config.devise is None:
            raise ModelError(*_NO_HEAD)
        vector = self.embed_text(query) if isinstance(query, str) else query
        weights, grid = self._seen(self.pixels(photo)[None])
        found = shares(weights, grid[0], np.asarray(vector, np.float32))
        side = math.isqrt(len(found))
        return np.asarray(found.reshape(side, side), np.float32)

    def _seen(self, pixels: NDArray[np.uint8]) -> tuple[Mapping[str, Floats], Floats]:
        """Return the weights of the DeViSE head by their names in it, and the cells (B, N, C) of pixels."""
        if self.onnx is not None:
            return self.onnx.head.weights, self.onnx.encode(pixels)[0]
        network = self.network
        import torch

        assert network.joint.devise is not None
        weights = {name: t.float().cpu().numpy() for name, t in network.joint.devise.state_dict().items()}
        return weights, network.encode(torch.from_numpy(pixels)).grid.float().cpu().numpy()

    def nouns(self, name: str) -> EmbeddedNouns:
        """Return the list of nouns that `label` calls `name`, with vectors; read and embedded once.

        `left_out` of it counts the lemmas without a word of the dictionary.
        """
        from vsearch.text.nouns import embed_nouns, read_nouns

        if name not in self._nouns:
            self._nouns[name] = embed_nouns(read_nouns(name), self.space, guess=name != "wordnet")
        return self._nouns[name]

    def pixels(self, photo: Photo) -> NDArray[np.uint8]:
        """Return a photo as the model sees it, uint8 (S, S, 3). Raises PictureError if it cannot be read."""
        from PIL import Image

        from vsearch.image.decode import upright
        from vsearch.image.pixels import read_pixels, to_pixels

        if isinstance(photo, Image.Image):
            return to_pixels(upright(photo), self.side)
        if isinstance(photo, np.ndarray):
            if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
                raise ValueError(f"a photo is uint8 (H, W, 3), not {photo.dtype} {photo.shape}")
            return to_pixels(Image.fromarray(photo), self.side)
        return read_pixels(photo, self.side)

    def describe(
        self, pixels: NDArray[np.uint8], captions: bool = True, beam: int | None = None
    ) -> tuple[Floats, list[str] | None]:
        """Return unit vectors (B, D) of pixels uint8 (B, S, S, 3) and their captions, by one pass of the encoder.

        The captions are None if they are not asked for or the model has no decoder; `beam` None takes the model's own
        number. Raises ModelError if the model embeds no photos.
        """
        if self.config.devise is None:
            raise ModelError(*_NO_HEAD)
        vectors, found = self._describe(pixels, captions and self.captions, beam)
        return vectors, None if found is None else [self._caption(best[0]).text for best in found]

    def _describe(
        self,
        pixels: NDArray[np.uint8],
        captions: bool,
        beam: int | None,
        n_best: int = 1,
        block_repeats: bool | None = None,
    ) -> tuple[Floats, list[list[Hypothesis]] | None]:
        if beam is not None and not 1 <= beam <= WIDEST_BEAM:
            raise ModelError(f"a search keeps 1 to {WIDEST_BEAM} beams, not {beam}", "name a number between them")
        if not (captions and self.torch_captions) and self.onnx is not None:
            return self.onnx.describe(pixels, captions, beam, n_best, block_repeats)
        network = self.network
        import torch

        images = torch.from_numpy(np.ascontiguousarray(pixels))
        found = network.describe(images, captions=captions, beam=beam, n_best=n_best, block_repeats=block_repeats)
        return found.vectors, found.captions

    def _caption(self, found: Hypothesis) -> Caption:
        """Return the caption of a hypothesis: its words, its attention as a map."""
        text = " ".join(self._vocabulary.decode(found.tokens))
        maps = found.attention
        if maps is not None:
            cells = maps if found.sentinel is None else maps[:, :-1]  # (T, N)
            side = math.isqrt(cells.shape[1])
            maps = cells.reshape(len(cells), side, side)
        return Caption(text, found.log_probability, tuple(text.split()), maps, found.sentinel)


def load(model: str | os.PathLike[str] | None = None, device: str = "auto") -> Model:
    """Open the model in the folder `model`, None for the bundled one, to run on `device`.

    Raises ModelError if there is none, ConfigError if a setting of it is unknown.

    >>> load().embed_text("a dog in the snow").shape
    (200,)
    """
    return Model(modelfolder.bundled() if model is None else model, device)


@functools.cache
def _say_once(text: str) -> None:
    logging.getLogger("vsearch").warning(text)


def _batches(pixels: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    rows = iter(pixels)
    while batch := list(islice(rows, size)):
        yield batch
