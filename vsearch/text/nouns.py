"""Lists of nouns to name a picture with, and where each noun lies among the word vectors.

Shapes: K nouns, D word-vector size. Of the lists, "imagenet" lies next to this file and "wordnet" is NLTK's corpus or
a file of the user's; nothing is downloaded.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vsearch.errors import DataError
from vsearch.text import wordnet as corpus
from vsearch.text.phrase import PhraseSpace
from vsearch.text.tokenise import tokenise
from vsearch.text.vectors import Floats

WORDNET_FILE = "wordnet-nouns.tsv.gz"
IMAGENET_FILE = Path(__file__).with_name("imagenet.nouns.tsv")  # in the order of the classes, with all their lemmas
TOLD_APART = {134: "crane bird", 639: "maillot tank suit"}  # classes whose first lemma another one has, too


@dataclass(frozen=True)
class Noun:
    """A thing by its lemmas, of one or several words each, and its WordNet number ("n02084071") where it has one."""

    lemmas: tuple[str, ...]
    wnid: str = ""


@dataclass(frozen=True)
class EmbeddedNouns:
    """Nouns with their unit vectors (K, D), and how many lemmas were left out because no vector is known for them."""

    nouns: list[Noun]
    vectors: Floats
    left_out: int

    def nearest(self, vector: Floats, k: int) -> list[tuple[Noun, float]]:
        """Return the `k` nouns nearest to a unit vector (D,), with their cosines, best first."""
        scores = self.vectors @ vector  # (K,)
        return [(self.nouns[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")[:k]]


def noun_vectors(space: PhraseSpace, nouns: Sequence[Sequence[str]]) -> Floats:
    """Return the unit vector (K, D) of each noun, given by its lemmas: the mean of their phrase vectors, at length 1.

    A lemma without any letter or digit is passed over. QueryError if a noun, or a lemma of it, has no vector.
    """
    phrases = [[tokens for tokens in map(tokenise, lemmas) if tokens] or [[]] for lemmas in nouns]
    if not phrases:
        return np.zeros((0, space.vectors.dim), np.float32)
    counts = np.array([len(lemmas) for lemmas in phrases])
    flat = space.vectors_of(tokens for lemmas in phrases for tokens in lemmas)
    means = np.add.reduceat(flat, np.cumsum(counts) - counts) / counts[:, None]  # (K, D)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


def embed_nouns(nouns: Sequence[Noun], space: PhraseSpace, guess: bool) -> EmbeddedNouns:
    """Embed nouns by those of their lemmas that have a word of the dictionary.

    guess: lemmas without one are embedded as well, if the letters of their words give a vector. (Among the synsets of
    WordNet these are Latin names by the thousand, and guesses of them would flood the answers.)
    Raises DataError if no noun is left.
    """
    kept, left_out = list[Noun](), 0
    for noun in nouns:
        lemmas = tuple(lemma for lemma in noun.lemmas if _has_vector(tokenise(lemma), space, guess))
        left_out += len(noun.lemmas) - len(lemmas)
        if lemmas:
            kept.append(replace(noun, lemmas=lemmas))
    if not kept:
        raise DataError("none of the nouns has a word vector", "name a list of English nouns")
    return EmbeddedNouns(kept, noun_vectors(space, [noun.lemmas for noun in kept]), left_out)


def read_nouns(name: str) -> list[Noun]:
    """Read the list "imagenet" (1,000 classes), "wordnet" (82,115 synsets), or the file of that name.

    A file holds one noun a line, or a WordNet number, a tab and lemmas with commas between; .gz or plain UTF-8.
    DataError where it cannot be read or holds no noun, or WordNet is not there.
    """
    found = {"imagenet": imagenet, "wordnet": wordnet}.get(name, lambda: _read_file(Path(name)))()
    if not found:
        raise DataError(f"{name} holds no noun", "write one noun a line")
    return list(dict.fromkeys(found))


def imagenet() -> list[Noun]:
    """Return the names of the 1,000 classes of ImageNet 2012, one each, as torchvision has them."""
    names = [noun.lemmas[0] for noun in _read_file(IMAGENET_FILE)]
    return [Noun((TOLD_APART.get(number, name),)) for number, name in enumerate(names)]


def wordnet() -> list[Noun]:
    """Read every noun synset of WordNet, from NLTK's corpus, else from WORDNET_FILE in the user's data directory."""
    found = corpus.synsets()
    return [Noun(synset.lemmas, wnid) for wnid, synset in found.items()] if found else _read_file(_wordnet_file())


def _wordnet_file() -> Path:
    import platformdirs

    path = platformdirs.user_data_path("vsearch", appauthor=False) / WORDNET_FILE
    if not path.is_file():
        raise DataError(
            "WordNet is not here",
            f"{corpus.INSTALL}, or put a list of its nouns at {path} "
            "(a line each: number, tab, lemmas with commas between) or name its file",
        )
    return path


def _read_file(path: Path) -> list[Noun]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"no list of nouns at {path}", "name imagenet, wordnet, or a file of nouns") from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} is no list of nouns: {error}", "write one noun a line, in UTF-8") from None
    return list(_nouns(text))


def _nouns(text: str) -> Iterator[Noun]:
    for line in text.splitlines():
        wnid, tab, rest = line.partition("\t")
        lemmas = rest.split(",") if tab else [line]
        stripped = tuple(lemma.strip() for lemma in lemmas if tokenise(lemma))
        if stripped:
            yield Noun(stripped, wnid.strip() if tab else "")


def _has_vector(words: Sequence[str], space: PhraseSpace, guess: bool) -> bool:
    known = any(word in space.vectors for word in words)
    return known or (guess and any(bool(np.any(space.vectors.unit(word))) for word in words))
