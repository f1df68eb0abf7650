"""A toy language pair: thirty French-looking sentences, and their words' counterparts in reversed order."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from training.data.pairs import Settings, prepare_pairs
from vsearch.config import DecoderConfig, SourceConfig, TranslatorConfig
from vsearch.text.vocab import Vocabulary
from vsearch.translation.language import Language
from vsearch.translation.network import TranslationModel
from vsearch.translation.sentence import split
from vsearch.translation.translator import Translator

WORDS = {"chien": "dog", "bateau": "boat", "neige": "snow", "rouge": "red", "l'homme": "man", "plage": "beach"}


def _sentences() -> tuple[list[str], list[str]]:
    rng, drawn = np.random.default_rng(0), dict[str, str]()
    while len(drawn) < 30:
        words = rng.choice(list(WORDS), int(rng.integers(4, 7))).tolist()  # BLEU-4 needs four words
        drawn[" ".join(words)] = " ".join(WORDS[word] for word in reversed(words))
    return list(drawn), list(drawn.values())


SOURCE, TARGET = _sentences()


def pairs_file(path: Path, **settings: int) -> Path:
    """The pairs prepared, the same for training and dev."""
    pairs = list(zip(SOURCE, TARGET, strict=True))
    prepare_pairs({"train": pairs, "dev": pairs}, path, Settings(min_freq=1, **settings))  # type: ignore[arg-type]
    return path


@functools.cache
def tiny_translator(source: str = "fr", target: str = "en") -> Translator:
    """Random weights; it translates into nonsense, always the same."""
    words = [{code: [split(s, code) for s in text]} for code, text in ((source, SOURCE), (target, TARGET))]
    own, other = (Language(c, Vocabulary.count(s, 1)) for side in words for c, s in side.items())
    decoder = DecoderConfig(cell="gru", embed=8, hidden=12, attention=8, max_len=6, beam=3)
    config = TranslatorConfig(
        source_language=source, target_language=target, source=SourceConfig(embed=8, hidden=6), decoder=decoder
    )
    torch.manual_seed(0)
    model = TranslationModel(config, len(own.vocabulary), len(other.vocabulary))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
            parameter.copy_(parameter.half())  # as a folder keeps them
    return Translator(model, own, other)
